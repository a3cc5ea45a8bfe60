package journal

import (
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Row is what an operator is shown of an entry or item. What is about a person is
// there only when it is revealed: Patient, Raw, the fields of Message, the Reason
// of what was settled, and the Text.
type Row struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`
	At         time.Time `json:"at"` // received or queued
	Settled    time.Time `json:"settled,omitzero"`
	Feed       string    `json:"feed,omitempty"`
	Peer       string    `json:"peer,omitempty"`
	Sink       string    `json:"sink,omitempty"`
	Entry      Seq       `json:"entry,omitempty"` // that an item follows from
	Attendance string    `json:"attendance,omitempty"`
	Event      string    `json:"event,omitempty"` // MSH-9, such as ADT^A04
	ControlID  string    `json:"control_id,omitempty"`
	Action     string    `json:"action,omitempty"`
	Version    int       `json:"version,omitempty"`
	Due        time.Time `json:"due,omitzero"`
	Tries      int       `json:"tries,omitempty"`
	Code       string    `json:"code,omitempty"` // of the last receipt
	Text       string    `json:"text,omitempty"` // of the last receipt, where it was a refusal
	Reason     string    `json:"reason,omitempty"`
	Bytes      int       `json:"bytes,omitempty"` // of the message; 0 once destroyed
	Broken     string    `json:"broken,omitempty"`
	Patient    *Patient  `json:"patient,omitempty"`
	Message    []string  `json:"message,omitempty"` // segment by segment
	Raw        []byte    `json:"raw,omitempty"`     // the revealed message, as it came
	Outcome    string    `json:"outcome,omitempty"` // of a change
}

// Patient is who a revealed row is about.
type Patient struct {
	Number     string `json:"nhs_number,omitempty"`
	Identifier string `json:"identifier,omitempty"` // MRN, or PID-3 as it came
	Name       string `json:"name,omitempty"`
	Born       string `json:"born,omitempty"`
}

// row opens what an operator may be told.
func (j *Journal) row(f found, reveal bool) Row {
	r := Row{
		ID: f.ID(), State: f.state.String(), At: moment(f.at), Settled: moment(f.settled.Int64),
		Peer: f.peer, Entry: f.entry, Version: f.version, Due: moment(f.due), Tries: f.tries, Code: f.code,
	}
	if f.state != Waiting {
		r.Due = time.Time{}
	}
	if f.item {
		r.Sink = f.name
		j.describeItem(&r, f, reveal)
	} else {
		r.Feed = f.name
		j.describeEntry(&r, f, reveal)
	}
	return r
}

func (j *Journal) describeEntry(r *Row, f found, reveal bool) {
	if f.label != nil {
		if plain, err := j.ring.Open(f.label, entryIdentity("label", Seq(f.id))); err != nil {
			r.Broken = "label does not open"
		} else {
			if id := safeguard.AttendanceID(plain[:16]); !id.IsZero() {
				r.Attendance = id.String()
			}
			// Why an attendance was settled tells what is known of the patient, but for
			// that it was a test.
			why := string(plain[16:])
			test := strings.HasSuffix(why, safeguard.TestMessage) // as both rules for tests do
			if reveal || test || f.state == SetAside || f.state == Ignored {
				r.Reason = why
			}
		}
	}
	body, err := j.entryBody(f)
	if err != nil {
		r.Broken = "message does not open"
	}
	r.Bytes = len(body)
	m, err := hl7.Parse(body)
	if err != nil {
		return
	}
	r.Event = m.Get("MSH-9.1").Text() + "^" + m.Get("MSH-9.2").Text()
	r.ControlID = string(m.Header().ControlID)
	if reveal {
		r.Patient = &Patient{Identifier: m.Get("PID-3").WholeText(), Name: m.Get("PID-5").WholeText(), Born: m.Get("PID-7").WholeText()}
	}
}

func (j *Journal) entryBody(f found) ([]byte, error) {
	if f.body == nil {
		return nil, nil
	}
	return j.ring.Open(f.body, entryIdentity("body", Seq(f.id)))
}

func (j *Journal) describeItem(r *Row, f found, reveal bool) {
	r.Bytes = len(f.body)
	item := Item{ID: ItemID(f.id), Outbox: f.name}
	if f.body != nil {
		if err := j.openItem(&item, f.label, f.body); err != nil {
			r.Broken = "item does not open"
		}
	}
	plain, err := j.ring.Open(f.label, itemIdentity("label", item.ID))
	if err != nil {
		return
	}
	l, err := decodeLabel(plain)
	if err != nil {
		return
	}
	r.Attendance = l.attendance.String()
	if !Reserved(item.Outbox) {
		r.Action = l.action.String()
		r.ControlID = safeguard.Alert{ID: l.alert, Version: f.version, Action: l.action}.ControlID(item.Outbox)
		if reveal {
			r.Reason = item.Alert.Rule
			if text, err := j.ring.Open(f.text, itemIdentity("text", item.ID)); err == nil && f.text != nil {
				r.Text = strings.ToValidUTF8(string(text), "")
			}
		}
	}
	if p := patientOf(item); reveal && p != (safeguard.Patient{}) {
		r.Patient = &Patient{
			Number: p.Number.Reveal(), Identifier: p.MRN.Reveal().Value, Born: p.Born.Reveal().String(),
			Name: strings.TrimSpace(p.Family.Reveal() + " " + p.Given.Reveal()),
		}
	}
}

func patientOf(i Item) safeguard.Patient {
	switch i.Outbox {
	case Lookups, Graces:
		return i.Named.Patient
	case Corrections:
		return safeguard.Patient{Number: i.Correction.Number}
	}
	return i.Alert.Attendance.Patient
}

// plainSegments hold nothing about a person, and are shown as they are.
var plainSegments = map[string]bool{"MSH": true}

// message adds the text of an entry, segment by segment: masked, unless it is to
// be revealed. What is not HL7 is shown revealed only.
func (o *operation) message(r *Row, f found) {
	if f.item {
		return
	}
	body, err := o.entryBody(f)
	if err != nil || body == nil {
		return
	}
	if o.Reveal {
		r.Raw = body
		r.Message = strings.Split(strings.TrimRight(string(body), "\r\n"), "\r")
		return
	}
	m, err := hl7.Parse(body)
	if err != nil {
		r.Message = []string{"(not HL7: --reveal shows it)"}
		return
	}
	for s := range m.Segments() {
		r.Message = append(r.Message, masked(s))
	}
}

// masked keeps the shape of a segment: a field that has something shows a star.
func masked(s hl7.Segment) string {
	if plainSegments[s.Name()] {
		return string(s.Raw())
	}
	var b strings.Builder
	b.WriteString(s.Name())
	last := 0
	for n, f := range s.Fields() {
		if f.IsAbsent() {
			continue
		}
		b.WriteString(strings.Repeat("|", n-last) + "*")
		last = n
	}
	return b.String()
}
