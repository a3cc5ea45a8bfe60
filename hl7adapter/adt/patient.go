package adt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// patient reads PID. What can not be used, such as an impossible date of birth,
// is left unknown and named in the movement's doubt.
func (r *reader) patient() safeguard.Patient {
	p := safeguard.Patient{
		NumberStatus: r.numberStatus(),
		Born:         r.born(),
		Sex:          sexOf[strings.ToUpper(r.pid.Field(8).Text())],
	}
	if name := r.pid.Field(5).Repetition(1); !name.IsNull() {
		p.Family = safeguard.Hide(name.Component(1).Text())
		p.Given = safeguard.Hide(name.Component(2).Text())
	}
	r.identifiers(&p)
	return p
}

// identifiers takes the NHS number from whichever repetition of PID-3 is marked
// as one, and the hospital's own number from the best of the others.
func (r *reader) identifiers(p *safeguard.Patient) {
	n, best := 0, 0
	for cx := range r.pid.Field(3).Repetitions() {
		n++
		id := identifier(cx)
		if id.Value == "" {
			continue
		}
		if r.site.isNHSNumber(id) {
			number, err := safeguard.ParseNHSNumber(id.Value)
			if err != nil {
				r.doubt(fmt.Sprintf("PID-3[%d]: %v", n, err))
			} else if p.Number.IsZero() {
				p.Number = number
			} else if p.Number != number {
				r.doubt(fmt.Sprintf("PID-3[%d]: a second NHS number, the first is taken", n))
			}
			continue
		}
		if rank := mrnRank(id); rank > best {
			p.MRN, best = safeguard.Hide(id), rank
		}
	}
}

// mrnRank prefers what is marked as a hospital number (HL7 table 0203: MR medical
// record, PI patient internal) to what is not marked.
func mrnRank(id safeguard.Identifier) int {
	switch id.Type {
	case "MR", "PI":
		return 3
	case "":
		return 2
	}
	return 1
}

// nhsNumberOID is the NHS number's object identifier.
const nhsNumberOID = "2.16.840.1.113883.2.1.4.1"

// isNHSNumber goes by the assigning authority (CX-4), else by the identifier type
// NH (CX-5). A Scottish CHI number is of type NH too, and is none.
func (s Site) isNHSNumber(id safeguard.Identifier) bool {
	switch {
	case strings.EqualFold(id.Authority, "CHI"):
		return false
	case id.Authority == "NHS", id.Authority == nhsNumberOID, id.Type == "NH", id.Type == "NHS":
		return true
	}
	return id.Authority != "" && slices.Contains(s.NumberAuthorities, id.Authority) || id.Type != "" && slices.Contains(s.NumberTypes, id.Type)
}

// numberStatus reads PID-32, whose repetitions have no order, else ZU1-27.
func (r *reader) numberStatus() safeguard.NumberStatus {
	for status := range r.pid.Field(32).Repetitions() {
		if s, ok := statusOf(status.Text()); ok {
			return s
		}
	}
	if zu1, ok := r.message.Segment("ZU1"); ok {
		if s, ok := statusOf(zu1.Field(27).Text()); ok {
			return s
		}
	}
	return safeguard.StatusNotStated
}

// statusOf reads NSTS01, PDS01, 01 or 1 (HL7 UK table 0445). Other codes of that
// table, such as ED for an estimated date of birth, are not about the number.
func statusOf(code string) (safeguard.NumberStatus, bool) {
	code = strings.ToUpper(code)
	digits := strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(code, "NSTS"), "PDS"), "0")
	if len(digits) == 1 && digits[0] >= '1' && digits[0] <= '8' {
		return safeguard.Verified + safeguard.NumberStatus(digits[0]-'1'), true
	}
	if strings.HasPrefix(code, "NSTS") || strings.HasPrefix(code, "PDS") {
		return safeguard.UnrecognisedNumberCode, true
	}
	return 0, false
}

// born reads the date of PID-7 and leaves its time.
func (r *reader) born() safeguard.Private[safeguard.Date] {
	text := r.pid.Field(7).Component(1).Text()
	if text == "" || text == `""` {
		return safeguard.Private[safeguard.Date]{}
	}
	t, precision, err := hl7.ParseDate(text)
	if err != nil || precision < hl7.Day {
		r.doubt("PID-7: not a whole date, taken as unknown")
		return safeguard.Private[safeguard.Date]{}
	}
	return safeguard.Hide(safeguard.DateOf(t))
}

// sexOf reads letters (HL7 table 0001) and digits (NHS Data Dictionary).
var sexOf = map[string]safeguard.Sex{
	"M": safeguard.Male, "1": safeguard.Male,
	"F": safeguard.Female, "2": safeguard.Female,
	"9": safeguard.UnspecifiedSex, "A": safeguard.UnspecifiedSex, "O": safeguard.UnspecifiedSex, "N": safeguard.UnspecifiedSex,
}

func (r *reader) doubt(text string) {
	if r.movement.Doubt != "" {
		r.movement.Doubt += "; "
	}
	r.movement.Doubt += text
}
