package epr

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

var segmentName = regexp.MustCompile(`^[A-Z][A-Z0-9]{2}$`)

// Template is the form of an HL7 v2 message: segments, with the alert's fields by
// name in braces. The delimiters in the file are the message's; what a field holds
// is escaped, so that no value can bring one of its own.
//
// A line may begin with tags that say when it is written:
//
//	[raise] [update] [withdraw]   for that action only; several in one tag, with commas
//	[held] [unknown] [none]       for that kind of content only
//	[each plan]                   once for each plan
//	[each line]                   once for each line of text
//	[each gone]                   once for each line that earlier versions had and this one has not
//	[each gone plan]              the same, of plans only
//
// A line that begins with # is a comment.
type Template struct {
	name  string
	lines []templateLine
}

type templateLine struct {
	number  int // in the file
	actions []safeguard.Action
	kinds   []safeguard.Kind
	each    string // "", "plan", "line", "gone" or "gone plan"
	segment string
	parts   []part
}

// part is one value of a segment, or a field that brings its own components.
type part struct {
	at     hl7.Path
	pieces []templatePiece
	whole  func(v *values) [][]string // repetitions and their components
}

// templatePiece is some literal text, or a field.
type templatePiece struct {
	text, name string
	value      func(v *values) (string, error)
}

// ParseTemplate reads a template. An error tells the line, what is wrong and what
// would be right.
func ParseTemplate(name string, from io.Reader) (*Template, error) {
	t := &Template{name: name}
	in := bufio.NewScanner(from)
	in.Buffer(nil, 1<<20)
	for number := 1; in.Scan(); number++ {
		text := strings.TrimSpace(strings.TrimPrefix(in.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		line, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("template %s, line %d: %w", name, number, err)
		}
		line.number = number
		t.lines = append(t.lines, line)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read template %s: %w", name, err)
	}
	if len(t.lines) == 0 {
		return nil, fmt.Errorf("template %s: no segment, want MSH first", name)
	}
	return t, nil
}

func parseLine(text string) (l templateLine, err error) {
	for strings.HasPrefix(text, "[") {
		tag, rest, closed := strings.Cut(text[1:], "]")
		if !closed {
			return l, errors.New("a [ without its ]")
		}
		if err := l.tag(tag); err != nil {
			return l, err
		}
		text = strings.TrimSpace(rest)
	}
	m, head := []byte(text+"\r"), 0
	if !strings.HasPrefix(text, "MSH") {
		m, head = []byte("MSH|^~\\&|\r"+text+"\r"), 1
	} else if !strings.HasPrefix(text, `MSH|^~\&|`) {
		return l, errors.New(`want MSH|^~\&|: the usual delimiters`)
	}
	message, err := hl7.Parse(m)
	if err != nil {
		return l, fmt.Errorf("want a segment such as PID|1||{identifiers}: %w", err)
	}
	segment := 0
	for s := range message.Segments() {
		if segment < head {
			segment++
			continue
		}
		if l.segment = s.Name(); !segmentName.MatchString(l.segment) {
			return l, fmt.Errorf("segment %q: want three capitals or digits, such as PID", l.segment)
		}
		for n, f := range s.Fields() {
			if l.segment == "MSH" && n < 3 {
				continue
			}
			if err := l.field(n, f); err != nil {
				return l, fmt.Errorf("%s-%d: %w", l.segment, n, err)
			}
		}
	}
	return l, l.check()
}

func (l *templateLine) tag(tag string) error {
	for _, word := range strings.Split(tag, ",") {
		switch word = strings.TrimSpace(word); word {
		case "raise":
			l.actions = append(l.actions, safeguard.Raise)
		case "update":
			l.actions = append(l.actions, safeguard.Update)
		case "withdraw":
			l.actions = append(l.actions, safeguard.Withdraw)
		case "held":
			l.kinds = append(l.kinds, safeguard.FlagsHeld)
		case "unknown":
			l.kinds = append(l.kinds, safeguard.CheckNotCompleted)
		case "none":
			l.kinds = append(l.kinds, safeguard.NoneFound)
		case "each plan", "each line", "each gone", "each gone plan":
			l.each = strings.TrimPrefix(word, "each ")
		default:
			return fmt.Errorf("tag %q: want raise, update, withdraw, held, unknown, none, each plan, each line, each gone or each gone plan", word)
		}
	}
	return nil
}

func (l *templateLine) field(n int, f hl7.Field) error {
	if raw := string(f.Raw()); strings.Contains(raw, `""`) {
		return errors.New(`"" would delete what the EPR holds, want the field absent`)
	}
	rep := 0
	for r := range f.Repetitions() {
		rep++
		component := 0
		for c := range r.Components() {
			component++
			sub := 0
			for s := range c.Subs() {
				sub++
				if s.IsAbsent() {
					continue
				}
				pieces, err := parsePieces(s.Text())
				if err != nil {
					return err
				}
				p := part{at: hl7.Path{Segment: l.segment, Field: n, Repetition: rep, Component: component, Sub: sub}}
				for _, piece := range pieces {
					if err := l.known(piece.name, len(pieces) > 1 || string(s.Raw()) != string(r.Raw())); err != nil {
						return err
					}
					p.whole = composite[piece.name]
					p.pieces = append(p.pieces, templatePiece{piece.text, piece.name, templateFields[piece.name].value})
				}
				l.parts = append(l.parts, p)
			}
		}
	}
	return nil
}

// known refuses a field that there is not, or not here.
func (l *templateLine) known(name string, among bool) error {
	if name == "" {
		return nil
	}
	if composite[name] != nil {
		if among {
			return fmt.Errorf("{%s} brings its own components, want it alone in its field", name)
		}
		return nil
	}
	f, ok := templateFields[name]
	if !ok {
		return fmt.Errorf("{%s}: no such field, want one of %s", name, strings.Join(TemplateFields(), ", "))
	}
	if f.scope == "plan" && !strings.HasSuffix(l.each, "plan") || f.scope == "line" && l.each == "" {
		return fmt.Errorf("{%s} is known only in a line that begins with [each %s]", name, f.scope)
	}
	return nil
}

// check keeps alerts out of where they do harm.
func (l *templateLine) check() error {
	switch l.segment {
	case "AL1", "DG1", "PRB", "IAM":
		return fmt.Errorf("%s: an alert is no allergy, diagnosis or problem, want OBX or a segment of the site's own", l.segment)
	case "BHS", "FHS", "BTS", "FTS", "DSC":
		return fmt.Errorf("%s: want one message, no batch", l.segment)
	}
	for _, p := range l.parts {
		switch at := fmt.Sprintf("%s-%d", l.segment, p.at.Field); at {
		case "PD1-12", "PV1-16":
			return fmt.Errorf("%s means something else in the NHS, want it absent", at)
		case "MSH-18":
			return fmt.Errorf("%s is written from the configuration's charset, want it absent", at)
		}
	}
	return nil
}

// required is what every message must have in its header: it is how a repeat, an
// acknowledgement and an echo are known.
var required = map[int]string{3: "sending_application", 7: "decided", 10: "control_id", 11: "processing", 12: "version"}

// check renders every kind of message, and looks at each.
func (t *Template) check(f *Format) error {
	for _, l := range t.lines {
		if l.segment != "MSH" {
			continue
		}
		for n, name := range required {
			alone := func(p part) bool {
				return p.at.Field == n && p.at.Component == 1 && len(p.pieces) == 1 && p.pieces[0].name == name
			}
			if !slices.ContainsFunc(l.parts, alone) {
				return fmt.Errorf("template %s, line %d: want {%s} in MSH-%d", t.name, l.number, name, n)
			}
		}
	}
	for _, a := range samples() {
		what := fmt.Sprintf("template %s, %s of %s", t.name, a.Action, a.Content.Kind)
		raw, err := t.render(a, f)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		m, err := hl7.Parse(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if h := m.Header(); !h.Application.Is(adt.Application) || h.Type.IsAbsent() || h.Event.IsAbsent() {
			return fmt.Errorf("%s: want an MSH with the message type in MSH-9", what)
		}
		if _, ok := m.Segment("PID"); !ok {
			return fmt.Errorf("%s: want a PID segment, to say whom it is about", what)
		}
	}
	return nil
}

var builders = sync.Pool{New: func() any { return hl7.NewBuilder() }}

// render writes the alert.
func (t *Template) render(a safeguard.Alert, f *Format) ([]byte, error) {
	v := &values{Alert: a, format: f, notice: f.Wording.Notice(a, f.zone), when: a.Decided.In(f.zone).Format(timestamp)}
	b := builders.Get().(*hl7.Builder)
	defer builders.Put(b)
	b.Reset().Charset(f.Charset)
	seen := make(map[string]int, 8)
	for _, l := range t.lines {
		if !l.holds(a) {
			continue
		}
		v.gone = strings.HasPrefix(l.each, "gone")
		for _, v.line = range v.rounds(l.each) {
			if (l.segment == "MSH") != (len(seen) == 0) {
				return nil, fmt.Errorf("line %d: want one MSH, and it first", l.number)
			}
			seen[l.segment]++
			v.n = seen[l.segment]
			s := b.Header()
			if l.segment != "MSH" {
				s = b.Add(l.segment)
			}
			if err := l.write(s, v); err != nil {
				return nil, fmt.Errorf("line %d: %w", l.number, err)
			}
		}
	}
	out, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("build message: %w", err)
	}
	return out, nil
}

func (l templateLine) holds(a safeguard.Alert) bool {
	return (len(l.actions) == 0 || slices.Contains(l.actions, a.Action)) && (len(l.kinds) == 0 || slices.Contains(l.kinds, a.Content.Kind))
}

// rounds are the lines of text for which a segment is written; one without any for
// a segment that is written once.
func (v *values) rounds(each string) []Line {
	switch each {
	case "plan":
		return plans(v.notice.Lines)
	case "gone plan":
		return plans(v.notice.Gone)
	case "line":
		return v.notice.Lines
	case "gone":
		return v.notice.Gone
	}
	return []Line{{}}
}

func (l templateLine) write(s *hl7.SegmentBuilder, v *values) error {
	for _, p := range l.parts {
		if p.whole != nil {
			for _, repetition := range p.whole(v) {
				s.Repeat(p.at.Field, repetition...)
			}
			continue
		}
		if v.format.old() && l.segment == "MSH" && p.at.Field == 9 && p.at.Component > 2 {
			continue // the message structure came with 2.3.1
		}
		text, err := p.text(v)
		if err != nil {
			return err
		}
		s.Put(p.at, text)
	}
	return nil
}

func (p part) text(v *values) (string, error) {
	if len(p.pieces) == 1 {
		return p.pieces[0].is(v)
	}
	var text strings.Builder
	for _, piece := range p.pieces {
		is, err := piece.is(v)
		if err != nil {
			return "", err
		}
		text.WriteString(is)
	}
	return text.String(), nil
}

func (p templatePiece) is(v *values) (string, error) {
	if p.value == nil {
		return p.text, nil
	}
	return p.value(v)
}
