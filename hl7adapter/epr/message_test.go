package epr_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

var update = flag.Bool("update", false, "write the golden files")

func date(t testing.TB, s string) safeguard.Date {
	t.Helper()
	d, err := safeguard.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// alert is about a made-up boy whose name and authority hold delimiters.
func alert() safeguard.Alert {
	a := epr.Sample(safeguard.Raise, safeguard.FlagsHeld)
	a.Attendance.Patient.Family, a.Attendance.Patient.Given = safeguard.Hide("O'FERNSBY & SON"), safeguard.Hide("TOBIÁS")
	a.Content.Flags[0].Authority.Name = "Ashmere | Vale Council"
	return a
}

func format(t testing.TB, sink string, change func(*epr.MessageConfig)) *epr.Format {
	t.Helper()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	c := epr.DefaultMessageConfig()
	c.Application, c.Facility = "EPR", "RX101"
	if change != nil {
		change(&c)
	}
	f, err := epr.NewFormat(sink, c, epr.DefaultWording(), london)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// cases are the alerts that differ in what is read.
func cases(t testing.TB) map[string]safeguard.Alert {
	out := map[string]safeguard.Alert{}
	for name, change := range map[string]func(*safeguard.Alert){
		"raise":    func(*safeguard.Alert) {},
		"withdraw": func(a *safeguard.Alert) { a.Action, a.Version = safeguard.Withdraw, 2 },
		"cached": func(a *safeguard.Alert) {
			a.Content.Source, a.Content.AsOf = safeguard.FromCache, a.Decided.Add(-26*time.Hour)
		},
		"update": func(a *safeguard.Alert) {
			a.Action, a.Version = safeguard.Update, 3
			a.Content.Flags[0].End = date(t, "2026-03-31")
			a.Content.Flags = append(a.Content.Flags, safeguard.Flag{Plan: safeguard.LookedAfter, Start: date(t, "2026-04-01"),
				Authority: safeguard.Authority{Name: "Brackwater Council", EmergencyDutyPhone: "01632 960100"}})
			gone := a.Content.Flags[0]
			gone.Plan = safeguard.UnbornChild
			a.Gone = safeguard.Told{Kinds: []safeguard.Kind{safeguard.CheckNotCompleted}, Flags: []safeguard.Flag{gone}}
		},
		"unborn-unverified": func(a *safeguard.Alert) {
			a.Content.Flags[0].Plan = safeguard.UnbornChild
			a.Attendance.Patient.NumberStatus = safeguard.StatusNotStated
		},
		"infant": func(a *safeguard.Alert) {
			a.Content.Flags[0].Plan, a.Content.Flags[0].Mothers = safeguard.UnbornChild, true
		},
		"not-completed": func(a *safeguard.Alert) {
			a.Content = safeguard.Content{Kind: safeguard.CheckNotCompleted, Reason: safeguard.CentreUnreachable}
		},
		"not-completed-no-number": func(a *safeguard.Alert) {
			a.Attendance.Patient.Number = safeguard.NHSNumber{}
			a.Attendance.Patient.Born = safeguard.Private[safeguard.Date]{}
			a.Content = safeguard.Content{Kind: safeguard.CheckNotCompleted, Reason: safeguard.NoNHSNumber}
		},
		"none-held": func(a *safeguard.Alert) { a.Content = epr.Sample(safeguard.Raise, safeguard.NoneFound).Content },
		"test":      func(a *safeguard.Alert) { a.Attendance.Test = true },
	} {
		a := alert()
		change(&a)
		out[name] = a
	}
	return out
}

func TestMessage(t *testing.T) {
	for _, name := range epr.Formats() {
		f := format(t, "epr", func(c *epr.MessageConfig) { c.Format = name })
		for what, a := range cases(t) {
			if name != "oru-r01" && what != "raise" && what != "update" && what != "withdraw" && what != "not-completed" {
				continue
			}
			t.Run(name+"/"+what, func(t *testing.T) {
				got, err := f.Message(a)
				if err != nil {
					t.Fatal(err)
				}
				m, err := hl7.Parse(got)
				if err != nil {
					t.Fatal(err)
				}
				if id := string(m.Header().ControlID); id != a.ControlID("epr") {
					t.Errorf("MSH-10 is %q, want the alert's control id", id)
				}
				if bytes.Contains(got, []byte(`""`)) {
					t.Error(`"" would delete what the EPR holds`)
				}
				if again, err := f.Message(a); err != nil || !bytes.Equal(got, again) {
					t.Errorf("a repeat differs: %v", err)
				}
				if name == "mdm-t02-pdf" {
					obx, _ := m.Segment("OBX")
					got = bytes.Replace(got, []byte(obx.Field(5).Component(5).Text()), []byte("…"), 1)
				}
				golden(t, name+"-"+what+".hl7", bytes.ReplaceAll(got, []byte("\r"), []byte("\n")))
			})
		}
	}
}

func TestVersionsAndIdentifiers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*epr.MessageConfig)
		path   string
		want   string
	}{
		"2.3 has no structure in MSH-9": {func(c *epr.MessageConfig) { c.Version = "2.3" }, "MSH-9.3", ""},
		"2.6 codes as CWE":              {func(c *epr.MessageConfig) { c.Version, c.Format = "2.6", "adt-a08" }, "OBX-2", "CWE"},
		"2.4 codes as CE":               {func(c *epr.MessageConfig) { c.Format = "adt-a08" }, "OBX-2", "CE"},
		"hospital number first":         {func(c *epr.MessageConfig) { c.Identifiers = []string{"mrn", "nhs"} }, "PID-3.1", "H100001"},
		"hospital number only":          {func(c *epr.MessageConfig) { c.Identifiers = []string{"mrn"} }, "PID-3[2].1", ""},
		"NHS number as ITK has it":      {func(c *epr.MessageConfig) { c.NHSType = "-" }, "PID-3.5", ""},
		"by its OID":                    {func(c *epr.MessageConfig) { c.NHSAuthority = "2.16.840.1.113883.2.1.4.1" }, "PID-3.4", "2.16.840.1.113883.2.1.4.1"},
		"Latin-1":                       {func(c *epr.MessageConfig) { c.Charset = "8859/1" }, "PID-5.2", "TOBIÁS"},
		"confidentiality":               {func(c *epr.MessageConfig) { c.Format, c.Confidentiality = "mdm-t02", "V" }, "TXA-18", "V"},
		"access check":                  {func(c *epr.MessageConfig) { c.AccessCheck = "NO-PORTAL" }, "OBX-13", "NO-PORTAL"},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := format(t, "epr", c.change).Message(alert())
			if err != nil {
				t.Fatal(err)
			}
			m, err := hl7.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			p, err := hl7.ParsePath(c.path)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := m.Segment(p.Segment)
			if got := s.Field(p.Field).Repetition(max(p.Repetition, 1)).Component(max(p.Component, 1)).Text(); got != c.want {
				t.Errorf("%s: got %q, want %q", c.path, got, c.want)
			}
		})
	}
}

// TestFieldsAreNoLongerThanTheStandardHasThem checks the lengths of HL7 v2.4 of
// what we make up ourselves.
func TestFieldsAreNoLongerThanTheStandardHasThem(t *testing.T) {
	for _, name := range epr.Formats() {
		raw, err := format(t, "epr", func(c *epr.MessageConfig) { c.Format = name }).Message(alert())
		if err != nil {
			t.Fatal(err)
		}
		m, err := hl7.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		for s := range m.Segments() {
			for place, most := range map[string]int{"MSH-10": 20, "OBR-3": 22, "OBX-4": 20, "TXA-12": 30, "TXA-2": 30, "TXA-17": 2, "OBX-11": 1} {
				p, _ := hl7.ParsePath(place)
				if s.Is(p.Segment) && len(s.Field(p.Field).Raw()) > most {
					t.Errorf("%s: %s has %d characters, want %d at most", name, place, len(s.Field(p.Field).Raw()), most)
				}
			}
		}
	}
}

// TestPDFIsOnePageThatCanBeRead looks at the document with another program.
func TestPDFIsOnePageThatCanBeRead(t *testing.T) {
	pdftotext, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Skip("pdftotext is not installed: run make deps")
	}
	f := format(t, "epr", func(c *epr.MessageConfig) { c.Format = "mdm-t02-pdf" })
	for name, a := range cases(t) {
		raw, err := f.Message(a)
		if err != nil {
			t.Fatal(err)
		}
		m, err := hl7.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		obx, _ := m.Segment("OBX")
		pdf, err := base64.StdEncoding.DecodeString(obx.Field(5).Component(5).Text())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name+".pdf")
		if err := os.WriteFile(path, pdf, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(pdftotext, "-layout", path, "-").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: pdftotext: %v: %s", name, err, out)
		}
		text := strings.Join(strings.Fields(string(out)), " ")
		if pages := bytes.Count(out, []byte("\f")); pages != 1 {
			t.Errorf("%s: %d pages, want one", name, pages)
		}
		for _, l := range epr.DefaultWording().Notice(a, time.UTC).Plans() {
			if !strings.Contains(text, strings.Join(strings.Fields(l.Text), " ")) {
				t.Errorf("%s: the page lacks %q: %s", name, l.Text, text)
			}
		}
		if !strings.Contains(text, "O'FERNSBY & SON, TOBIÁS") {
			t.Errorf("%s: the page does not name the patient: %s", name, text)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}
