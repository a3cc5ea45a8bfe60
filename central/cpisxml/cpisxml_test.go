package cpisxml

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/safeguard-edge/safeguard"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The people and organisations here are made up.
var (
	night = time.Date(2026, 4, 14, 22, 15, 30, 0, time.UTC)
	shire = Organisation{Code: code("ZQ7"), Name: "Inventedshire & Sons Council", EmergencyDuty: "01632 960 877", OfficeHours: "+441632960876"}
	ward  = Organisation{Code: code("ZP401"), Site: true, Name: "INVENTED INFIRMARY"}
)

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

func number(s string) safeguard.NHSNumber {
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

func child(id, born string) Subject {
	return Subject{NHSNumber: safeguard.Hide(id), Born: safeguard.Hide(born), Given: safeguard.Hide("Ina"), Family: safeguard.Hide("O'Vented-Ñame")}
}

// sent is what a made-up authority sends.
func sent() []Record {
	both := child("9990000107", "20180611")
	both.LocalID, both.LocalFrom = safeguard.Hide("C/4711"), "ZQ7:Inventedshire"
	mother := child("9990000115", "19970102")
	mother.Mother = true
	return []Record{
		{Plans: []Plan{
			{Plan: safeguard.ChildProtection, Start: "202501020000", End: "202603310000"},
			{Plan: safeguard.LookedAfter, Start: "202604010930"},
		}, Subjects: []Subject{both}},
		{Plans: []Plan{{Plan: safeguard.UnbornChild, Start: "202602100000", End: "202608010000"}}, Subjects: []Subject{mother}},
		{Plans: []Plan{{Plan: safeguard.ChildProtection, Start: "202604110000", Delete: "202604140000"}}, Subjects: []Subject{child("9990000123", "20200229")}},
	}
}

func each[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func answered() (Acknowledgement, []Answer) {
	records := sent()
	unwritable := child("9990000131", "2020-02-29")
	records = append(records, Record{Plans: []Plan{{Plan: safeguard.LookedAfter, Start: "soon"}}, Subjects: []Subject{unwritable}})
	return Acknowledgement{Created: night, Sequence: "88", Quantity: 4, File: FilePartial, Recipient: shire}, []Answer{
		{Code: RecordLoaded, Record: records[0]},
		{Code: RecordSuperseded, Record: records[1]},
		{Code: RecordRefused, Text: "no flag with this plan & start is held", Record: records[2]},
		{Code: RecordRefused, Text: "the start is no day", Record: records[3]},
	}
}

func accesses() AccessNotification {
	return AccessNotification{At: night, ID: "0C5A1B7E-96D4-4F21-8A3C-7E1D5B9F2604", Recipient: shire, Accesses: []Access{
		{
			At: night.Add(-9 * time.Hour), Query: "1D6B2C8F-A7E5-4032-9B4D-8F2E6CA03715", Number: number("9990000107"),
			LocalID: safeguard.Hide("C/4711"), LocalFrom: "ZQ7:Inventedshire", Upload: "88",
			Author: Author{System: &System{ASID: "999000000042", Organisation: Organisation{Code: code("ZP4"), Name: "INVENTED TRUST"}, Answerable: []Answerable{
				{Role{Code: "NR0050", Title: "Consultant"}, Name{"Dr", "Nomen", "Nescio"}},
			}}},
		},
		{
			At: night.Add(-time.Hour), Query: "2E7C3D90-B8F6-4143-8C5E-903F7DB14826", Number: number("9990000115"), Upload: "87",
			Author: Author{Person: &Person{Role: Role{"R0670", "1.2.3", "Sister"}, User: "999000000055", Name: Name{Family: "Incognita"}, Organisation: ward}},
		},
	}}
}

func inactives() InactiveNotification {
	return InactiveNotification{At: night, ID: "3F8D4EA1-C907-4254-9D6F-A1408EC25937", Recipient: shire, Numbers: []Inactive{
		{Number: number("9990000123"), Replacement: number("9990000131"), Upload: "88"},
		{Number: number("9990000107"), LocalID: safeguard.Hide("C/4711"), LocalFrom: "ZQ7:Inventedshire", Upload: "88"},
	}}
}

// written are the messages that the golden files hold.
func written(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, write := range map[string]func(io.Writer) error{
		"upload": func(w io.Writer) error {
			return WriteUpload(w, Header{Created: night, Sequence: "88", Quantity: 3, Sender: shire}, each(sent()))
		},
		"acknowledgement": func(w io.Writer) error {
			a, answers := answered()
			return WriteAcknowledgement(w, a, func() iter.Seq2[Answer, error] { return each(answers) })
		},
		"acknowledgement-unreadable": func(w io.Writer) error {
			a := Acknowledgement{Created: night, Sequence: Unreadable, Quantity: -1, File: FileError, Recipient: shire}
			return WriteAcknowledgement(w, a, func() iter.Seq2[Answer, error] { return each[Answer](nil) })
		},
		"access": func(w io.Writer) error { return WriteAccess(w, accesses()) },
		"access-empty": func(w io.Writer) error {
			return WriteAccess(w, AccessNotification{At: night, ID: "4A9E5FB2-DA18-4365-8E70-B2519FD36A48", Recipient: shire})
		},
		"inactive": func(w io.Writer) error { return WriteInactive(w, inactives()) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.Bytes()
	}
	return out
}

func TestGolden(t *testing.T) {
	for name, got := range written(t) {
		path := filepath.Join("testdata", name+".xml")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// What is written reads as what was to be said.
func TestRoundTrip(t *testing.T) {
	files := written(t)
	u, err := ReadUpload(bytes.NewReader(files["upload"]))
	if err != nil {
		t.Fatal(err)
	}
	wantShire := shire
	wantShire.EmergencyDuty = "01632960877"
	if h := u.Header; !h.Created.Equal(night) || h.Sequence != "88" || h.Quantity != 3 || h.Sender != wantShire {
		t.Errorf("header %+v", h)
	}
	if got := collect(t, u); !same(got, sent()) {
		t.Errorf("records %+v, want %+v", got, sent())
	}

	a, answers, err := ReadAcknowledgement(bytes.NewReader(files["acknowledgement"]))
	if err != nil {
		t.Fatal(err)
	}
	wantA, want := answered()
	if !a.Created.Equal(wantA.Created) || a.Sequence != "88" || a.Quantity != 4 || a.File != FilePartial || a.Recipient != wantShire {
		t.Errorf("acknowledgement %+v, want %+v", a, wantA)
	}
	if len(answers) != len(want) {
		t.Fatalf("%d answers, want %d", len(answers), len(want))
	}
	for i, got := range answers {
		w := want[i]
		switch i {
		case 0:
			w.Record.Plans = nil // of a good record no plans come back
		case 3:
			w.Record = Record{} // it can not be handed back
		}
		if got.Code != w.Code || got.Text != w.Text || got.Record.Position != i+1 || !same([]Record{got.Record}, []Record{w.Record}) {
			t.Errorf("answer %d: %+v, want %+v", i, got, w)
		}
	}

	n, err := ReadAccess(bytes.NewReader(files["access"]))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", flat(n)), fmt.Sprintf("%+v", flat(accesses())); got != want {
		t.Errorf("accesses %s, want %s", got, want)
	}
	i, err := ReadInactive(bytes.NewReader(files["inactive"]))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(i.Numbers, inactives().Numbers) || i.ID != inactives().ID || !i.At.Equal(night) || i.Recipient.Code != shire.Code {
		t.Errorf("inactive numbers %+v, want %+v", i, inactives())
	}
}

// flat spells out what pointers hide; telephones are not sent here.
func flat(n AccessNotification) []any {
	out := []any{n.At.Unix(), n.ID, n.Recipient.Code, n.Recipient.Name}
	for _, a := range n.Accesses {
		out = append(out, a.At.Unix(), a.Query, a.Number.Reveal(), a.LocalID.Reveal(), a.LocalFrom, a.Upload)
		if a.Author.Person != nil {
			out = append(out, *a.Author.Person)
		}
		if a.Author.System != nil {
			out = append(out, *a.Author.System)
		}
	}
	return out
}

func collect(t testing.TB, u *Upload) []Record {
	t.Helper()
	var out []Record
	for r, err := range u.Records() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// same compares what records say, not where they stood.
func same(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(a, b Record) bool {
		return a.Fault == b.Fault && slices.EqualFunc(a.Plans, b.Plans, func(a, b Plan) bool {
			a.Line, b.Line = 0, 0
			return a == b
		}) && slices.EqualFunc(a.Subjects, b.Subjects, func(a, b Subject) bool {
			a.Line, b.Line = 0, 0
			return a == b
		})
	})
}

func good(t *testing.T) string { return string(written(t)["upload"]) }

// Each departure is read as if it were not there.
func TestReadsTolerantly(t *testing.T) {
	file := good(t)
	swap := func(pairs ...string) string {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(file, pairs[i]) {
				t.Fatalf("the file holds no %s", pairs[i])
			}
		}
		return strings.NewReplacer(pairs...).Replace(file)
	}
	for name, text := range map[string]string{
		"as it is":             file,
		"byte order mark":      "\ufeff" + file,
		"UTF-16":               utf16(swap(`encoding="UTF-8"`, `encoding="UTF-16"`)),
		"windows-1252":         strings.ReplaceAll(swap(`encoding="UTF-8"`, `encoding="Windows-1252"`), "Ñ", "\xd1"),
		"no declaration":       strings.TrimPrefix(file, `<?xml version="1.0" encoding="UTF-8"?>`),
		"other prefixes":       swap("npfitlc:", "x:", "xmlns:npfitlc", "xmlns:x"),
		"namespace on content": swap("<npfitlc:contentId", `<contentId xmlns="NPFIT:HL7:Localisation"`),
		"family before given":  swap("<given>Ina</given>", "", "</family>", "</family><given>Ina</given>"),
		"blanks":               swap("<given>Ina</given>", "<given> Ina \n</given>", `value="202501020000"`, `value=" 202501020000 "`),
		"fixed attributes":     swap("<CP-ISRecord>", `<CP-ISRecord classCode="ACTN" moodCode="RQO">`),
		"nil end": swap("<component>\n            <lACStartDate>",
			`<component1 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true" nullFlavor="NI"/><component>`+"\n            <lACStartDate>"),
		"comments":             swap("<record>", "<!-- & --><record>"),
		"date in another part": swap("component1>", "component2>"),
		"wrapped": strings.Replace(strings.Replace(file, "<File", `<REPC_IN000002GB01 xmlns="urn:hl7-org:v3"><ControlActEvent><subject><File`, 1),
			"</File>", "</File></subject></ControlActEvent></REPC_IN000002GB01>", 1),
	} {
		t.Run(name, func(t *testing.T) {
			u, err := ReadUpload(iotest.HalfReader(strings.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			if got := collect(t, u); !same(got, sent()) {
				t.Errorf("records %+v, want %+v", got, sent())
			}
		})
	}
}

func utf16(s string) string {
	out := []byte{0xff, 0xfe}
	for _, r := range s {
		out = append(out, byte(r), byte(r>>8))
	}
	return string(out)
}

// What could mean something else than it seems spoils its record only.
func TestFaultyRecords(t *testing.T) {
	file := good(t)
	for _, tt := range []struct{ name, old, new, want string }{
		{"update mode", "<COCT_TP146102GB01.UCPInformation>", `<COCT_TP146102GB01.UCPInformation updateMode="removed">`, "updateMode"},
		{"null flavour", `<value value="202602100000"/>`, `<value value="202602100000" nullFlavor="UNK"/>`, "nullFlavor"},
		{"unknown element", "<uCPStartDate>", "<colour/><uCPStartDate>", "not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := ReadUpload(strings.NewReader(strings.Replace(file, tt.old, tt.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			records := collect(t, u)
			if len(records) != 3 || records[0].Fault != "" || records[2].Fault != "" || !strings.Contains(records[1].Fault, tt.want) {
				t.Errorf("records %+v", records)
			}
			if records[1].Subjects[0].NHSNumber.Reveal() != "9990000115" {
				t.Error("a faulty record does not tell whose it is")
			}
		})
	}
}

// Each is refused as a whole, in one sentence that repeats nothing of it.
func TestRefusedFiles(t *testing.T) {
	file := good(t)
	cut := func(old, new string) string { return strings.Replace(file, old, new, 1) }
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "no element File"},
		{"another message", string(written(t)["access"]), "no element File"},
		{"not XML", "nhs_number,plan\n9990000107,CPP\n", "no element File"},
		{"another namespace", cut(hl7Space, "urn:other"), "no element File"},
		{"broken off", file[:len(file)/2], "breaks off"},
		{"no end", strings.TrimSuffix(file, "</File>\n"), "breaks off"},
		{"tags crossed", cut("</given>", "</family>"), "not well-formed"},
		{"document type", "<!DOCTYPE File [<!ENTITY a \"aaaaaaaaaa\">]>" + strings.TrimPrefix(file, `<?xml version="1.0" encoding="UTF-8"?>`), "document type"},
		{"entity", cut("Ina", "&a;"), "not well-formed"},
		{"encoding", cut(`encoding="UTF-8"`, `encoding="EBCDIC-9990000107"`), "character encoding"},
		{"count", cut(`<transmissionQuantity value="3"`, `<transmissionQuantity value="4"`), "3 records, and transmissionQuantity says 4"},
		{"no count", cut(`<transmissionQuantity value="3"/>`, ""), "no transmissionQuantity"},
		{"no id", cut(`<id extension="88"/>`, ""), "no id before"},
		{"id of another kind", cut(`<id extension="88"/>`, `<id root="1"/>`), "id: no extension"},
		{"time", cut(`creationTime value="2026`, `creationTime value="2x26`), "creationTime: is no moment"},
		{"no sender", cut(`extension="ZQ7"`, `extension=""`), "no organisation code"},
		{"no record", file[:strings.Index(file, "<record>")] + "</File>", "no record"},
		{"stray element", cut("<record>", "<recorder/><record>"), "not known"},
		{"stray element later", cut("</record>", "</record><recorder/>"), "not known"},
		{"two messages", file + strings.TrimPrefix(file, `<?xml version="1.0" encoding="UTF-8"?>`), "second message"},
		{"rubbish behind", file + "<", "not well-formed"},
		{"deep", cut("<given>", strings.Repeat("<given>", 50)+"</given>"), "40 deep"},
		{"many elements", cut("<given>Ina</given>", strings.Repeat("<given/>", 1000)), "400 elements"},
		{"long text", cut("Ina", strings.Repeat("Ina ", 40_000)), "more than 65536"},
		{"much text", cut("<given>Ina</given>", strings.Repeat("<given>"+strings.Repeat("x", 10_000)+"</given>", 20)), "characters in one part"},
		{"endless attribute", cut(`extension="88"`, `extension="`+strings.Repeat("8", 1<<20)+`"`), "bytes without a tag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := ReadUpload(strings.NewReader(tt.text))
			for err == nil {
				_, err = u.Next()
			}
			if errors.Is(err, io.EOF) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "999000") {
				t.Errorf("error %v repeats the file", err)
			}
			if u != nil {
				if _, again := u.Next(); again == nil {
					t.Error("there is more after the error")
				}
			}
		})
	}
	broken := errors.New("cable pulled")
	if _, err := ReadUpload(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
}

// What the schemas refuse is not written.
func TestWritesStrictly(t *testing.T) {
	refuse := func(name, want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %q", name, err, want)
		}
	}
	ack := func(change func(*Acknowledgement), answers ...Answer) error {
		a, _ := answered()
		change(&a)
		return WriteAcknowledgement(io.Discard, a, func() iter.Seq2[Answer, error] { return each(answers) })
	}
	refuse("no telephone", "emergency duty", ack(func(a *Acknowledgement) { a.Recipient.EmergencyDuty = "call us" }))
	refuse("office telephone", "office hours", ack(func(a *Acknowledgement) { a.Recipient.OfficeHours = "x" }))
	refuse("no name", "no name", ack(func(a *Acknowledgement) { a.Recipient.Name = " " }))
	refuse("no file code", "file code", ack(func(a *Acknowledgement) { a.File = "CPF09" }))
	refuse("no sequence", "sequence", ack(func(a *Acknowledgement) { a.Sequence = "" }))
	refuse("no time", "time", ack(func(a *Acknowledgement) { a.Created = time.Time{} }))
	refuse("quantity", "quantity", ack(func(a *Acknowledgement) { a.Quantity = -2 }))
	refuse("no record code", "without a code", ack(func(*Acknowledgement) {}, Answer{Code: "CPR99"}))
	passes := 0
	a, answers := answered()
	refuse("answers that change", "the second time", WriteAcknowledgement(io.Discard, a, func() iter.Seq2[Answer, error] {
		passes++
		return each(answers[passes:])
	}))

	access := func(change func(*AccessNotification)) error {
		n := accesses()
		change(&n)
		return WriteAccess(io.Discard, n)
	}
	refuse("small letters", "capitals", access(func(n *AccessNotification) { n.ID = UUID(strings.ToLower(string(n.ID))) }))
	refuse("no query", "access 2: query", access(func(n *AccessNotification) { n.Accesses[1].Query = "" }))
	refuse("no author", "person or a system", access(func(n *AccessNotification) { n.Accesses[0].Author = Author{} }))
	refuse("no ASID", "ASID", access(func(n *AccessNotification) { n.Accesses[0].Author.System.ASID = "agent one" }))
	refuse("no user", "user id", access(func(n *AccessNotification) { n.Accesses[1].Author.Person.User = "" }))
	refuse("nobody answers", "answers for it", access(func(n *AccessNotification) { n.Accesses[0].Author.System.Answerable[0].Name = Name{} }))
	refuse("no upload", "sequence number", access(func(n *AccessNotification) { n.Accesses[0].Upload = "" }))
	refuse("no number", "no NHS number", access(func(n *AccessNotification) { n.Accesses[0].Number = safeguard.NHSNumber{} }))

	inactive := func(change func(*InactiveNotification)) error {
		n := inactives()
		change(&n)
		return WriteInactive(io.Discard, n)
	}
	refuse("nothing", "at least one", inactive(func(n *InactiveNotification) { n.Numbers = nil }))
	refuse("replaces itself", "replaces itself", inactive(func(n *InactiveNotification) { n.Numbers[0].Replacement = n.Numbers[0].Number }))
	refuse("no upload", "sequence number", inactive(func(n *InactiveNotification) { n.Numbers[0].Upload = "" }))

	h := Header{Created: night, Sequence: "1", Quantity: 1, Sender: shire}
	for name, r := range map[string]Record{
		"no plan":         {Subjects: []Subject{child("9990000107", "20180611")}},
		"no subject":      {Plans: sent()[0].Plans},
		"no end of a UCP": {Plans: []Plan{{Plan: safeguard.UnbornChild, Start: "202602100000"}}, Subjects: sent()[1].Subjects},
		"no id":           {Plans: sent()[0].Plans, Subjects: []Subject{{Born: safeguard.Hide("20180611")}}},
	} {
		refuse(name, "record 1", WriteUpload(io.Discard, h, each([]Record{r})))
	}
	refuse("count", "want 1", WriteUpload(io.Discard, h, each(sent())))
	if id := NewUUID(); !uuidForm.MatchString(string(id)) || id == NewUUID() {
		t.Errorf("UUID %s", id)
	}
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}
