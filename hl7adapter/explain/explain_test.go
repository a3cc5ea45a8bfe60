package explain_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/explain"
)

var update = flag.Bool("update", false, "write the expected files anew")

var received = time.Date(2026, 3, 14, 9, 12, 6, 0, time.UTC)

func explainer(t testing.TB, reveal bool) explain.Explainer {
	t.Helper()
	ods := func(text string) safeguard.ODSCode {
		code, err := safeguard.ParseODSCode(text)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	site := adt.Site{Organisation: ods("RX1"), Default: ods("RX101"), Sites: []safeguard.ODSCode{ods("RX101")},
		Setting: safeguard.EmergencyDepartment, Config: adt.DefaultConfig()}
	return explain.Explainer{Parser: adt.Parser{Site: site}, Rules: safeguard.DefaultRules(), Reveal: reveal}
}

func text(t testing.TB, m explain.Message) string {
	t.Helper()
	var b bytes.Buffer
	if err := m.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestGolden explains each testdata/*.hl7, whose patients are made up: masked in
// *.want, revealed in *.revealed.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hl7")
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages in testdata: %v", err)
	}
	for _, file := range files {
		for ending, reveal := range map[string]bool{".want": false, ".revealed": true} {
			name := strings.TrimSuffix(file, ".hl7") + ending
			t.Run(filepath.Base(name), func(t *testing.T) {
				body, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				got := text(t, explainer(t, reveal).Explain(body, received))
				if *update {
					if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
			})
		}
	}
}

// canaries are all that must not be seen of a patient.
var canaries = []string{"QUILLFEATHER", "XANTHE", "999 012 3004", "9990123004", "20190807", "2019-08-07", "SALTMARSH", "TH9 9ZZ", "07700900123", "H5001007", "fell from the swing"}

// TestCanary puts a patient's data into every field of every segment, and finds
// none of it in what is explained.
func TestCanary(t *testing.T) {
	pid := "PID|1||H5001007^^^RX1^MR~9990123004^^^NHS^NH||QUILLFEATHER^XANTHE^^^MISS^^L||20190807|2|||9 SALTMARSH LANE^^THORNWICK^^TH9 9ZZ^GBR^H||07700900123"
	pv1 := "PV1|1|E|ED^RESUS^2^RX101||||||||||||||||V700100^^^VISITID|||||||||||||||||||||||||202603140905"
	head := `MSH|^~\&|PAS|RX101|ROUTE|ROUTE|20260314091205||ADT^A04|C1|P|2.4`
	for _, canary := range canaries {
		for _, segment := range []string{"EVN", "PID", "PD1", "NK1", "PV1", "PV2", "MRG", "ZU1", "ZU8", "OBX", "AL1", "DG1", "GT1", "IN1", "NTE", "ZZZ", "zz"} {
			// Every field, every component, a subcomponent and a repetition.
			value := canary + "^" + canary + "^" + canary + "&" + canary + "^" + canary + "^" + canary + "^" + canary + "^" + canary + "^" + canary + "~" + canary
			body := strings.Join([]string{head, "EVN||20260314091130", pid, pv1, segment + strings.Repeat("|"+value, 56)}, "\r")
			if segment == "PID" || segment == "PV1" {
				body = strings.Join([]string{head, "NTE|||" + canary, pid, pv1, segment + strings.Repeat("|"+value, 56)}, "\r")
			}
			wantNone(t, segment, canary, body)
		}
		// In a header, only what the patient's own segments do not tell to be theirs.
		wantNone(t, "MSH", canary, strings.Join([]string{`MSH|^~\&` + strings.Repeat("|"+canary, 6) + "|ADT^A04|" + strings.Repeat(canary+"|", 15), pid, pv1}, "\r"))
		wantNone(t, "header only", canary, `MSH|^~\&|PAS|RX101|||20260314091205|`+canary+"|ADT^"+canary+"|1|"+canary+"|"+canary)
		wantNone(t, "not HL7", canary, canary+"|"+canary)
		wantNone(t, "bad delimiters", canary, "MSH|^^|"+canary)
	}
}

func wantNone(t *testing.T, where, canary, body string) {
	t.Helper()
	e := explainer(t, false)
	m := e.Explain([]byte(body), received)
	asJSON, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for form, shown := range map[string]string{"text": text(t, m), "JSON": string(asJSON)} {
		if strings.Contains(strings.ToLower(shown), strings.ToLower(canary)) {
			t.Errorf("%s: the %s shows %q:\n%s", where, form, canary, shown)
		}
	}
	// Revealed, it is there: the canary was alive.
	e.Reveal = true
	if revealed := e.Explain([]byte(body), received); len(revealed.Segments) > 0 && !strings.Contains(text(t, revealed), canary) {
		t.Errorf("%s: revealed, it does not show %q", where, canary)
	}
}

// TestStrangers: a name that the patient's own segments do not tell is
// masked wherever it is not the name of a place or system.
func TestStrangers(t *testing.T) {
	const stranger = "Wigglesworth"
	for _, segment := range []string{"PID", "PD1", "NK1", "PV1", "PV2", "MRG", "ZU1", "ZU8", "OBX", "AL1", "NTE", "ZZZ"} {
		fields := make([]string, 56)
		for i := range fields {
			fields[i] = stranger + "^" + stranger + "^" + stranger
			if segment == "PV1" && (i+1 == 3 || i+1 == 6 || i+1 == 11 || i+1 == 39 || i+1 == 42 || i+1 == 43) ||
				segment == "PV2" && i+1 == 1 || segment == "PID" && i+1 == 34 {
				fields[i] = "" // a place
			}
		}
		body := `MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + segment + "|" + strings.Join(fields, "|")
		if shown := text(t, explainer(t, false).Explain([]byte(body), received)); strings.Contains(shown, stranger) {
			t.Errorf("%s shows a name:\n%s", segment, shown)
		}
	}
}

// TestTerminal: nothing that a terminal would act on is written.
func TestTerminal(t *testing.T) {
	body := "MSH|^~\\&|PAS\x1b[31m|RX\x07||\u202e|20260314091205||ADT^A04|C1|P|2.4\rPID|||1||\x1b]0;x\x07^\\X1B\\[2J\rZ\x1b1|x"
	for _, reveal := range []bool{false, true} {
		for _, r := range text(t, explainer(t, reveal).Explain([]byte(body), received)) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("reveal %v: writes %U", reveal, r)
			}
		}
	}
}

func TestNotUnderstood(t *testing.T) {
	const head = "EVN|A04|20260314091130||||20260314091100\r"
	for name, c := range map[string]struct{ body, want string }{
		"character set": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4||||||KLINGON` + "\r" + head +
			"PID|||1\rPV1||E|ED|||||||||||||||V1", "MSH-18: a character set that is not known"},
		"number not recognised": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + head +
			"PID|||9990123004^^^SPINE^SP~H1\rPV1||E|ED|||||||||||||||V1", "PID-3[1]: passes the check of an NHS number, but is not taken as one: authority SPINE, type SP"},
		"number in PID-2": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + head +
			"PID||9990123004|H1\rPV1||E|ED|||||||||||||||V1", "PID-2[1]: passes the check of an NHS number, but is not taken as one: authority none, type none"},
		"sex": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + head +
			"PID|||H1|||||Q\rPV1||E|ED|||||||||||||||V1", "PID-8: a code that is not known, taken as unknown"},
		"site": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + head +
			"PID|||H1\rPV1||E|ED^^^RX909|||||||||||||||V1", "PV1-3.4: RX909 is none of the sites in the configuration, the feed's is taken"},
		"class and location": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + head +
			"PID|||H1\rPV1||Q|SOMEWHERE|||||||||||||||V1", "PV1-2, PV1-3: class and location tell nothing"},
		"visit": {`MSH|^~\&|PAS|RX101|||20260314091205||ADT^A04|C1|P|2.4` + "\r" + head +
			"PID|||H1\rPV1||E|ED", "PV1-19, PV1-44: neither tells the visit"},
	} {
		t.Run(name, func(t *testing.T) {
			m := explainer(t, false).Explain([]byte(c.body), received)
			if got := strings.Join(m.NotUnderstood, "\n"); !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzExplain: whatever comes, it is explained without a panic, and what is
// written can be printed.
func FuzzExplain(f *testing.F) {
	files, err := filepath.Glob("../adt/testdata/*.hl7")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, reveal bool) {
		for _, r := range text(t, explainer(t, reveal).Explain(body, received)) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("writes %U", r)
			}
		}
	})
}
