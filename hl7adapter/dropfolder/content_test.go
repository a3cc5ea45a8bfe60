package dropfolder

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

// parts reads a file to its end.
func parts(t testing.TB, file string, max int) (all []part, c *content) {
	t.Helper()
	c = newContent(strings.NewReader(file), max)
	for {
		p, err := c.next()
		if err == io.EOF {
			return all, c
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestContent(t *testing.T) {
	one, two := string(feedtest.ADT("1")), string(feedtest.ADT("2"))
	lf := func(s string) string { return strings.ReplaceAll(s, "\r", "\n") }
	crlf := func(s string) string { return strings.ReplaceAll(s, "\r", "\r\n") }
	for _, c := range []struct {
		name  string
		file  string
		want  []string
		check string // what is wrong with the batch
	}{
		{"nothing", "", nil, ""},
		{"white space", "\r\n \x00", nil, ""},
		{"one", one, []string{one}, ""},
		{"one, as it came", "\xef\xbb\xbf\r\n" + one + "\r\n\r\n", []string{"\xef\xbb\xbf\r\n" + one + "\r\n\r\n"}, ""},
		{"one with CRLF", crlf(one), []string{crlf(one)}, ""},
		{"two", one + two, []string{one, two}, ""},
		{"two with LF", lf(one + two), []string{lf(one), lf(two)}, ""},
		{"two with CRLF", crlf(one + two), []string{crlf(one), crlf(two)}, ""},
		{"blank lines between", one + "\r\r" + two, []string{one + "\r\r", two}, ""},
		{"an MLLP frame", "\v" + one + "\x1c\r", []string{one}, ""},
		{"MLLP frames", "\v" + one + "\x1c\r\v" + two + "\x1c\r", []string{one, two}, ""},
		{"MLLP frames and lines between", "\v" + one + "\x1c\r\n\v" + two + "\x1c\r\n", []string{one, two}, ""},
		{"a frame without its end", "\v" + one, []string{one}, ""},
		{"a batch", "FHS|^~\\&\rBHS|^~\\&\r" + one + two + "BTS|2\rFTS|1\r", []string{one, two}, ""},
		{"a batch of none", "FHS|^~\\&\rBHS|^~\\&\rBTS|0\rFTS|1\r", nil, ""},
		{"a batch of one", "BHS|^~\\&\r" + one + "BTS|1\r", []string{one}, ""},
		{"a batch that lost one", "BHS|^~\\&\r" + one + "BTS|2\r", []string{one}, "BTS-1 says 2 messages, found 1"},
		{"a file that lost a batch", "FHS|^~\\&\rBHS|^~\\&\r" + one + "BTS|1\rFTS|2\r", []string{one}, "FTS-1 says 2 batches, found 1"},
		{"a batch cut off", "FHS|^~\\&\rBHS|^~\\&\r" + one, []string{one}, "without BTS"},
		{"a bad one between", one + "MSH|\r" + two, []string{one, "MSH|\r", two}, ""},
		{"what is no message", "hello\r" + one, []string{"hello\r", one}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, content := parts(t, c.file, 1<<20)
			var got []string
			for i, p := range all {
				got = append(got, string(p.body))
				if p.last != (i == len(all)-1) || p.long {
					t.Errorf("part %d: last %v, long %v", i, p.last, p.long)
				}
			}
			if strings.Join(got, "|||") != strings.Join(c.want, "|||") {
				t.Errorf("got %q, want %q", got, c.want)
			}
			err := content.check()
			if (err != nil) != (c.check != "") || err != nil && !strings.Contains(err.Error(), c.check) {
				t.Errorf("check says %v, want %q", err, c.check)
			}
		})
	}
}

// A part that is too long does not hide the ones around it, and its place in
// the file is known to the byte.
func TestContentTooLong(t *testing.T) {
	one, two := string(feedtest.ADT("1")), string(feedtest.ADT("2"))
	long := string(feedtest.ADT("long")) + strings.Repeat("x", 5000) + "\r"
	file := one + long + two
	all, _ := parts(t, file, 2000)
	if len(all) != 3 || !all[1].long || all[0].long || all[2].long {
		t.Fatalf("got %d parts", len(all))
	}
	if got := file[all[1].offset:all[1].end]; got != long {
		t.Errorf("the long one is at %d to %d", all[1].offset, all[1].end)
	}
	if all, _ := parts(t, strings.Repeat("x", 5000), 2000); len(all) != 1 || !all[0].long {
		t.Error("what is no message and too long is not said to be long")
	}
}

// FuzzContent: whatever a file is, reading ends, in order, within bounds, and
// nothing but framing, batch headers and white space is left out.
func FuzzContent(f *testing.F) {
	one, two := string(feedtest.ADT("1")), string(feedtest.ADT("2"))
	for _, s := range []string{"", one, one + two, "\v" + one + "\x1c\r\v" + two + "\x1c\r", "FHS|^~\\&\rBHS|^~\\&\r" + one + "BTS|1\rFTS|1\r",
		"hello\n" + one, "\xef\xbb\xbf" + one, "\x1c\x1c", "MSH|^~\\&\n\nMSH", one + "\x00\x00" + two} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		const max = 600
		all, c := parts(t, string(file), max)
		at := int64(0)
		for i, p := range all {
			whole := len(all) == 1 && bytes.Equal(p.body, file)
			switch {
			case p.offset < at || p.end < p.offset || p.end > int64(len(file)):
				t.Fatalf("part %d is at %d to %d, the one before ended at %d of %d", i, p.offset, p.end, at, len(file))
			case len(p.body) > max:
				t.Fatalf("part %d has %d bytes", i, len(p.body))
			case !p.long && !whole && !bytes.HasPrefix(file[p.offset:], p.body):
				t.Fatalf("part %d is not what the file has at %d", i, p.offset)
			case p.last != (i == len(all)-1):
				t.Fatalf("part %d of %d: last is %v", i, len(all), p.last)
			}
			at = p.end
		}
		if c.read != int64(len(file)) {
			t.Fatalf("read %d of %d bytes", c.read, len(file))
		}
	})
}
