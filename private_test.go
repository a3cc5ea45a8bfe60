package safeguard_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
)

// holder has the private values where fmt can call no method on them.
type holder struct {
	number  safeguard.NHSNumber
	pointer *safeguard.NHSNumber
	list    []safeguard.NHSNumber
	keyed   map[safeguard.NHSNumber]int
	born    safeguard.Private[safeguard.Date]
	name    safeguard.Private[string]
	mrn     safeguard.Private[safeguard.Identifier]
	within  struct{ attendance safeguard.Attendance }
}

func TestPrivateValuesAreNotPrintedByAccident(t *testing.T) {
	const digits, name, mrn = "9990000344", "FERNSBY", "H100001"
	number, err := safeguard.ParseNHSNumber(digits)
	if err != nil {
		t.Fatal(err)
	}
	born := safeguard.Date{Year: 2019, Month: 8, Day: 13}
	patient := safeguard.Patient{
		Number: number, Born: safeguard.Hide(born), Family: safeguard.Hide(name),
		MRN: safeguard.Hide(safeguard.Identifier{Value: mrn}),
	}
	attendance := safeguard.Attendance{Patient: patient, Visit: safeguard.Hide(safeguard.Identifier{Value: mrn})}
	h := holder{
		number: number, pointer: &number, list: []safeguard.NHSNumber{number}, keyed: map[safeguard.NHSNumber]int{number: 1},
		born: patient.Born, name: patient.Family, mrn: patient.MRN,
	}
	h.within.attendance = attendance

	values := map[string]any{
		"number": number, "pointer": &number, "slice": []safeguard.NHSNumber{number}, "map": map[safeguard.NHSNumber]int{number: 1},
		"name": patient.Family, "born": patient.Born, "mrn": patient.MRN,
		"patient": patient, "attendance": attendance, "attendance pointer": &attendance,
		"query":             attendance.Query(safeguard.Unscheduled, "device", safeguard.Accountable{}),
		"notification":      safeguard.Notification{Number: number, Born: patient.Born},
		"unexported":        h,
		"unexported behind": &h,
		"any":               struct{ V any }{number},
		"unexported any":    struct{ v any }{number},
	}
	for what, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%o", "%b", "%c", "%U", "%e", "%t", "%20v", "%-20.3s"} {
			check(t, what+" "+verb, fmt.Sprintf(verb, v))
		}
		check(t, what+" Sprint", fmt.Sprint(v))
		if text, err := json.Marshal(v); err == nil {
			check(t, what+" JSON", string(text))
		}
		if text, err := xml.Marshal(v); err == nil {
			check(t, what+" XML", string(text))
		}
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		check(t, what+" slog", out.String())
		check(t, what+" error", fmt.Errorf("lookup %v: %w", v, fmt.Errorf("inner %+v", v)).Error())
	}
	if got := number.Reveal(); got != digits {
		t.Errorf("Reveal gives %d characters that are not the number", len(got))
	}
	if got, want := number.String(), "*** *** 0344"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got := patient.Born.Reveal(); got != born {
		t.Error("Reveal does not give the date of birth back")
	}
}

// check fails when out tells more of a number than its last four digits, or any
// other private value, in whatever base or case.
func check(t *testing.T, what, out string) {
	t.Helper()
	for _, secret := range []string{
		"9990000344", "999 000 0344", "999000", fmt.Sprintf("%x", "9990000344"), fmt.Sprintf("%X", "9990000344"), "[57 57 57",
		"FERNSBY", fmt.Sprintf("%x", "FERNSBY"), fmt.Sprintf("%X", "FERNSBY"),
		"H100001", fmt.Sprintf("%x", "H100001"), fmt.Sprintf("%X", "H100001"), "2019-08-13", "2019 8 13", "Year:2019", "{2019", "7e3 8 d",
	} {
		if strings.Contains(out, secret) {
			t.Errorf("%s shows a private value: %q", what, secret)
		}
	}
}

func TestPrivateValuesCompare(t *testing.T) {
	a, _ := safeguard.ParseNHSNumber("999 000 0344")
	b, _ := safeguard.ParseNHSNumber("9990000344")
	c, _ := safeguard.ParseNHSNumber("9990000352")
	if a != b || a == c || (a == safeguard.NHSNumber{}) {
		t.Error("NHS numbers must compare by their digits")
	}
	x, y := safeguard.Hide("x"), safeguard.Hide(strings.ToLower("X"))
	if x != y || safeguard.Hide("") != (safeguard.Private[string]{}) {
		t.Error("private values must compare by what they hold")
	}
	if !safeguard.Hide("").IsZero() || safeguard.Hide("").Reveal() != "" {
		t.Error("hiding nothing must hold nothing")
	}
}

func TestPrivateValuesAreNotReadFromJSON(t *testing.T) {
	var v struct{ N safeguard.NHSNumber }
	if err := json.Unmarshal([]byte(`{"N": "*** *** 0344"}`), &v); err == nil {
		t.Error("a masked number must not be read as a number")
	}
}
