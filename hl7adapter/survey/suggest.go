package survey

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// suggest writes the configuration that fits, as YAML that safeguard-agent check
// takes once the rest of the file is there. What the sample does not tell is
// marked "fill in".
func (s *Survey) suggest() string {
	site := s.parser.Site
	var b strings.Builder
	fmt.Fprintf(&b, "# Suggested by safeguard-agent hl7 survey from %d messages. Check every line before use.\n", s.messages)
	def := site.Default
	if def.IsZero() {
		codes := s.sites()
		organisation, mark := codes[0].String(), ""
		if len(organisation) > 3 {
			organisation = organisation[:3]
		}
		if codes[0].String() == unknownSite {
			mark = "   # fill in"
		}
		def = codes[0]
		fmt.Fprintf(&b, "organisation: %s%s\nsites: [%s]%s\n", organisation, mark, joined(codes), mark)
	}
	b.WriteString("feeds:\n  - name: pas\n")
	fmt.Fprintf(&b, "    site: %s   # where PV1-3.4 names no other\n", def)
	setting := s.setting()
	fmt.Fprintf(&b, "    care_setting: %s   # where neither rule nor location says another\n", setting)
	b.WriteString("    mllp:\n      address: 127.0.0.1:2575   # fill in: this host's own address towards the sender\n")
	if s.seen.badCharset > 0 {
		b.WriteString("      policy:\n        charset: UTF-8   # what the bytes are, whatever MSH-18 says\n")
	}
	s.suggestADT(&b)
	return b.String()
}

// suggestADT writes the adt section: what is configured, and what is missing.
func (s *Survey) suggestADT(b *strings.Builder) {
	c := s.parser.Site.Config
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }

	numbers := s.numbers(c.NHSNumber)
	if len(numbers.Authorities)+len(numbers.Types)+len(numbers.Fields) > 0 {
		line("nhs_number:")
		for _, l := range []struct {
			key    string
			values []string
		}{{"authorities", numbers.Authorities}, {"types", numbers.Types}, {"fields", numbers.Fields}} {
			if len(l.values) > 0 {
				line("  %s: [%s]", l.key, quoted(l.values))
			}
		}
	}
	if len(c.HospitalNumber.Authorities) > 0 {
		line("hospital_number:")
		line("  authorities: [%s]", quoted(c.HospitalNumber.Authorities))
	}
	switch begins := s.seen.beginning > 0; {
	case c.Arriving == adt.ArrivingRegisters:
		line("arriving: register")
	case s.seen.arriving > 0 && !begins:
		line("arriving: register   # A10 occurs, and neither A01 nor A04")
	}
	known := map[string]bool{}
	var places []string
	for _, l := range c.Locations {
		known[strings.ToUpper(l.Name)] = true
		places = append(places, fmt.Sprintf("  - {name: %s, care_setting: %s}", strconv.Quote(l.Name), l.Setting))
	}
	places = append(places, s.newPlaces(known)...)
	if slices.ContainsFunc(places, func(p string) bool { return !strings.HasPrefix(p, "  #") }) {
		line("locations:")
	} else if len(places) > 0 {
		line("# locations:")
	}
	lines = append(lines, places...)
	if len(c.Rules) > 0 {
		line("# rules: keep those of the configuration")
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(strings.TrimSpace(l), "#") }) {
		b.WriteString("    # adt: the NHS defaults fit\n")
		for _, l := range lines {
			b.WriteString("    # " + strings.TrimPrefix(strings.TrimSpace(l), "# ") + "\n")
		}
		return
	}
	b.WriteString("    adt:\n")
	for _, l := range lines {
		b.WriteString("      " + l + "\n")
	}
}

// numbers are the marks of NHS numbers that the configuration has, and those that
// the sample shows to be missing.
func (s *Survey) numbers(c adt.NHSNumbers) adt.NHSNumbers {
	out := adt.NHSNumbers{Authorities: slices.Clone(c.Authorities), Types: slices.Clone(c.Types), Fields: slices.Clone(c.Fields)}
	var keys []string
	for key := range s.details {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	add := func(list *[]string, value string) {
		if !slices.Contains(*list, value) {
			*list = append(*list, value)
		}
	}
	for _, key := range keys {
		d := s.details[key]
		switch {
		case d.taken > 0 || d.alike > 0 || !d.enough():
		case d.field != 3:
			if d.unmarked {
				add(&out.Fields, fieldName(d.field))
			}
		case d.authority != none && d.authority != masked:
			add(&out.Authorities, d.authority)
		case d.authority == none && d.typ != none && d.typ != masked:
			add(&out.Types, d.typ)
		}
	}
	return out
}

// newPlaces suggests a care setting for each location whose name tells it, and
// names the others. A place of the feed's own setting, where all come in class E,
// needs no listing.
func (s *Survey) newPlaces(known map[string]bool) []string {
	feed := s.setting()
	var told, untold []string
	for _, r := range s.locationRows() {
		upper := strings.ToUpper(r.Value)
		if r.Value == none || r.Value == masked || r.Value == others || known[upper] {
			continue
		}
		known[upper] = true
		setting, emergency := guess(upper), !strings.Contains(r.Note, ",") && strings.HasPrefix(r.Note, "E ")
		note := fmt.Sprintf("seen %d times, by class: %s", r.Count, r.Note)
		switch {
		case setting == safeguard.UnknownSetting:
			untold = append(untold, fmt.Sprintf("  # - {name: %s, care_setting: }   # %s", strconv.Quote(r.Value), note))
		case setting != feed || !emergency:
			told = append(told, fmt.Sprintf("  - {name: %s, care_setting: %s}   # by its name; %s", strconv.Quote(r.Value), setting, note))
		}
	}
	for _, r := range s.wards.rows() {
		upper := strings.ToUpper(r.Value)
		if setting := guess(upper); setting != safeguard.UnknownSetting && setting != feed && !known[upper] {
			known[upper] = true
			told = append(told, fmt.Sprintf("  - {name: %s, care_setting: %s}   # by its name; seen %d times in PV1-3.2", strconv.Quote(r.Value), setting, r.Count))
		}
	}
	out := append(told, untold...)
	return out[:min(len(out), shownRows)]
}

// guesses read the names that hospitals give to places.
var guesses = []struct {
	setting safeguard.CareSetting
	name    *regexp.Regexp
}{
	{safeguard.MinorInjuryUnit, regexp.MustCompile(`\bMIU\d*\b|MINOR INJ`)},
	{safeguard.WalkInCentre, regexp.MustCompile(`\bWIC\d*\b|\bUTC\d*\b|WALK.?IN|URGENT TREATMENT`)},
	{safeguard.OutOfHoursGP, regexp.MustCompile(`\bOOH\d*\b|\bGPOOH\b|OUT.OF.HOURS`)},
	{safeguard.PaediatricWard, regexp.MustCompile(`PAED|\bPAU\d*\b|\bCAU\d*\b|CHILDREN|\bPICU\b|\bNICU\b|\bSCBU\b`)},
	{safeguard.Maternity, regexp.MustCompile(`MATERN|\bMAT\d*\b|LABOUR|DELIVERY|ANTENAT|POSTNAT|OBSTET|BIRTH|\bMLU\b`)},
	{safeguard.EmergencyDepartment, regexp.MustCompile(`\bED\d*\b|\bA&E\b|\bAE\d*\b|\bAED\b|EMERGENCY|CASUALTY|RESUS`)},
}

func guess(name string) safeguard.CareSetting {
	for _, g := range guesses {
		if g.name.MatchString(name) {
			return g.setting
		}
	}
	return safeguard.UnknownSetting
}

// unknownSite stands for a site that the sample does not tell.
const unknownSite = "XXX01"

// sites are the ODS codes of five characters in PV1-3.4, else in MSH-4, the most
// frequent first.
func (s *Survey) sites() []safeguard.ODSCode {
	var codes []safeguard.ODSCode
	add := func(text string) {
		code, err := safeguard.ParseODSCode(text)
		if err == nil && len(text) == 5 && strings.ContainsAny(text, "0123456789") && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	for _, r := range s.facilities.rows() {
		add(r.Value)
	}
	if len(codes) == 0 {
		for _, r := range s.senders.rows() {
			if _, facility, ok := strings.Cut(r.Value, " at "); ok {
				add(facility)
			}
		}
	}
	if len(codes) == 0 {
		code, _ := safeguard.ParseODSCode(unknownSite)
		return []safeguard.ODSCode{code}
	}
	return codes[:min(len(codes), 20)]
}

// setting is the feed's, or where that is not configured, the type of care that
// its messages are mostly about.
func (s *Survey) setting() safeguard.CareSetting {
	if setting := s.parser.Site.Setting; setting != safeguard.UnknownSetting {
		return setting
	}
	for _, r := range s.classes.rows() {
		switch r.Value {
		case "E":
			return safeguard.EmergencyDepartment
		case "B":
			return safeguard.Maternity
		}
	}
	for _, r := range s.locationRows() {
		if setting := guess(strings.ToUpper(r.Value)); setting != safeguard.UnknownSetting {
			return setting
		}
	}
	return safeguard.EmergencyDepartment
}

func joined(codes []safeguard.ODSCode) string {
	var out []string
	for _, c := range codes {
		out = append(out, c.String())
	}
	return strings.Join(out, ", ")
}

func quoted(values []string) string {
	var out []string
	for _, v := range values {
		out = append(out, strconv.Quote(v))
	}
	return strings.Join(out, ", ")
}
