// Package mask says what of an HL7 message may be shown to someone who is to see
// how it is built, and not whom it is about. It names segments and fields too.
//
// A value is shown only where three things hold: its field is known to carry no
// patient data, it has the form that such a field has, and it holds none of the
// names and numbers that the message gives its patient elsewhere. Everything else
// is shown by its form: xxx for letters, # for each digit.
package mask

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// kinds are the forms of values that may be shown.
var kinds = map[string]*regexp.Regexp{
	"one":     regexp.MustCompile(`^[A-Za-z0-9]$`),
	"short":   regexp.MustCompile(`^[A-Za-z0-9]{1,4}$`),
	"code":    regexp.MustCompile(`^[A-Z]{2,3}$`),
	"sex":     regexp.MustCompile(`^(?i:[MFUOANXI0129]|male|female|unknown)$`),
	"status":  regexp.MustCompile(`^(?i:(NSTS|PDS)?[0-9]{1,2}|ED|UD|AL|UA|US)$`),
	"type":    regexp.MustCompile(`^[A-Za-z]{1,6}(\{status:[0-9]{1,2}\})?$`),
	"event":   regexp.MustCompile(`^[A-Z][A-Z0-9]{2}(_[A-Z][0-9]{2})?$`),
	"version": regexp.MustCompile(`^[0-9]\.[0-9]{1,2}(\.[0-9]{1,2})?$`),
	"charset": regexp.MustCompile(`^(?i:[A-Z0-9/_.-]{1,20}( [A-Z0-9/_.-]{1,10})?)$`),
	"count":   regexp.MustCompile(`^[0-9]{1,9}$`),
	"time":    regexp.MustCompile(`^[0-9]{8}([0-9]{2,6}(\.[0-9]{1,4})?)?([+-][0-9]{4})?$`),
	"id":      regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,50}$`),
	// A code or name of a place, system or authority, an OID, or an NHS URI.
	"place": regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9 _.,&'()/-]{0,29}|[0-2](\.[0-9]{1,7}){4,20}|(urn:oid:)[0-2](\.[0-9]{1,7}){4,20}|https?://(fhir\.)?[a-z.]*nhs\.(uk|net)/[A-Za-z0-9/_-]{1,60})$`),
}

// longDigits is what no place or code has, and a patient's number does.
var longDigits = regexp.MustCompile(`[0-9]{5}|([0-9][ -]?){7}`)

// Title is the segment's name in words, empty where it is not known.
func Title(segment string) string { return segments[segment].title }

// FieldName is the field's name in words, empty where it is not known.
func FieldName(segment string, n int) string { return segments[segment].fields[n].name }

// SegmentName is what a segment is called, or its form where that is no name.
func SegmentName(s hl7.Segment) string {
	name := s.Name()
	if len(name) == 3 && kinds["event"].MatchString(name) {
		return name
	}
	if name == "" {
		return "(no name)"
	}
	return form(name)
}

// Mask masks the values of one message.
type Mask struct {
	reveal  bool
	words   map[string]bool // names, in small letters
	numbers []string
}

// New makes the mask of a message, or with reveal one that shows everything.
func New(m hl7.Message, reveal bool) *Mask {
	k := &Mask{reveal: reveal, words: map[string]bool{}}
	if reveal {
		return k
	}
	for s := range m.Segments() {
		for n, components := range identifying[s.Name()] {
			for v := range s.Field(n).Repetitions() {
				k.learn(v, components)
			}
		}
	}
	return k
}

// identifying are the fields that name the patient, the family or the visit, with
// how many of their components do: of an identifier the first, of a name four, of
// an address five.
var identifying = map[string]map[int]int{
	"PID": {2: 1, 3: 1, 4: 1, 5: 4, 6: 4, 7: 1, 9: 4, 11: 5, 13: 12, 14: 12, 18: 1, 19: 1, 20: 1, 21: 1},
	"NK1": {2: 4, 4: 5, 5: 12, 6: 12, 30: 4, 31: 12, 32: 5, 33: 1},
	"MRG": {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 4},
	"PV1": {5: 1, 19: 1, 50: 1},
	"GT1": {2: 1, 3: 4, 4: 4, 5: 5, 6: 12},
	"IN1": {16: 4, 19: 5, 36: 1},
}

// learn keeps the first components of one repetition.
func (k *Mask) learn(v hl7.Repetition, components int) {
	n := 0
	for c := range v.Components() {
		if n++; n > components {
			return
		}
		text := strings.ToLower(c.WholeText())
		if digits := onlyDigits(text); len(digits) >= 5 {
			k.numbers = append(k.numbers, digits)
		}
		for _, w := range split(text) {
			if utf8.RuneCountInString(w) > 2 {
				k.words[w] = true
			}
		}
	}
}

func split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

func onlyDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
}

// names tells whether text holds something that names the patient.
func (k *Mask) names(text string) bool {
	text = strings.ToLower(text)
	for _, w := range split(text) {
		if k.words[w] {
			return true
		}
	}
	digits := onlyDigits(text)
	for _, n := range k.numbers {
		if strings.Contains(digits, n) {
			return true
		}
	}
	return false
}

// Safe returns the text of component c of a field, and whether it may be shown.
func (k *Mask) Safe(segment string, n, c int, v hl7.Value) (string, bool) {
	text := v.Text()
	if k.reveal {
		return Printable(text), true
	}
	f := segments[segment].fields[n]
	kind := f.all
	if kind == "" {
		kind = f.parts[c]
	}
	if kind == "" || !kinds[kind].MatchString(text) || k.names(text) {
		return "", false
	}
	if kind == "place" && strings.Count(text, " ") > 2 {
		return "", false // a sentence rather than a name
	}
	if (kind == "place" || kind == "charset") && strings.Count(text, ".") < 4 && longDigits.MatchString(text) {
		return "", false
	}
	return Printable(text), true
}

// Repetition is one repetition of a field, each of its values shown or masked.
func (k *Mask) Repetition(segment string, n int, v hl7.Repetition, d hl7.Delimiters) (text string, masked bool) {
	if segment == "MSH" && n <= 2 {
		return Printable(string(v.Raw())), false
	}
	var b strings.Builder
	c := 0
	for component := range v.Components() {
		if c++; c > 1 {
			b.WriteByte(d.Component)
		}
		s := 0
		for sub := range component.Subs() {
			if s++; s > 1 {
				b.WriteByte(d.Sub)
			}
			switch shown, safe := k.Safe(segment, n, c, sub.Value); {
			case sub.IsNull():
				b.WriteString(`""`)
			case sub.IsAbsent():
			case safe:
				b.WriteString(shown)
			default:
				b.WriteString(form(sub.Text()))
				masked = true
			}
		}
	}
	return clip(b.String()), masked
}

// form shows how a value is written: xxx for letters however many, # for a
// digit. What is long or has spaces is free text, of which nothing is shown.
func form(text string) string {
	if text == "" {
		return ""
	}
	if len(text) > 40 || strings.Count(text, " ") > 2 {
		return "(text)"
	}
	var b strings.Builder
	letters := false
	for _, r := range text {
		switch {
		case r >= '0' && r <= '9':
			b.WriteByte('#')
		case unicode.IsLetter(r) || unicode.IsMark(r):
			if !letters {
				b.WriteString("xxx")
			}
			letters = true
			continue
		case strings.ContainsRune(" -/.:+,'_", r):
			b.WriteRune(r)
		default:
			b.WriteByte('?')
		}
		letters = false
	}
	return b.String()
}

// Printable replaces what a terminal would act on instead of showing.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, text)
}

// longest is how much of one value is shown.
const longest = 240

func clip(text string) string {
	if utf8.RuneCountInString(text) <= longest {
		return text
	}
	return string([]rune(text)[:longest]) + "…"
}
