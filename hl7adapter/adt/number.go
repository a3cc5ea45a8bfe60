package adt

import (
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// cx is one identifier as data type CX has it (HL7 v2.4 chapter 2.9.12), with
// what tells whose it is.
type cx struct {
	safeguard.Identifier
	universal string // CX-4.2, an OID or URI
	status    string // said in CX-5, as NH{status:01}
	expired   bool   // CX-8 is a day before the event
}

func (r *reader) cx(v hl7.Repetition) cx {
	id := readCX(v)
	if to := v.Component(8); id.Value != "" && !to.IsAbsent() {
		day, precision, err := hl7.ParseDate(to.Raw())
		id.expired = err == nil && precision == hl7.Day && safeguard.DateOf(day).Before(safeguard.DateOf(r.movement.Occurred))
	}
	return id
}

func readCX(v hl7.Repetition) cx {
	if v.IsNull() {
		return cx{}
	}
	authority := v.Component(4)
	id := cx{
		Identifier: safeguard.Identifier{Value: strings.TrimSpace(v.Component(1).Text()), Authority: authority.Text(), Type: v.Component(5).Text()},
		universal:  authority.Sub(2).Text(),
	}
	if id.Authority == "" {
		id.Authority = id.universal
	}
	if name, rest, ok := strings.Cut(id.Type, "{status:"); ok {
		id.Type, id.status = name, strings.TrimSuffix(rest, "}")
	}
	if check := v.Component(2); len(id.Value) == 9 && v.Component(3).Is("M11") && len(check.Raw()) == 1 {
		id.Value += check.Text() // the check digit apart, as CX-2 and CX-3 allow
	}
	return id
}

// The names of the NHS number's authority, and of those whose numbers look alike
// and are none: Scotland's CHI, Northern Ireland's HSC (HL7 UK A.3 3.3.1.2; HL7 UK
// OID root).
var (
	nhsAuthorities = []string{"NHS", "2.16.840.1.113883.2.1.4.1", "https://fhir.nhs.uk/Id/nhs-number", "http://fhir.nhs.net/Id/nhs-number"}
	alike          = []string{"CHI", "2.16.840.1.113883.2.1.3.2.4.16.53", "HSC", "https://fhir.hscni.net/Id/hsc-number"}
	nhsTypes       = []string{"NH", "NHS"}
)

// isNHSNumber goes by the assigning authority (CX-4), else by the identifier type
// NH (CX-5). Scotland's and Northern Ireland's numbers are of type NH too.
func (c *Config) isNHSNumber(id *cx) bool {
	if id.isAlike() {
		return false
	}
	authority, universal := bare(id.Authority), bare(id.universal)
	return named(nhsAuthorities, authority) || named(nhsAuthorities, universal) || named(nhsTypes, id.Type) ||
		named(c.NHSNumber.Authorities, id.Authority) || named(c.NHSNumber.Authorities, id.universal) || named(c.NHSNumber.Types, id.Type)
}

func (id *cx) isAlike() bool {
	return named(alike, bare(id.Authority)) || named(alike, bare(id.universal)) || strings.EqualFold(id.Type, "CHI")
}

// Identifier is what one repetition of PID-2, PID-3, PID-4 or PID-19 is taken
// as. It holds nothing of the number itself.
type Identifier struct {
	Authority string // CX-4
	Type      string // CX-5
	Taken     bool   // as an NHS number
	Valid     bool   // as one: it passes the check
	Alike     bool   // marked as Scotland's or Northern Ireland's number, which is none
	Present   bool
}

// Identify tells what a repetition of that field of PID is taken as.
func (c Config) Identify(v hl7.Repetition, field int) Identifier {
	id := readCX(v)
	_, err := safeguard.ParseNHSNumber(id.Value)
	out := Identifier{
		Authority: id.Authority, Type: id.Type, Alike: id.isAlike(),
		Taken: c.isNHSNumber(&id), Valid: err == nil, Present: id.Value != "",
	}
	if field != 3 {
		looked := slices.ContainsFunc(c.NHSNumber.Fields, func(name string) bool { return identifierFields[name] == field })
		out.Taken = looked && (out.Taken || id.unmarked())
	}
	return out
}

// unmarked tells whether neither authority nor type is named.
func (id *cx) unmarked() bool { return id.Authority == "" && id.Type == "" }

// bare is an OID without the urn that may stand before it.
func bare(authority string) string {
	if len(authority) > 8 && strings.EqualFold(authority[:8], "urn:oid:") {
		return authority[8:]
	}
	return authority
}

func named(names []string, name string) bool {
	return name != "" && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// numberStatus reads PID-32, whose repetitions have no order, ZU1-27, and what
// the identifier itself says. Where they differ, the most careful holds.
func (r *reader) numberStatus(said hl7.Field) safeguard.NumberStatus {
	status := safeguard.StatusNotStated
	for v := range said.Repetitions() {
		r.stated(&status, v.Text())
	}
	if has(r.zu1) {
		r.stated(&status, r.zu1.Field(27).Text())
	}
	return status
}

func (r *reader) stated(status *safeguard.NumberStatus, code string) {
	s, ok := statusOf(code)
	switch {
	case !ok || s == *status:
	case *status == safeguard.StatusNotStated:
		*status = s
	default:
		r.doubt("PID-32, ZU1-27: two statuses of the NHS number, the more careful is taken")
		if care[s] > care[*status] {
			*status = s
		}
	}
}

// care ranks what to believe where two statuses are given.
var care = map[safeguard.NumberStatus]int{
	safeguard.Verified:               1,
	safeguard.UnrecognisedNumberCode: 2,
	safeguard.AbsentTracePostponed:   3,
	safeguard.AbsentNoTraceRequired:  3,
	safeguard.TraceInProgress:        4,
	safeguard.TraceRequired:          4,
	safeguard.PresentNotTraced:       4,
	safeguard.NoMatch:                5,
	safeguard.InConflict:             6,
}

// statusOf reads NSTS01, PDS01, 01 or 1 (HL7 UK table 0445). Other codes of that
// table, such as ED for an estimated date of birth, are not about the number.
func statusOf(code string) (safeguard.NumberStatus, bool) {
	code = strings.ToUpper(strings.TrimSpace(code))
	digits := strings.TrimPrefix(strings.TrimPrefix(code, "NSTS"), "PDS")
	marked := digits != code
	digits = strings.TrimLeft(strings.TrimSpace(digits), "0")
	if len(digits) == 1 && digits[0] >= '1' && digits[0] <= '8' {
		return safeguard.Verified + safeguard.NumberStatus(digits[0]-'1'), true
	}
	if marked {
		return safeguard.UnrecognisedNumberCode, true
	}
	return 0, false
}
