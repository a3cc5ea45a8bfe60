// Package explain says what a message is and what it means to Safeguard: its
// segments and fields by name, what follows from it by which rule, and what was
// not understood. Patient data is masked unless it is asked for.
package explain

import (
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/explain/mask"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Explainer explains the messages of one site.
type Explainer struct {
	Parser     adt.Parser
	Rules      safeguard.Rules
	Charset    string // instead of MSH-18; empty for none
	Processing string // instead of MSH-11; empty for none
	Reveal     bool   // show patient data
}

// Message is one message explained.
type Message struct {
	Bytes         int       `json:"bytes"`
	Treatment     string    `json:"treatment"`         // the kind of movement, or "refused"
	Rule          string    `json:"rule"`              // why
	Meaning       []Fact    `json:"meaning"`           // what it means to Safeguard
	NotUnderstood []string  `json:"not_understood"`    // what was there but could not be used
	NotRead       []string  `json:"not_read"`          // segments that mean nothing to Safeguard
	Segments      []Segment `json:"segments"`          // what was read
	Masked        bool      `json:"masked"`            // whether values are masked
	Refused       string    `json:"refused,omitempty"` // why it was set aside, if so
}

// Fact is one thing that a message says.
type Fact struct {
	About string `json:"about"`
	Says  string `json:"says"`
}

// Segment is one segment with the fields that were sent.
type Segment struct {
	Name   string  `json:"name"`
	Title  string  `json:"title,omitempty"`
	Fields []Field `json:"fields"`
}

// Field is one repetition of a field.
type Field struct {
	Number     int    `json:"number"`
	Repetition int    `json:"repetition,omitempty"` // where there are several
	Name       string `json:"name,omitempty"`
	Value      string `json:"value"`
	Masked     bool   `json:"masked,omitempty"`
}

// Refused is the treatment of a message that can not be used.
const Refused = "refused"

// Explain explains one message.
func (e Explainer) Explain(body []byte, received time.Time) Message {
	out := Message{Bytes: len(body), NotUnderstood: []string{}, NotRead: []string{}, Meaning: []Fact{}, Segments: []Segment{}}
	movement, err := e.Parser.Parse(adt.Message{Body: body, Received: received, Charset: e.Charset, Processing: e.Processing})
	out.Treatment, out.Rule = movement.Kind.String(), movement.Rule
	if err != nil {
		out.Treatment, out.Rule, out.Refused = Refused, "set aside for a person, unless the feed's policy says otherwise", err.Error()
	}
	m, headerErr := hl7.ParseHeader(body)
	if headerErr != nil {
		return out
	}
	if e.Charset != "" {
		m = m.WithCharset(e.Charset)
	}
	k := mask.New(m, e.Reveal)
	out.segments(m, k)
	if err == nil {
		out.Meaning = e.meaning(movement)
	}
	out.NotUnderstood = append(out.NotUnderstood, movement.Doubts...)
	out.NotUnderstood = append(out.NotUnderstood, e.lint(m, k, movement)...)
	return out
}

// read are the segments that mean something to Safeguard.
var read = map[string]bool{"MSH": true, "EVN": true, "PID": true, "MRG": true, "PV1": true, "PV2": true, "ZU1": true, "ZU8": true}

// segments lists what was sent, segment by segment.
func (out *Message) segments(m hl7.Message, k *mask.Mask) {
	unread := map[string]int{}
	var order []string
	for s := range m.Segments() {
		name := mask.SegmentName(s)
		segment := Segment{Name: name, Title: mask.Title(s.Name()), Fields: []Field{}}
		for n, f := range s.Fields() {
			reps := 0
			for range f.Repetitions() {
				reps++
			}
			r := 0
			for v := range f.Repetitions() {
				r++
				if v.IsAbsent() && !(name == "MSH" && n <= 2) {
					continue
				}
				field := Field{Number: n, Name: mask.FieldName(s.Name(), n)}
				if reps > 1 {
					field.Repetition = r
				}
				field.Value, field.Masked = k.Repetition(s.Name(), n, v, m.Delimiters())
				out.Masked = out.Masked || field.Masked
				segment.Fields = append(segment.Fields, field)
			}
		}
		out.Segments = append(out.Segments, segment)
		if !read[s.Name()] {
			if unread[name]++; unread[name] == 1 {
				order = append(order, name)
			}
		}
	}
	for _, name := range order {
		text := name
		if n := unread[name]; n > 1 {
			text += " (" + strconv.Itoa(n) + " times)"
		}
		out.NotRead = append(out.NotRead, text)
	}
}
