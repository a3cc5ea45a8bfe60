package hl7

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustParse(t testing.TB, body string) Message {
	t.Helper()
	m, err := Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"usual", "MSH|^~\\&|PAS\r", ""},
		{"nothing but delimiters", "MSH|^~\\&", ""},
		{"one delimiter", "MSH|^|PAS\r", ""},
		{"five delimiters", "MSH|^~\\&#|PAS\r", ""},
		{"others", "MSH$%*!+$PAS\r", ""},
		{"byte order mark", "\xef\xbb\xbfMSH|^~\\&|PAS\r", ""},
		{"white space, NULs and a start block before", "\r\n\x00 \t\vMSH|^~\\&|PAS\r", ""},
		{"any version", "MSH|^~\\&|||||||ADT|1|P|9.9\r", ""},
		{"MSH in a field", "MSH|^~\\&|MSH|see MSH|MSH\rNTE|1||MSH|\n MSH|^~\\&\r", ""},
		{"an MSH name that goes on", "MSH|^~\\&|PAS\rMSHX|1\r", ""},

		{"nothing", "", "byte 0: nothing, want MSH"},
		{"white space", " \r\n", "byte 3: nothing, want MSH"},
		{"no HL7", "hello", "byte 0: no MSH, want MSH and its delimiters"},
		{"lower case", "msh|^~\\&|", "byte 0: no MSH, want MSH and its delimiters"},
		{"a batch", "BHS|^~\\&|PAS\rMSH|^~\\&|PAS\r", "byte 0: a batch header, want MSH"},
		{"UTF-16", "\xff\xfeM\x00S\x00H\x00|\x00", "byte 0: UTF-16, want a character set in which ASCII is one byte, such as UTF-8"},
		{"UTF-16 without a mark", "M\x00S\x00H\x00|\x00", "byte 0: UTF-16, want a character set in which ASCII is one byte, such as UTF-8"},
		{"cut off", "MSH|", `byte 4: the end, want MSH and its delimiters, such as MSH|^~\&`},
		{"a letter as separator", "MSHA^~\\&A", "byte 3: a field separator that is no punctuation, want one such as |"},
		{"no delimiters", "MSH||PAS\r", `byte 4: no delimiters in MSH-2, want 1 to 5, such as ^~\&`},
		{"too many delimiters", "MSH|^~\\&#!|PAS\r", `byte 9: more than 5 delimiters in MSH-2, want 1 to 5, such as ^~\&`},
		{"a digit as delimiter", "MSH|^~0&|PAS\r", `byte 6: a delimiter that is no punctuation, want punctuation, such as ^~\&`},
		{"a delimiter that is not ASCII", "MSH|^\xc2\xa6\\&|PAS\r", `byte 5: a delimiter that is no punctuation, want punctuation, such as ^~\&`},
		{"a delimiter twice", "MSH|^~^&|PAS\r", `byte 6: the same delimiter twice, want different ones, such as ^~\&`},
		{"two messages", "MSH|^~\\&|PAS\rPID|1\rMSH|^~\\&|PAS\r", "byte 19: a second MSH, want one message"},
		{"two messages with CRLF", "MSH|^~\\&|PAS\r\nMSH|^~\\&|PAS\r\n", "byte 14: a second MSH, want one message"},
		{"two messages with LF", "MSH|^~\\&|PAS\nPID|1\nMSH|^~\\&|PAS\n", "byte 19: a second MSH, want one message"},
		{"two messages, LF only between", "MSH|^~\\&|PAS\rPID|1\nMSH|^~\\&|PAS\r", "byte 19: a second MSH, want one message"},
		{"a second MSH with other delimiters", "MSH|^~\\&|PAS\rMSH$%$PAS\r", "byte 13: a second MSH, want one message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Parse([]byte(c.body))
			if c.want == "" {
				if err != nil {
					t.Fatalf("got %v, want it taken", err)
				}
				if got := string(m.Bytes()); got != c.body {
					t.Errorf("writes back %q, want %q", got, c.body)
				}
				return
			}
			if err == nil || err.Error() != "parse hl7: "+c.want {
				t.Errorf("got %v, want parse hl7: %s", err, c.want)
			}
		})
	}
}

func TestSegmentEnds(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"CR", "MSH|^~\\&|A\rPID|1\rPV1|1\r", []string{"MSH|^~\\&|A", "PID|1", "PV1|1"}},
		{"CRLF", "MSH|^~\\&|A\r\nPID|1\r\nPV1|1\r\n", []string{"MSH|^~\\&|A", "PID|1", "PV1|1"}},
		{"LF", "MSH|^~\\&|A\nPID|1\nPV1|1\n", []string{"MSH|^~\\&|A", "PID|1", "PV1|1"}},
		{"no last end", "MSH|^~\\&|A\rPID|1", []string{"MSH|^~\\&|A", "PID|1"}},
		{"a line feed in a field", "MSH|^~\\&|A\rNTE|1||a\nPID|9\rPV1|1\r", []string{"MSH|^~\\&|A", "NTE|1||a\nPID|9", "PV1|1"}},
		{"LF first, then CR", "MSH|^~\\&|A\nPID|1\rPV1|1\r\n", []string{"MSH|^~\\&|A", "PID|1", "PV1|1"}},
		{"CR first, then LF", "MSH|^~\\&|A\rPID|1\nPV1|1\n", []string{"MSH|^~\\&|A", "PID|1\nPV1|1\n"}},
		{"blank lines", "MSH|^~\\&|A\r\r\n\r \r\x00\rPID|1\r\r", []string{"MSH|^~\\&|A", "PID|1"}},
		{"spaces and NULs at the end", "MSH|^~\\&|A \x00\rPID|1 | \x00 \r\x00\x00", []string{"MSH|^~\\&|A", "PID|1 |"}},
		{"spaces before", "MSH|^~\\&|A\r  PID|1\r", []string{"MSH|^~\\&|A", "PID|1"}},
		{"no name", "MSH|^~\\&|A\r|1|2\rPID\r", []string{"MSH|^~\\&|A", "|1|2", "PID"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for seg := range mustParse(t, c.body).Segments() {
				got = append(got, string(seg.Raw()))
			}
			if strings.Join(got, "\r") != strings.Join(c.want, "\r") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFieldsAreCountedAsTheStandardDoes(t *testing.T) {
	m := mustParse(t, "MSH|^~\\&|PAS|RZZ\rPID|1||9^^^NHS~8^a&b&c||\r")
	for path, want := range map[string]string{
		"MSH-1": "|", "MSH-2": "^~\\&", "MSH-3": "PAS", "MSH-4": "RZZ", "MSH-5": "",
		"PID-1": "1", "PID-2": "", "PID-3": "9", "PID-3.4": "NHS", "PID-3[1].4": "NHS", "PID-3[2]": "8", "PID-3[2].1": "8",
		"PID-3[2].2": "a", "PID-3[2].2.1": "a", "PID-3[2].2.3": "c", "PID-3[2].2.4": "", "PID-3[3]": "", "PID-4": "", "PID-99": "",
		"PID.3.4": "NHS", "PID[1]-3": "9", "PID[2]-3": "", "ZZZ-1": "", "": "", "PID-": "", "PID-0": "", "pid-3": "", "PID-3[0]": "",
		"PID-3.4.1.1": "", "PID-3[2": "", "PID3": "",
	} {
		if got := m.Get(path).Text(); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	seg, _ := m.Segment("PID")
	for _, n := range []int{0, -1} {
		if f := seg.Field(n); !f.IsAbsent() || !f.Repetition(1).IsAbsent() {
			t.Errorf("field %d is %q", n, f.Raw())
		}
		if r := seg.Field(3).Repetition(n); !r.IsAbsent() || !r.Component(n).Sub(n).IsAbsent() {
			t.Errorf("repetition %d is %q", n, r.Raw())
		}
	}
	if _, ok := m.Segment("PI"); ok {
		t.Error("found a segment by half its name")
	}
	if got := string(m.Get("PID").Raw()); got != "PID|1||9^^^NHS~8^a&b&c||" {
		t.Errorf("got segment %q", got)
	}
}

func TestAbsentAndNull(t *testing.T) {
	m := mustParse(t, "MSH|^~\\&|PAS\rPID|1||\"\"||^^~&|\"\"^\"\"^x|\"|\"\"\"\"\r")
	for _, c := range []struct {
		path         string
		absent, null bool
		text         string
	}{
		{"PID-1", false, false, "1"},
		{"PID-2", true, false, ""},
		{"PID-3", false, true, ""},
		{"PID-3.1", false, true, ""},
		{"PID-4", true, false, ""},
		{"PID-5", true, false, ""},
		{"PID-6", false, false, ""},
		{"PID-6.1", false, true, ""},
		{"PID-6.3", false, false, "x"},
		{"PID-7", false, false, `"`},
		{"PID-8", false, false, `""""`},
		{"PID-9", true, false, ""},
		{"ZZZ-1", true, false, ""},
	} {
		v := m.Get(c.path)
		if v.IsAbsent() != c.absent || v.IsNull() != c.null || v.Text() != c.text {
			t.Errorf("%s: got absent %v, null %v, %q; want %v, %v, %q", c.path, v.IsAbsent(), v.IsNull(), v.Text(), c.absent, c.null, c.text)
		}
		if v.IsNull() && (v.Is(`""`) || v.WholeText() != "" || len(v.AppendText(nil)) > 0) {
			t.Errorf("%s: a null has a text", c.path)
		}
		if !v.IsNull() && !v.Is(c.text) {
			t.Errorf("%s: is not %q", c.path, c.text)
		}
	}
}

func TestHeader(t *testing.T) {
	h := mustParse(t, "MSH|^~\\&|PAS^1|RZZ|SG|RZ|20261123||ADT^A04^ADT_A01|id\\F\\~1|P^T|2.5.1^GBR|7||AL|NE||8859/1\r").Header()
	for _, c := range []struct{ name, got, want string }{
		{"application", h.Application.Text(), "PAS"},
		{"facility", h.Facility.Text(), "RZZ"},
		{"receiving application", h.ReceivingApplication.Text(), "SG"},
		{"receiving facility", h.ReceivingFacility.Text(), "RZ"},
		{"time", h.Time.Text(), "20261123"},
		{"type", h.Type.Text(), "ADT"},
		{"event", h.Event.Text(), "A04"},
		{"structure", h.Structure.Text(), "ADT_A01"},
		{"control id, verbatim", string(h.ControlID), "id\\F\\~1"},
		{"processing", h.Processing.Text(), "P"},
		{"version", h.Version.Text(), "2.5.1"},
		{"sequence", h.Sequence.Text(), "7"},
		{"accept acknowledgement", h.AcceptAcknowledgement.Text(), "AL"},
		{"acknowledgement", h.Acknowledgement.Text(), "NE"},
		{"charset", h.Charset.Text(), "8859/1"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	if h := (Message{}).Header(); !h.Type.IsAbsent() || h.ControlID != nil {
		t.Error("the zero message has a header")
	}
}

func TestPathWritesItself(t *testing.T) {
	for _, text := range []string{"PID", "PID-3", "PID-3[2]", "PID-3.4", "PID-3[2].4.1", "OBX[12]-5", "ZU1[2]-3[4].5.6"} {
		p, err := ParsePath(text)
		if err != nil || p.String() != text {
			t.Errorf("%s: got %s, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "PI", "PID-", "PID-x", "PID-3.", "PID-3.4.5.6", "PID-3[]", "PID-3[x]", "PID-12345", "PID[0]-1", "pid-3", "1ID-3", "PID 3", "PID-3-4"} {
		if p, err := ParsePath(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, p)
		}
	}
}

// coherentHeader checks that Header has the fields of MSH.
func coherentHeader(m Message) error {
	h, msh := m.Header(), m.header()
	for n, f := range map[int]Field{
		3: h.Application, 4: h.Facility, 5: h.ReceivingApplication, 6: h.ReceivingFacility, 7: h.Time, 10: {Value{h.ControlID, m.sx}},
		11: h.Processing, 12: h.Version, 13: h.Sequence, 15: h.AcceptAcknowledgement, 16: h.Acknowledgement, 18: h.Charset,
	} {
		if !bytes.Equal(f.Raw(), msh.Field(n).Raw()) {
			return fmt.Errorf("Header and MSH-%d differ", n)
		}
	}
	for n, c := range []Component{h.Type, h.Event, h.Structure} {
		if !bytes.Equal(c.Raw(), msh.Field(9).Component(n+1).Raw()) {
			return fmt.Errorf("Header and MSH-9.%d differ", n+1)
		}
	}
	return nil
}

// coherent checks that the parts of each level, with the delimiters between
// them, are the level above: nothing is lost, nothing is read twice.
func coherent(m Message) error {
	if err := coherentHeader(m); err != nil {
		return err
	}
	d := m.sx
	var all [][]byte
	for seg := range m.Segments() {
		if len(seg.Raw()) == 0 {
			return errors.New("an empty segment")
		}
		all = append(all, seg.Raw())
		fields := [][]byte{seg.name()}
		ahead, about := seg.Cursor(), seg.Cursor()
		for n, f := range seg.Fields() {
			if !bytes.Equal(seg.Field(n).Raw(), f.Raw()) {
				return errors.New("Field and Fields differ")
			}
			about.Field(n + n%7 - 3) // back, there and on
			if !bytes.Equal(ahead.Field(n).Raw(), f.Raw()) || !bytes.Equal(about.Field(n).Raw(), f.Raw()) {
				return errors.New("a cursor and Fields differ")
			}
			if isHeader(seg.Raw()) && n == 1 {
				continue
			}
			fields = append(fields, f.Raw())
			var reps [][]byte
			for r := range f.Repetitions() {
				reps = append(reps, r.Raw())
				if !bytes.Equal(f.Repetition(len(reps)).Raw(), r.Raw()) {
					return errors.New("Repetition and Repetitions differ")
				}
				var comps [][]byte
				for c := range r.Components() {
					comps = append(comps, c.Raw())
					if !bytes.Equal(r.Component(len(comps)).Raw(), c.Raw()) {
						return errors.New("Component and Components differ")
					}
					var subs [][]byte
					for s := range c.Subs() {
						subs = append(subs, s.Raw())
						if !bytes.Equal(c.Sub(len(subs)).Raw(), s.Raw()) {
							return errors.New("Sub and Subs differ")
						}
						if !s.IsNull() && !s.Is(s.Text()) {
							return errors.New("a value is not its own text")
						}
					}
					if !bytes.Equal(bytes.Join(subs, []byte{c.sx.sub()}), c.Raw()) {
						return errors.New("subcomponents do not make the component")
					}
				}
				if !bytes.Equal(bytes.Join(comps, []byte{r.sx.component()}), r.Raw()) {
					return errors.New("components do not make the repetition")
				}
			}
			if !bytes.Equal(bytes.Join(reps, []byte{f.sx.repetition()}), f.Raw()) {
				return errors.New("repetitions do not make the field")
			}
		}
		if bytes.IndexByte(seg.Raw(), d.field()) >= 0 && !bytes.Equal(bytes.Join(fields, []byte{d.field()}), seg.Raw()) {
			return errors.New("fields do not make the segment")
		}
	}
	// Between segments there is nothing but ends, white space and NULs.
	rest := m.body
	for _, raw := range all {
		i := bytes.Index(rest, raw)
		if i < 0 {
			return errors.New("a segment that is not in the message")
		}
		if gap := bytes.Trim(rest[:i], "\r\n\x00 \t\v\xef\xbb\xbf"); len(gap) > 0 {
			return errors.New("bytes that belong to no segment")
		}
		rest = rest[i+len(raw):]
	}
	if len(bytes.Trim(rest, "\r\n\x00 \t")) > 0 {
		return errors.New("bytes behind the last segment")
	}
	return nil
}

// message draws a message that any sender might write, and some that none should.
func message(t *rapid.T) []byte {
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", "", "", "\xef\xbb\xbf", "\r\n"}).Draw(t, "lead"))
	b.WriteString(rapid.SampledFrom([]string{`MSH|^~\&|`, `MSH|^~\&|`, `MSH|^|`, `MSH|^~\&#|`, `MSH$%*!+$`}).Draw(t, "delimiters"))
	value := rapid.StringMatching(`[A-Za-z0-9 |^~\\&$%*!+"é]{0,12}|""|\\[FSTREX]\\|\\X4[0-9a-f]\\`)
	end := rapid.SampledFrom([]string{"\r", "\r", "\n", "\r\n"}).Draw(t, "end")
	b.WriteString(value.Draw(t, "header"))
	for range rapid.IntRange(0, 6).Draw(t, "segments") {
		b.WriteString(end)
		b.WriteString(rapid.StringMatching(`[A-Z][A-Z0-9]{2}|`).Draw(t, "name"))
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			b.WriteByte(b.String()[strings.Index(b.String(), "MSH")+3])
			b.WriteString(value.Draw(t, "value"))
		}
	}
	return []byte(b.String())
}

func TestEveryLevelIsMadeOfTheOneBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := message(t)
		m, err := Parse(body)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Bytes(), body) {
			t.Fatal("the message is not written back as it came")
		}
		if err := coherent(m); err != nil {
			t.Fatalf("%v: %q", err, body)
		}
	})
}

// FuzzParse: nothing panics; what is accepted is written back byte for byte,
// every level is made of the one below, and every message can be acknowledged.
func FuzzParse(f *testing.F) {
	for _, body := range samples(f) {
		f.Add(body)
	}
	f.Add([]byte("MSH|^|\n\rMSH"))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		m, err := Parse(body)
		if err != nil {
			m, _ = ParseHeader(body)
		}
		if err := acknowledged(m); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			if bytes.ContainsAny([]byte(err.Error()), "\r\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if !bytes.Equal(m.Bytes(), before) || !bytes.Equal(body, before) {
			t.Fatal("the message is not what it was")
		}
		if err := coherent(m); err != nil {
			t.Fatal(err)
		}
	})
}

// Every file of the corpus is read, or refused with a reason.
func TestCorpus(t *testing.T) {
	const corpus = "../../../shared/corpus"
	if _, err := os.Stat(corpus); err != nil {
		t.Logf("left out, as the messages of others are not kept with the project: %v", err)
		return
	}
	read, refused := 0, 0
	err := filepath.WalkDir(corpus, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		m, err := Parse(body)
		if err != nil {
			refused++
			var reason *Error
			if !errors.As(err, &reason) || reason.Problem == "" || reason.Want == "" {
				t.Errorf("%s: refused without a reason: %v", name, err)
			}
			m, _ = ParseHeader(body)
			if err := acknowledged(m); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		}
		read++
		if !bytes.Equal(m.Bytes(), body) {
			t.Errorf("%s: not written back as it came", name)
		}
		if err := errors.Join(coherent(m), acknowledged(m)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 600 {
		t.Errorf("read %d messages, want 600 and more", read)
	}
	t.Logf("read %d, refused %d", read, refused)
}

// A document in base64, as some feeds carry along, does not hide what is around it.
func TestFieldOf16MB(t *testing.T) {
	document := strings.Repeat("QUJD", 4<<20)
	body := "MSH|^~\\&|PAS\rOBX|1|ED|DOC||^^PDF^Base64^" + document + "||||||F\rZZ1|behind\r"
	m := mustParse(t, body)
	if got := m.Get("OBX-5.5").Text(); got != document {
		t.Errorf("got %d bytes, want %d", len(got), len(document))
	}
	if got := m.Get("OBX-11").Text() + m.Get("ZZ1-1").Text(); got != "Fbehind" {
		t.Errorf("got %q behind it", got)
	}
	if string(m.Bytes()) != body {
		t.Error("the message is not as it came")
	}
}
