package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/safeguard-edge/safeguard/agent"
)

// registration is of a made-up patient, with a number of the 999 range.
func registration(n int, cx, class, location string) string {
	return fmt.Sprintf("MSH|^~\\&|PAS|RX101|ROUTE|ROUTE|20260314091205||ADT^A04^ADT_A01|C%d|P|2.4\r"+
		"EVN||20260314091130||||20260314091100\r"+
		"PID|1||%s||MARLOWE^JUNIPER||20190807|2||||||||||||||||||||||||NSTS01\r"+
		"PV1|1|%s|%s||||||||||||||||V%d^^^VISITID|||||||||||||||||||||||||202603140905\r", n, cx, class, location, n)
}

func explained1(t *testing.T, c explainMessages, in string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := c.explain(strings.NewReader(in), &out)
	return out.String(), err
}

func TestExplain(t *testing.T) {
	one, two := registration(1, "H1^^^RX1^MR~9990123004^^^NHS", "E", "ED^^^RX101"), registration(2, "9990123012^^^NHS", "O", "CLINIC")
	for name, c := range map[string]struct {
		in       string
		messages int
		err      string
	}{
		"one":              {one, 1, ""},
		"many":             {one + two, 2, ""},
		"line feeds":       {strings.ReplaceAll(one+two, "\r", "\n"), 2, ""},
		"MLLP frames":      {"\x0b" + one + "\x1c\r\x0b" + two + "\x1c\r", 2, ""},
		"a batch":          {"FHS|^~\\&\rBHS|^~\\&\r" + one + two + "BTS|2\rFTS|1\r", 2, ""},
		"a batch too long": {"BHS|^~\\&\r" + one + two + "BTS|3\r", 2, "BTS-1 says 3 messages, found 2"},
		"nothing":          {"", 0, "no HL7 message: want one that begins with MSH"},
		"no message":       {"Dear Juniper", 0, "no HL7 message"},
	} {
		t.Run(name, func(t *testing.T) {
			shown, err := explained1(t, explainMessages{}, c.in)
			if got := strings.Count(shown, "MESSAGE "); got != c.messages {
				t.Errorf("%d messages, want %d:\n%s", got, c.messages, shown)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			for _, private := range []string{"MARLOWE", "JUNIPER", "Juniper", "9990123004", "9990123012", "20190807"} {
				if strings.Contains(shown, private) {
					t.Errorf("shows %s:\n%s", private, shown)
				}
			}
		})
	}
}

func TestExplainJSON(t *testing.T) {
	shown, err := explained1(t, explainMessages{JSON: true, Reveal: true}, "stray\r"+registration(1, "9990123004^^^NHS", "E", "ED")+registration(2, "9990123012^^^NHS", "E", "ED"))
	if err != nil {
		t.Fatal(err)
	}
	var got []explained
	for d := json.NewDecoder(strings.NewReader(shown)); ; {
		var x explained
		if err := d.Decode(&x); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, x)
	}
	if len(got) != 3 || got[0].Stray != 6 || got[1].Number != 1 || got[1].Treatment != "register" || got[2].Number != 2 || got[2].Offset <= got[1].Offset {
		t.Fatalf("got %s", shown)
	}
	if !strings.Contains(shown, "9990123012") {
		t.Error("revealed, it does not show the number")
	}
}

// TestExplainAsConfigured: the feed's configuration decides, and its rule is named.
func TestExplainAsConfigured(t *testing.T) {
	config := sample(t, "    care_setting: emergency-department\n", "    care_setting: emergency-department\n    adt:\n"+
		"      nhs_number: {authorities: [SPINE]}\n"+
		"      locations: [{name: GPSTR, care_setting: out-of-hours-gp}]\n"+
		"      rules:\n        - name: streamed\n          when: {location: [GP*], admission_type: [28], specialty: [180]}\n          then: {purpose: scheduled}\n")
	body := registration(1, "9990123004^^^SPINE", "E", "GPSTR^^^RX101")
	body = strings.Replace(body, "GPSTR^^^RX101|||||||", "GPSTR^^^RX101|28||||||180", 1)
	c := explainMessages{understood: understood{Config: config}}
	shown, err := explained1(t, c, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"decided by rule  streamed", "care setting     out-of-hours-gp", "purpose          scheduled", "NHS number       given", "site             RX101"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in:\n%s", want, shown)
		}
	}
	c.Feed = "pass"
	if _, err := explained1(t, c, body); err == nil || !strings.Contains(err.Error(), `feed "pass": want one of pas`) {
		t.Errorf("got %v", err)
	}
	if _, err := explained1(t, explainMessages{understood: understood{Feed: "pas"}}, body); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("got %v", err)
	}
}

// sample is the sample configuration with old replaced by new.
func sample(t *testing.T, old, new string) string {
	t.Helper()
	text, err := os.ReadFile("../../../configs/agent.sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("the sample configuration has no %q", old)
	}
	return write(t, "agent.yaml", strings.Replace(string(text), old, new, 1))
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// site is a folder of messages whose NHS numbers are marked in a way of its own.
func site(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, n := range []string{"9990123004", "9990123012", "9990123020", "9990123039"} {
		body := registration(i, n+"^^^SPINE~H"+fmt.Sprint(i)+"^^^RX1^MR", "O", "MIU1^^^RX102")
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(i)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i), "MARLOWE.hl7"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func surveyed(t *testing.T, c surveyMessages) string {
	t.Helper()
	var out, progress bytes.Buffer
	if err := c.survey(strings.NewReader(""), &out, &progress); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestSuggestedConfigurationIsValid: what a survey suggests stands in for the
// same keys of the sample configuration, and reads the sample's messages.
func TestSuggestedConfigurationIsValid(t *testing.T) {
	dir := site(t)
	shown := surveyed(t, surveyMessages{Files: []string{dir}})
	_, suggested, ok := strings.Cut(shown, "Suggested configuration\n")
	if !ok {
		t.Fatalf("nothing is suggested:\n%s", shown)
	}
	for _, want := range []string{`authorities: ["SPINE"]`, `{name: "MIU1", care_setting: minor-injury-unit}`, "site: RX102", "1 of 5 files hold no HL7 message"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %s in:\n%s", want, shown)
		}
	}
	path := write(t, "agent.yaml", without(t, "organisation", "sites", "feeds")+suggested)
	if err := (configCheck{configured{Config: path}}).Run(); err != nil {
		t.Fatalf("%v, of:\n%s", err, suggested)
	}
	config, err := agent.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Understood(""); err != nil {
		t.Fatal(err)
	}
	// Surveyed as configured, nothing is missing any more, and it suggests the same.
	again := surveyed(t, surveyMessages{Files: []string{dir}, understood: understood{Config: path, Feed: "pas"}})
	for _, want := range []string{"taken as NHS numbers", "location of unscheduled care; minor-injury-unit unscheduled", `authorities: ["SPINE"]`, `{name: "MIU1", care_setting: minor-injury-unit}`} {
		if !strings.Contains(again, want) {
			t.Errorf("configured, no %s in:\n%s", want, again)
		}
	}
	if strings.Contains(again, "LOOK LIKE") {
		t.Errorf("configured, numbers are still not recognised:\n%s", again)
	}
}

// without is the sample configuration without some of its sections.
func without(t *testing.T, sections ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../../configs/agent.sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	skip := false
	for line := range strings.Lines(string(text)) {
		if key, _, ok := strings.Cut(line, ":"); ok && key != "" && !strings.ContainsAny(key[:1], " #-") {
			skip = false
			for _, s := range sections {
				skip = skip || s == key
			}
		}
		if !skip {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestSurveyIsQuietAndNamesNoFile(t *testing.T) {
	dir := site(t)
	if err := os.Chmod(filepath.Join(dir, "0", "MARLOWE.hl7"), 0); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := surveyMessages{Files: []string{dir, filepath.Join(dir, "*", "MARL*.hl7"), "-"}, JSON: true}.survey(strings.NewReader(registration(9, "9990123047^^^NHS", "E", "ED")), &out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "MARLOWE") {
		t.Errorf("names a file, which may be a patient's:\n%s", out.String())
	}
	var report struct{ Messages int64 }
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Messages < 7 {
		t.Errorf("%d messages, %v", report.Messages, err)
	}
	if err := (surveyMessages{Files: []string{filepath.Join(dir, "nowhere")}}).survey(nil, &out, nil); err == nil {
		t.Error("a folder that is not there is surveyed")
	}
	if err := (surveyMessages{Files: []string{filepath.Join(dir, "notes.txt")}}).survey(nil, &out, nil); err == nil || !strings.Contains(err.Error(), "no HL7 message in 1 files") {
		t.Errorf("got %v", err)
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "piped"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if terminal(file) != nil {
		t.Error("a file is taken for a terminal")
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"hl7", "explain", "-"},
		{"hl7", "explain", "a04.hl7", "--config", "agent.yaml", "--feed", "pas", "--json", "--reveal"},
		{"hl7", "survey", "samples"},
		{"hl7", "survey", "a", "b", "--json", "--config", "agent.yaml"},
	} {
		var c commands
		parser, err := kong.New(&c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}
