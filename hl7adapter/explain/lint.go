package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/explain/mask"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// lint finds what a message has that Safeguard does not understand, apart from
// what reading it already doubted.
func (e Explainer) lint(m hl7.Message, k *mask.Mask, movement adt.Movement) []string {
	var out []string
	h := m.Header()
	if name := h.Charset.Text(); name != "" && !hl7.KnownCharset(name) && e.Charset == "" {
		out = append(out, "MSH-18: a character set that is not known; read as UTF-8 where it is valid, else as Windows-1252")
	}
	if movement.Kind == adt.Other {
		return out
	}
	for s := range m.Segments() {
		switch {
		case s.Is("PID"):
			out = append(out, e.lintPatient(s, k)...)
		case s.Is("PV1"):
			out = append(out, e.lintVisit(s, k, movement)...)
		}
	}
	return out
}

func (e Explainer) lintPatient(pid hl7.Segment, k *mask.Mask) []string {
	var out []string
	for _, n := range []int{2, 3, 4, 19} {
		r := 0
		for v := range pid.Field(n).Repetitions() {
			r++
			if id := e.Parser.Site.Identify(v, n); id.Valid && !id.Taken && !id.Alike {
				out = append(out, fmt.Sprintf("PID-%d[%d]: passes the check of an NHS number, but is not taken as one: authority %s, type %s",
					n, r, shown(k, "PID", n, 4, v), shown(k, "PID", n, 5, v)))
			}
		}
	}
	if sex := pid.Field(8); !sex.IsAbsent() && !sex.IsNull() && !slices.Contains(sexes, strings.ToUpper(sex.Text())) {
		out = append(out, "PID-8: a code that is not known, taken as unknown")
	}
	return out
}

var sexes = []string{"M", "F", "U", "A", "O", "N", "X", "I", "0", "1", "2", "9", "MALE", "FEMALE", "UNKNOWN"}

// shown is one component, or why it is not shown.
func shown(k *mask.Mask, segment string, n, c int, v hl7.Repetition) string {
	component := v.Component(c)
	if component.IsAbsent() {
		return "none"
	}
	if text, ok := k.Safe(segment, n, c, component.Value); ok && text != "" {
		return text
	}
	return "(masked)"
}

func (e Explainer) lintVisit(pv1 hl7.Segment, k *mask.Mask, movement adt.Movement) []string {
	var out []string
	site := e.Parser.Site
	if facility := pv1.Field(3).Component(4).Text(); facility != "" && len(site.Sites) > 0 &&
		!slices.ContainsFunc(site.Sites, func(c safeguard.ODSCode) bool { return strings.EqualFold(c.String(), facility) }) {
		out = append(out, "PV1-3.4: "+shown(k, "PV1", 3, 4, pv1.Field(3).Repetition(1))+" is none of the sites in the configuration, the feed's is taken")
	}
	if rules := adt.DefaultRules(); movement.Attendance.Rule == rules[len(rules)-1].Name {
		out = append(out, "PV1-2, PV1-3: class and location tell nothing, taken as scheduled; list the location, or write a rule")
	}
	return out
}
