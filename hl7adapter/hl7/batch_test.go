package hl7

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readBatch tells the parts of a stream, and what was wrong with its counts.
func readBatch(r io.Reader, max int) (parts []Part, problem, err error) {
	b := NewBatch(r, max)
	for {
		p, err := b.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return parts, b.Check(), err
		}
		parts = append(parts, p)
	}
}

func describe(parts []Part, problem, err error) string {
	var b strings.Builder
	for _, p := range parts {
		cut := ""
		if p.Cut != (p.Kind == LongPart) {
			cut = "cut "
		}
		fmt.Fprintf(&b, "%d %s%s%q\n", p.Offset, cut, [...]string{"", "stray ", "long "}[p.Kind], p.Body)
	}
	if problem != nil {
		fmt.Fprintf(&b, "%v\n", problem)
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	return b.String()
}

const m1, m2, m3 = "MSH|^~\\&|A\rPID|1\r", "MSH|^~\\&|B\rPID|2\r", "MSH|^~\\&|C\rPID|3\r"

var batches = []struct{ name, stream, want string }{
	{"nothing", "", ""},
	{"blank lines", "\r\n\r\n \r\n\x00", ""},
	{"one message", m1, fmt.Sprintf("0 %q\n", m1)},
	{"one message without its last end", "MSH|^~\\&|A\rPID|1", `0 "MSH|^~\\&|A\rPID|1"` + "\n"},
	{"a byte order mark", "\xef\xbb\xbf" + m1, fmt.Sprintf("0 %q\n", "\ufeff"+m1)},
	{"three messages", m1 + m2 + m3, fmt.Sprintf("0 %q\n17 %q\n34 %q\n", m1, m2, m3)},
	{"blank lines between", m1 + "\r\n" + m2, fmt.Sprintf("0 %q\n19 %q\n", m1+"\r\n", m2)},
	{"CRLF", "MSH|^~\\&|A\r\nPID|1\r\nMSH|^~\\&|B\r\n", `0 "MSH|^~\\&|A\r\nPID|1\r\n"` + "\n" + `19 "MSH|^~\\&|B\r\n"` + "\n"},
	{"LF", "MSH|^~\\&|A\nPID|1\nMSH|^~\\&|B\n", `0 "MSH|^~\\&|A\nPID|1\n"` + "\n" + `17 "MSH|^~\\&|B\n"` + "\n"},
	{"LF between messages only", "MSH|^~\\&|A\rPID|1\nMSH|^~\\&|B\r", `0 "MSH|^~\\&|A\rPID|1"` + "\n" + `17 "MSH|^~\\&|B\r"` + "\n"},
	{"a line feed in a field", "MSH|^~\\&|A\rNTE|1||x\nMSH to see\nPID|\r" + m2, `0 "MSH|^~\\&|A\rNTE|1||x\nMSH to see\nPID|\r"` + "\n" + fmt.Sprintf("36 %q\n", m2)},
	{"batch and file", "FHS|^~\\&|X\rBHS|^~\\&|X\r" + m1 + m2 + "BTS|2\rFTS|1\r", fmt.Sprintf("22 %q\n39 %q\n", m1, m2)},
	{"two batches", "FHS|^~\\&\rBHS|^~\\&\r" + m1 + "BTS|1|x\rBHS|^~\\&\r" + m2 + "BTS|1\rFTS|2\r", fmt.Sprintf("18 %q\n52 %q\n", m1, m2)},
	{"trailers without counts", "BHS|^~\\&\r" + m1 + "BTS\r", fmt.Sprintf("9 %q\n", m1)},
	{"too few messages", "BHS|^~\\&\r" + m1 + "BTS|2\r", fmt.Sprintf("9 %q\nBTS-1 says 2 messages, found 1\n", m1)},
	{"too few batches", "FHS|^~\\&\rBHS|^~\\&\r" + m1 + "BTS|1\rFTS|2\r", fmt.Sprintf("18 %q\nFTS-1 says 2 batches, found 1\n", m1)},
	{"a count that is none", "BHS|^~\\&\r" + m1 + "BTS|some\r", fmt.Sprintf("9 %q\nBTS-1 is no number\n", m1)},
	{"a batch without its end", "BHS|^~\\&\r" + m1 + "BHS|^~\\&\r" + m2, fmt.Sprintf("9 %q\n35 %q\nbatch without BTS before another\nbatch without BTS before the end\n", m1, m2)},
	{"a file cut off", "FHS|^~\\&\rBHS|^~\\&\r" + m1, fmt.Sprintf("18 %q\nbatch without BTS before the end\nfile without FTS before the end\n", m1)},
	{"text before", "hello\rworld\r" + m1, `0 stray "hello\rworld\r"` + "\n" + fmt.Sprintf("12 %q\n", m1)},
	{"text behind a batch", "BHS|^~\\&\r" + m1 + "BTS|1\rbye\r", fmt.Sprintf("9 %q\n32 stray \"bye\\r\"\n", m1)},
	{"text only", "hello", `0 stray "hello"` + "\n"},
	{"a bad message between good ones", m1 + "MSH\rPID|9\r" + m2, fmt.Sprintf("0 %q\n17 \"MSH\\rPID|9\\r\"\n27 %q\n", m1, m2)},
	{"frames", "\v" + m1 + "\x1c\r\v" + m2 + "\x1c\r", fmt.Sprintf("1 %q\n21 %q\n", m1, m2)},
	{"frames with LF behind", "\v" + m1 + "\x1c\r\n\v" + m2 + "\x1c\r\n", fmt.Sprintf("1 %q\n22 %q\n", m1, m2)},
	{"frames without the last CRs", "\vMSH|^~\\&|A\rPID|1\x1c\vMSH|^~\\&|B\rPID|2\x1c", `1 "MSH|^~\\&|A\rPID|1"` + "\n" + `19 "MSH|^~\\&|B\rPID|2"` + "\n"},
	{"text between frames", "\v" + m1 + "\x1c\rnoise\r\v" + m2 + "\x1c\r", fmt.Sprintf("1 %q\n20 stray \"noise\\r\"\n27 %q\n", m1, m2)},
	{"a long line, much of it filler", strings.Repeat("\x00", 150) + strings.Repeat("x", 100) + "\rPID|1\r" + m1, fmt.Sprintf("150 cut stray %q\n257 %q\n", strings.Repeat("x", 51), m1)},
	{"a long message, much of its first line filler", strings.Repeat(" ", 150) + "MSH|^~\\&|" + strings.Repeat("x", 100) + "\rPID|1\r" + m1, fmt.Sprintf("150 long %q\n266 %q\n", "MSH|^~\\&|"+strings.Repeat("x", 42), m1)},
	{"a long line of filler, and something", strings.Repeat("\x00", 250) + "MSH|^~\\&|\rPID|1\r" + m1, fmt.Sprintf("201 cut stray \"\"\n266 %q\n", m1)},
	{"a long message", m1 + "MSH|^~\\&|B\rOBX|1||" + strings.Repeat("x", 300) + "\rOBX|2\r" + m3, fmt.Sprintf("0 %q\n17 long %q\n342 %q\n", m1, ("MSH|^~\\&|B\rOBX|1||" + strings.Repeat("x", 300))[:200], m3)},
}

func TestBatch(t *testing.T) {
	for _, c := range batches {
		t.Run(c.name, func(t *testing.T) {
			if got := describe(readBatch(strings.NewReader(c.stream), 200)); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
			if got := describe(readBatch(iotest.OneByteReader(strings.NewReader(c.stream)), 200)); got != c.want {
				t.Errorf("byte by byte: got\n%swant\n%s", got, c.want)
			}
			if got := describe(readBatch(iotest.DataErrReader(strings.NewReader(c.stream)), 200)); got != c.want {
				t.Errorf("last byte with the end: got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// A share that goes away is not the end of the file.
func TestBatchTellsReadErrors(t *testing.T) {
	gone := errors.New("share gone")
	b := NewBatch(io.MultiReader(strings.NewReader(m1+"MSH|^~\\&|B\rPID|"), iotest.ErrReader(gone)), 1000)
	if p, err := b.Next(); err != nil || string(p.Body) != m1 {
		t.Fatalf("got %q, %v", p.Body, err)
	}
	if p, err := b.Next(); !errors.Is(err, gone) {
		t.Fatalf("got %q, %v, want the error and no half message", p.Body, err)
	}
}

// However many messages are written, with whatever between them that is not
// theirs, they come back as they were.
func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.SampledFrom([]string{"\r", "\n", "\r\n"}).Draw(t, "end")
		var stream strings.Builder
		var want []string
		framed := rapid.Bool().Draw(t, "framed")
		for range rapid.IntRange(0, 5).Draw(t, "messages") {
			m := "MSH|^~\\&|" + rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "sender") + end
			for range rapid.IntRange(0, 4).Draw(t, "segments") {
				m += rapid.StringMatching(`[A-L]{3}\|[a-z|^ é]{0,10}x`).Draw(t, "segment") + end
			}
			want = append(want, m)
			if framed {
				m = "\v" + m + "\x1c\r"
			}
			stream.WriteString(m)
		}
		parts, problem, err := readBatch(strings.NewReader(stream.String()), 1000)
		if problem != nil || err != nil || len(parts) != len(want) {
			t.Fatalf("got %s, want %q", describe(parts, problem, err), want)
		}
		for i, p := range parts {
			if string(p.Body) != want[i] || p.Kind != MessagePart {
				t.Fatalf("message %d: got %q, want %q", i, p.Body, want[i])
			}
		}
	})
}

// FuzzBatch: nothing panics, it ends, parts come in order and hold bytes of the
// stream at their offset, and splitting the stream changes nothing.
func FuzzBatch(f *testing.F) {
	for _, c := range batches {
		f.Add([]byte(c.stream))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		parts, problem, err := readBatch(bytes.NewReader(stream), 200)
		if err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		for _, p := range parts {
			if p.Offset < at || !bytes.HasPrefix(stream[p.Offset:], p.Body) || len(p.Body) > 200 {
				t.Fatalf("part at %d after %d: %q", p.Offset, at, p.Body)
			}
			at = p.Offset + int64(len(p.Body))
		}
		again := describe(readBatch(iotest.OneByteReader(bytes.NewReader(stream)), 200))
		if whole := describe(parts, problem, err); again != whole {
			t.Fatalf("byte by byte\n%swhole\n%s", again, whole)
		}
	})
}

// Every batch of the corpus is read; what is a message by itself is one here.
func TestBatchCorpus(t *testing.T) {
	const corpus = "../../../shared/corpus"
	if _, err := os.Stat(corpus); err != nil {
		t.Logf("left out, as the messages of others are not kept with the project: %v", err)
		return
	}
	err := filepath.WalkDir(corpus, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parts, _, err := readBatch(bytes.NewReader(body), 32<<20)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Parse(body); err == nil && (len(parts) != 1 || !bytes.Contains(body, parts[0].Body)) {
			t.Errorf("%s: one message, but %d parts", name, len(parts))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
