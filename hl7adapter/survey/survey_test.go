package survey_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/survey"
)

var update = flag.Bool("update", false, "write the expected files anew")

var received = time.Date(2026, 3, 14, 9, 12, 6, 0, time.UTC)

// patient is one registration; %s take the identifiers, the location and the
// class.
const patient = "MSH|^~\\&|PAS|RX101|ROUTE|ROUTE|20260314091205||ADT^A04^ADT_A01|C%d|P|2.4||||||UNICODE\r" +
	"EVN||20260314091130||||20260314091100\r" +
	"PID|1||%s||MARLOWE^JUNIPER||20190807|2||||||||||||||||||||||||NSTS01\r" +
	"PV1|1|%s|%s||||||||||||||||V%d^^^VISITID|||||||||||||||||||||||||202603140905\r"

// numbers are made up, of the 999 range.
var numbers = []string{"9990123004", "9990123012", "9990123020", "9990123039", "9990123047", "9990123055", "9990123063", "9990123071"}

func surveyed(t testing.TB, site adt.Site, bodies ...string) survey.Report {
	t.Helper()
	s := survey.New(adt.Parser{Site: site})
	for _, body := range bodies {
		s.Add([]byte(body), received)
	}
	return s.Report()
}

// each makes one message for each number.
func each(format func(i int, number string) string) []string {
	var out []string
	for i, n := range numbers {
		out = append(out, format(i, n))
	}
	return out
}

func text(t testing.TB, r survey.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestGolden surveys the messages of the adt package's tests.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../adt/testdata/*.hl7")
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages: %v", err)
	}
	var bodies []string
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
	}
	got := text(t, surveyed(t, adt.Site{Config: adt.DefaultConfig()}, bodies...))
	const golden = "testdata/adt.want"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestNumbersThatAreNotRecognised: they are found by their check digit, and the
// configuration that takes them is suggested; nothing else is.
func TestNumbersThatAreNotRecognised(t *testing.T) {
	for name, c := range map[string]struct {
		cx        func(i int, number string) string
		note      string
		suggested string
	}{
		"by authority":         {func(_ int, n string) string { return n + "^^^SPINE^SP" }, "LOOK LIKE NHS NUMBERS", `authorities: ["SPINE"]`},
		"by type":              {func(_ int, n string) string { return n + "^^^^SP" }, "LOOK LIKE NHS NUMBERS", `types: ["SP"]`},
		"by universal id":      {func(_ int, n string) string { return n + "^^^&1.2.826.0.1&ISO" }, "LOOK LIKE NHS NUMBERS", `authorities: ["1.2.826.0.1"]`},
		"taken":                {func(_ int, n string) string { return n + "^^^NHS^NH" }, "taken as NHS numbers", ""},
		"Scottish":             {func(_ int, _ string) string { return "1015012000^^^CHI^NH" }, "of Scotland or Northern Ireland, not NHS numbers", ""},
		"Scottish, not marked": {func(_ int, _ string) string { return "1015012000^^^TAYSIDE" }, "pass the check of an NHS number, in ranges of Scotland or Northern Ireland", ""},
		"hospital numbers":     {func(i int, _ string) string { return fmt.Sprintf("H%d^^^RX1^MR", i) }, "", ""},
		"ten digits that pass by chance": {func(i int, n string) string {
			if i == 0 {
				return n + "^^^RX1"
			}
			return "999012300" + fmt.Sprint(i) + "^^^RX1"
		}, "", ""},
		"too few": {func(i int, n string) string {
			if i < 2 {
				return n + "^^^SPINE"
			}
			return "H1^^^RX1"
		}, "look like NHS numbers, but are too few to say", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := surveyed(t, adt.Site{}, each(func(i int, n string) string {
				return fmt.Sprintf(patient, i, c.cx(i, n), "E", "ED^^^RX101", i)
			})...)
			table := find(t, r, "Identifiers of the patient")
			if !slices.ContainsFunc(table.Rows, func(row survey.Row) bool {
				return row.Note != "" && strings.HasPrefix(row.Note, c.note) || c.note == "" && row.Note == ""
			}) {
				t.Errorf("got %+v, want a note %q", table.Rows, c.note)
			}
			if c.suggested == "" && strings.Contains(r.Suggested, "nhs_number") || !strings.Contains(r.Suggested, c.suggested) {
				t.Errorf("suggests %s, want %q", r.Suggested, c.suggested)
			}
		})
	}
}

func find(t *testing.T, r survey.Report, title string) survey.Table {
	t.Helper()
	for _, table := range r.Tables {
		if strings.HasPrefix(table.Title, title) {
			return table
		}
	}
	t.Fatalf("no table %q", title)
	return survey.Table{}
}

func TestNumbersInOlderFields(t *testing.T) {
	bodies := each(func(i int, n string) string {
		body := fmt.Sprintf(patient, i, "H1^^^RX1^MR", "E", "ED", i)
		return strings.Replace(body, "PID|1||", "PID|1|"+n+"|", 1)
	})
	r := surveyed(t, adt.Site{}, bodies...)
	if !strings.Contains(r.Suggested, `fields: ["PID-2"]`) {
		t.Errorf("suggests %s", r.Suggested)
	}
	configured := adt.Site{}
	configured.NHSNumber.Fields = []string{"PID-2"}
	if r := surveyed(t, configured, bodies...); !strings.Contains(r.Suggested, `fields: ["PID-2"]`) || find(t, r, "Identifiers").Rows[0].Note == "" && find(t, r, "Identifiers").Rows[1].Note == "" {
		t.Errorf("configured, it says %s", text(t, r))
	}
}

func TestSuggestsPlaces(t *testing.T) {
	at := func(class, location string) string {
		return fmt.Sprintf(patient, 1, "9990123004^^^NHS", class, location, 1)
	}
	site := adt.Site{}
	site.Locations = []adt.Location{{Name: "LISTED", Setting: safeguard.Maternity}}
	r := surveyed(t, site, at("E", "ED^^^RX101"), at("E", "ED^^^RX101"), at("O", "Minor Injuries^^^RX102"), at("O", "UTC1"), at("I", "PAED7"),
		at("I", "LISTED"), at("I", "WARD 9"), at("I", "OBS1"), at("B", "RX1^Labour Ward"), at("O", "AE2"))
	for _, want := range []string{
		"organisation: RX1\nsites: [RX101, RX102]\n", "site: RX101", "care_setting: emergency-department",
		`- {name: "LISTED", care_setting: maternity}`,
		`- {name: "Minor Injuries", care_setting: minor-injury-unit}`, `- {name: "UTC1", care_setting: walk-in-centre}`,
		`- {name: "PAED7", care_setting: paediatric-ward}`, `- {name: "Labour Ward", care_setting: maternity}`,
		`- {name: "AE2", care_setting: emergency-department}`, `# - {name: "WARD 9", care_setting: }`,
		`# - {name: "OBS1", care_setting: }`, // obstetrics or observation
	} {
		if !strings.Contains(r.Suggested, want) {
			t.Errorf("no %s in:\n%s", want, r.Suggested)
		}
	}
	if strings.Contains(r.Suggested, `"ED"`) {
		t.Errorf("a place that needs no listing is listed:\n%s", r.Suggested)
	}
}

func TestNotes(t *testing.T) {
	plain := fmt.Sprintf(patient, 1, "9990123004^^^NHS", "E", "ED^^^RX101", 1)
	for name, c := range map[string]struct {
		bodies []string
		want   string
	}{
		"no number":       {[]string{strings.Replace(plain, "9990123004^^^NHS", "H1", 1), plain}, "1 (50 %) have no NHS number that is recognised"},
		"no status":       {[]string{strings.Replace(plain, "NSTS01", "", 1)}, "1 (100 %) have an NHS number without a status"},
		"no visit number": {[]string{strings.Replace(strings.Replace(plain, "9990123004^^^NHS", "H1", 1), "V1^^^VISITID", "", 1)}, "have no visit number in PV1-19"},
		"no admit time":   {[]string{strings.Replace(plain, "202603140905", "", 1)}, "have no admit time in PV1-44"},
		"no site":         {[]string{strings.Replace(plain, "ED^^^RX101", "ED", 1)}, "name no site in PV1-3.4"},
		"test traffic":    {[]string{strings.Replace(plain, "|P|2.4", "|T|2.4", 1)}, "are test traffic"},
		"999 range":       {[]string{plain}, "have an NHS number of the 999 range"},
		"undecided":       {[]string{strings.Replace(plain, "PV1|1|E|ED", "PV1|1|Q|NOWHERE", 1)}, "are decided by no class or location"},
		"unknown charset": {[]string{strings.Replace(plain, "UNICODE", "KLINGON", 1)}, "declare a character set that is not known"},
		"wrong charset":   {[]string{strings.Replace(strings.Replace(plain, "UNICODE", "8859/1", 1), "JUNIPER", "ZOË", 1)}, "are UTF-8: names would be misread"},
		"mother":          {[]string{strings.Replace(plain, "||||||||||||||||||||||||NSTS01", "|||||||||||||H2^^^RX1|||||||||||NSTS01", 1)}, "name the mother in PID-21"},
		"arriving":        {[]string{strings.Replace(plain, "ADT^A04", "ADT^A10", 1)}, "are A10"},
		"no discharges":   {[]string{plain}, "no discharges (A03) are in the sample"},
		"no merges":       {[]string{plain}, "no merges (A40, A34 …) are in the sample"},
		"nothing begins":  {[]string{strings.Replace(plain, "ADT^A04", "ADT^A08", 1)}, "no message of the sample begins an attendance"},
	} {
		t.Run(name, func(t *testing.T) {
			r := surveyed(t, adt.Site{}, c.bodies...)
			if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, c.want) }) {
				t.Errorf("got %q, want %q", r.Notes, c.want)
			}
		})
	}
}

func TestSuggestsCharsetAndArriving(t *testing.T) {
	plain := fmt.Sprintf(patient, 1, "9990123004^^^NHS", "E", "ED^^^RX101", 1)
	if r := surveyed(t, adt.Site{}, strings.Replace(strings.Replace(plain, "UNICODE", "8859/1", 1), "JUNIPER", "ZOË", 1)); !strings.Contains(r.Suggested, "charset: UTF-8") {
		t.Errorf("suggests %s", r.Suggested)
	}
	if r := surveyed(t, adt.Site{}, strings.Replace(plain, "ADT^A04", "ADT^A10", 1)); !strings.Contains(r.Suggested, "arriving: register") {
		t.Errorf("suggests %s", r.Suggested)
	}
	if r := surveyed(t, adt.Site{}, plain, strings.Replace(plain, "ADT^A04", "ADT^A10", 1)); strings.Contains(r.Suggested, "      arriving: register") {
		t.Errorf("suggests %s", r.Suggested)
	}
}

// TestCanary: no patient data leaves a survey, whichever field it stands in.
func TestCanary(t *testing.T) {
	canaries := []string{"QUILLFEATHER", "XANTHE", "9990123004", "999 012 3004", "20190807", "2019-08-07", "SALTMARSH", "07700900123", "H5001007", "V700100"}
	head := "MSH|^~\\&|PAS|RX101|ROUTE|ROUTE|20260314091205||ADT^A04|C1|P|2.4\r"
	pid := "PID|1||H5001007^^^RX1^MR~9990123004^^^NHS^NH||QUILLFEATHER^XANTHE||20190807|2|||9 SALTMARSH LANE^^THORNWICK||07700900123\r"
	pv1 := "PV1|1|E|ED^^^RX101||||||||||||||||V700100^^^VISITID|||||||||||||||||||||||||202603140905\r"
	for _, c := range canaries {
		value := c + "^" + c + "^" + c + "&" + c + "^" + c + "^" + c + "~" + c
		everywhere := strings.Repeat("|"+value, 50)
		r := surveyed(t, adt.Site{},
			head+"EVN"+everywhere+"\r"+pid+pv1,
			head+pid+"PV1"+everywhere,
			head+pid+pv1+"MRG"+everywhere+"\rZU1"+everywhere+"\rZU8"+everywhere+"\r"+c+"|x\rOBX"+everywhere,
			"MSH|^~\\&"+strings.Repeat("|"+c, 6)+"|ADT^A04"+strings.Repeat("|"+c, 12)+"\r"+pid+pv1,
			"MSH|^~\\&|PAS|RX101|||20260314091205||ADT^"+c+"|1|P|2.4\r"+pid+pv1,
			"MSH|"+c, c, head+"PID"+everywhere+"\r"+pv1,
			strings.Replace(head, "A04", "A40", 1)+pid+"MRG"+everywhere+"\r",
		)
		asJSON, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for form, shown := range map[string]string{"text": text(t, r), "JSON": string(asJSON)} {
			if i := strings.Index(strings.ToLower(shown), strings.ToLower(c)); i >= 0 {
				t.Errorf("the %s shows %q: …%s…", form, c, shown[max(0, i-60):min(len(shown), i+60)])
			}
		}
	}
}

// TestSizeDoesNotGrow surveys messages all of whose codes differ.
func TestSizeDoesNotGrow(t *testing.T) {
	s := survey.New(adt.Parser{})
	add := func(from, to int) {
		for i := from; i < to; i++ {
			body := fmt.Sprintf("MSH|^~\\&|APP%[1]d|FAC%[1]d|||20260314091205||ADT^A04|C|P|2.%[1]d||||||CS%[1]d\rPID|||H%[1]d^^^AUTH%[1]d^T~X^^^Z%[1]d||||201908\rPV1||%[1]d|L%[1]d^W%[1]d^^F%[1]d|%[1]d||||||S%[1]d|||||||||V^^^VA%[1]d\rZ%[1]d|", i)
			s.Add([]byte(body), received)
		}
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	add(0, 1000)
	before := heap()
	add(1000, 8000)
	if grown := heap() - before; grown > 1<<19 {
		t.Errorf("7000 messages more took %d bytes more", grown)
	}
	r := s.Report()
	for _, table := range r.Tables {
		if len(table.Rows) > 201 {
			t.Errorf("%s: %d rows", table.Title, len(table.Rows))
		}
		var sum int64
		for _, row := range table.Rows {
			sum += row.Count
		}
		if table.Title == "Senders" && sum != 8000 {
			t.Errorf("%d senders are counted, want all 8000", sum)
		}
	}
	runtime.KeepAlive(s)
}

func BenchmarkAdd(b *testing.B) {
	s := survey.New(adt.Parser{})
	body := fmt.Appendf(nil, patient, 1, "H1^^^RX1^MR~9990123004^^^NHS", "E", "ED^^^RX101", 1)
	b.ReportAllocs()
	for b.Loop() {
		s.Add(body, received)
	}
}
