package mask_test

import (
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/explain/mask"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// TestSafe: what is shown of a value depends on its field, its form, and whom
// the message is about.
func TestSafe(t *testing.T) {
	const person = "PID|1||H500100^^^RX1^MR~9990123004^^^NHS||MARLOWE^JUNIPER^^^MISS||20190807|2|||4 TANNERS ROW^^THORNWICK^^TH1 2AB^GBR\r"
	for _, c := range []struct {
		segment  string
		n, c     int
		value    string
		want     string
		wantSafe bool
	}{
		{"MSH", 3, 1, "PAS", "PAS", true},
		{"MSH", 3, 1, "Care-Flow 7.2 (live)", "Care-Flow 7.2 (live)", true},
		{"MSH", 3, 1, "Marlowe", "", false},
		{"MSH", 3, 1, "app of a patient somewhere", "", false},
		{"MSH", 10, 1, "MSG00041", "MSG00041", true},
		{"MSH", 10, 1, "9990123004-1", "", false},
		{"MSH", 12, 1, "2.5.1", "2.5.1", true},
		{"MSH", 12, 1, "MARLOWE", "", false},
		{"MSH", 18, 1, "UNICODE UTF-8", "UNICODE UTF-8", true},
		{"MSH", 18, 1, "8859/1", "8859/1", true},
		{"PID", 3, 1, "H500100", "", false},
		{"PID", 3, 4, "NHS", "NHS", true},
		{"PID", 3, 4, "2.16.840.1.113883.2.1.4.1", "2.16.840.1.113883.2.1.4.1", true},
		{"PID", 3, 4, "urn:oid:2.16.840.1.113883.2.1.4.1", "urn:oid:2.16.840.1.113883.2.1.4.1", true},
		{"PID", 3, 4, "https://fhir.nhs.uk/Id/nhs-number", "https://fhir.nhs.uk/Id/nhs-number", true},
		{"PID", 3, 4, "9990123012", "", false},
		{"PID", 3, 4, "999 012 3012", "", false},
		{"PID", 3, 4, "07700 900123", "", false},
		{"PID", 3, 5, "NH{status:01}", "NH{status:01}", true},
		{"PID", 5, 1, "X", "", false},
		{"PID", 7, 1, "20190807", "", false},
		{"PID", 8, 1, "F", "F", true},
		{"PID", 8, 1, "Smith", "", false},
		{"PID", 32, 1, "NSTS01", "NSTS01", true},
		{"PID", 32, 1, "SMITH", "", false},
		{"PV1", 2, 1, "E", "E", true},
		{"PV1", 2, 1, "EVE", "", false},
		{"PV1", 3, 1, "Minor Injury Unit", "Minor Injury Unit", true},
		{"PV1", 3, 1, "THORNWICK", "", false}, // where the patient lives
		{"PV1", 3, 3, "BED4", "", false},
		{"PV1", 10, 1, "420", "420", true},
		{"PV1", 44, 1, "202603140905", "202603140905", true},
		{"PV1", 44, 1, "20190807", "", false}, // the day of birth
		{"ZU8", 4, 1, "2", "2", true},
		{"ZU8", 3, 1, "2", "", false},
		{"OBX", 5, 1, "N", "", false},
		{"ZZZ", 1, 1, "N", "", false},
	} {
		t.Run(c.segment+" "+c.value, func(t *testing.T) {
			m, err := hl7.Parse([]byte(`MSH|^~\&|PAS|RX101|||||ADT^A04|1|P|2.4` + "\r" + person + "ZVA|" + c.value))
			if err != nil {
				t.Fatal(err)
			}
			zva, _ := m.Segment("ZVA")
			got, safe := mask.New(m, false).Safe(c.segment, c.n, c.c, zva.Field(1).Value)
			if got != c.want || safe != c.wantSafe {
				t.Errorf("%s-%d.%d: got %q, %v", c.segment, c.n, c.c, got, safe)
			}
			if got, safe := mask.New(m, true).Safe(c.segment, c.n, c.c, zva.Field(1).Value); !safe || got == "" {
				t.Errorf("revealed: got %q, %v", got, safe)
			}
		})
	}
}

func TestRepetition(t *testing.T) {
	for value, want := range map[string]string{
		"9990123004^^^NHS^NH":           "##########^^^NHS^NH",
		"999 012 3004^^^&1.2.3.4.5&ISO": "### ### ####^^^&1.2.3.4.5&ISO",
		"O'BRIEN-JONES^ZOË":             "xxx'xxx-xxx^xxx",
		`""`:                            `""`,
		"a b c d":                       "(text)",
		strings.Repeat("x", 50):         "(text)",
		"£5%":                           "?#?",
		"":                              "",
		"^^^NHS":                        "^^^NHS",
		`\X41\`:                         "xxx",
	} {
		m, err := hl7.Parse([]byte("MSH|^~\\&|PAS\rPID|||" + value))
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := m.Segment("PID")
		got, masked := mask.New(m, false).Repetition("PID", 3, pid.Field(3).Repetition(1), m.Delimiters())
		if got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
		if hidden := strings.ContainsAny(want, "#?x("); masked != hidden {
			t.Errorf("%q: masked %v", value, masked)
		}
	}
}

func TestLongValueIsClipped(t *testing.T) {
	m, err := hl7.Parse([]byte("MSH|^~\\&|PAS\rOBX|||||" + strings.Repeat("JVBERi0x", 1<<17)))
	if err != nil {
		t.Fatal(err)
	}
	obx, _ := m.Segment("OBX")
	if got, _ := mask.New(m, true).Repetition("OBX", 5, obx.Field(5).Repetition(1), m.Delimiters()); len(got) > 300 {
		t.Errorf("%d bytes are shown of a megabyte", len(got))
	}
}

func TestNames(t *testing.T) {
	for name, got := range map[string]string{
		"Patient identifier list":   mask.FieldName("PID", 3),
		"Assigned patient location": mask.FieldName("PV1", 3),
		"NHS number tracing status": mask.FieldName("ZU1", 27),
		"Prior visit number":        mask.FieldName("MRG", 5),
		"Patient visit":             mask.Title("PV1"),
		"":                          mask.FieldName("PID", 99) + mask.FieldName("ZZZ", 1) + mask.Title("ZZZ"),
	} {
		if got != name {
			t.Errorf("got %q, want %q", got, name)
		}
	}
}

func TestSegmentName(t *testing.T) {
	for line, want := range map[string]string{"PID|1": "PID", "ZA1|1": "ZA1", "Marlowe|1": "xxx", "pid|1": "xxx", "SMITH": "xxx", "123|1": "###"} {
		m, err := hl7.Parse([]byte("MSH|^~\\&|PAS\r" + line))
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for s := range m.Segments() {
			last = mask.SegmentName(s)
		}
		if last != want {
			t.Errorf("%q: got %q, want %q", line, last, want)
		}
	}
}
