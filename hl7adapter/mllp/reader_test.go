package mllp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// heard is what a reader made of a stream, in order.
type heard struct {
	Frames []Frame
	Errors []feed.FramingError
	End    error
}

func hear(src io.Reader, max int) heard {
	var h heard
	r := NewReader(src, max, func(e feed.FramingError) { h.Errors = append(h.Errors, e) })
	for {
		f, err := r.Next(context.Background())
		if err != nil {
			h.End = err
			return h
		}
		h.Frames = append(h.Frames, f)
	}
}

func (h heard) String() string {
	var b strings.Builder
	for _, f := range h.Frames {
		fmt.Fprintf(&b, "%q", f.Body[:min(len(f.Body), 80)])
		if f.Long {
			b.WriteString(" long")
		}
		if f.Commit != 0 {
			fmt.Fprintf(&b, " commit %#x", f.Commit)
		}
		b.WriteString("; ")
	}
	for _, e := range h.Errors {
		b.WriteString(e.String() + "; ")
	}
	if h.End != io.EOF {
		b.WriteString(h.End.Error() + "; ")
	}
	return strings.TrimSuffix(b.String(), "; ")
}

var framings = []struct{ name, stream, want string }{
	{"one frame", "\vMSH|a\r\x1c\r", `"MSH|a\r"`},
	{"two frames", "\vMSH|a\r\x1c\r\vMSH|b\r\x1c\r", `"MSH|a\r"; "MSH|b\r"`},
	{"nothing", "", ``},
	{"filler between frames", "\r\n\x00 \t\vMSH|a\r\x1c\r\n\x00\x00\r\n\vMSH|b\r\x1c\r\n", `"MSH|a\r"; "MSH|b\r"`},
	{"noise before", "hello\vMSH|a\r\x1c\r", `"MSH|a\r"; noise`},
	{"noise between", "\vMSH|a\r\x1c\rhello\vMSH|b\r\x1c\r", `"MSH|a\r"; "MSH|b\r"; noise`},
	{"noise only", "hello", `noise`},
	{"no CR at the end of the message", "\vMSH|a\x1c\r\vMSH|b\x1c\r", `"MSH|a"; "MSH|b"`},
	{"no CR behind FS", "\vMSH|a\r\x1c\vMSH|b\r\x1c", `"MSH|a\r"; "MSH|b\r"`},
	{"no CR at all", "\vMSH|a\x1c\vMSH|b\x1c", `"MSH|a"; "MSH|b"`},
	{"LF behind FS", "\vMSH|a\x1c\n\vMSH|b\x1c\r\n", `"MSH|a"; "MSH|b"`},
	{"NUL behind FS", "\vMSH|a\x1c\x00\vMSH|b\r\x1c\r", `"MSH|a"; "MSH|b\r"`},
	{"LF ends the message", "\vMSH|a\n\x1c\r", `"MSH|a\n"`},
	{"FS in a field", "\vMSH|a\x1cb\r\x1c\r", `"MSH|a\x1cb\r"`},
	{"VT in a field", "\vMSH|a\vb\r\x1c\r", `"MSH|a\vb\r"`},
	{"VT at the end", "\vMSH|a\r\v", `missing-end; ended inside a frame`},
	{"two start blocks", "\v\vMSH|a\r\x1c\r", `"MSH|a\r"; double-start`},
	{"two end blocks", "\vMSH|a\r\x1c\r\x1c\r\vMSH|b\r\x1c\r", `"MSH|a\r"; "MSH|b\r"; noise`},
	{"a frame in a frame", "\v\vMSH|a\r\x1c\r\x1c\r", `"MSH|a\r"; double-start; noise`},
	{"a frame given up", "\vMSH|a\rPID|\vMSH|b\r\x1c\r", `"MSH|b\r"; missing-end`},
	{"the end inside a frame", "\vMSH|a\r\x1c\r\vMSH|b\r", `"MSH|a\r"; missing-end; ended inside a frame`},
	{"the end right after VT", "\v", `missing-end; ended inside a frame`},
	{"no start block", "MSH|a\r\x1c\r\vMSH|b\r\x1c\r", `"MSH|b\r"; missing-start`},
	{"an empty frame", "\v\x1c\r\vMSH|a\r\x1c\r", `""; "MSH|a\r"`},
	{"commit blocks", "\v\x06\x1c\r\v\x15\x1c\r", `"\x06" commit 0x6; "\x15" commit 0x15`},
	{"over the limit", "\vMSH|" + strings.Repeat("x", 1000) + "\x1c\r\vMSH|a\r\x1c\r", `"MSH|` + strings.Repeat("x", 76) + `" long; "MSH|a\r"`},
	{"given up over the limit", "\vMSH|" + strings.Repeat("x", 1000) + "\vMSH|a\r\x1c\r", `"MSH|a\r"; missing-end`},
	{"not HL7", "\vhello\x1c\r", `"hello"`},
}

func TestReader(t *testing.T) {
	for _, c := range framings {
		t.Run(c.name, func(t *testing.T) {
			if got := hear(strings.NewReader(c.stream), 500).String(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Where a stream is split makes no difference, whichever byte it is.
func TestReaderSplitAtEachByte(t *testing.T) {
	for _, c := range framings {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.stream {
				src := io.MultiReader(strings.NewReader(c.stream[:i]), strings.NewReader(c.stream[i:]))
				if got := hear(src, 500).String(); got != c.want {
					t.Fatalf("split at %d: got %s, want %s", i, got, c.want)
				}
			}
			if got := hear(iotest.OneByteReader(strings.NewReader(c.stream)), 500).String(); got != c.want {
				t.Errorf("byte by byte: got %s, want %s", got, c.want)
			}
			if got := hear(iotest.DataErrReader(strings.NewReader(c.stream)), 500).String(); got != c.want {
				t.Errorf("last byte with the end: got %s, want %s", got, c.want)
			}
		})
	}
}

// What is written in frames is read back, whatever filler stands between.
func TestReaderReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bodies := rapid.SliceOf(rapid.Custom(func(t *rapid.T) []byte {
			return slices.Concat([]byte("MSH|"), rapid.SliceOf(rapid.Byte().Filter(func(b byte) bool {
				return b != startBlock && b != endBlock
			})).Draw(t, "body"))
		})).Draw(t, "bodies")
		filler := rapid.StringMatching(`[\r\n\x00 ]*`)
		var stream []byte
		for _, b := range bodies {
			stream = append(stream, filler.Draw(t, "filler")...)
			stream = AppendFrame(stream, b)
		}
		got := hear(splits(stream, rapid.Uint64().Draw(t, "seed")), 1<<20)
		if len(got.Errors) > 0 || got.End != io.EOF || len(got.Frames) != len(bodies) {
			t.Fatalf("got %v, want %d frames", got, len(bodies))
		}
		for i, f := range got.Frames {
			if !bytes.Equal(f.Body, bodies[i]) {
				t.Fatalf("frame %d: got %q, want %q", i, f.Body, bodies[i])
			}
		}
	})
}

// splits returns a reader of stream in pieces of chance.
func splits(stream []byte, seed uint64) io.Reader {
	return &splitter{stream, rand.New(rand.NewPCG(seed, seed))}
}

type splitter struct {
	rest []byte
	rand *rand.Rand
}

func (s *splitter) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+s.rand.IntN(20))], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// FuzzReader: whatever the stream and however it is split, the reader finds the
// same frames and errors, no more bytes than there were, and comes to an end.
func FuzzReader(f *testing.F) {
	for _, c := range framings {
		f.Add([]byte(c.stream), uint64(1))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole := hear(bytes.NewReader(stream), 500)
		size := 0
		for _, fr := range whole.Frames {
			size += len(fr.Body) + 2 // a start and an end block each
			if len(fr.Body) > 500 && !fr.Long {
				t.Fatalf("%d bytes, over the limit", len(fr.Body))
			}
		}
		if size > len(stream) {
			t.Fatalf("%d bytes in frames from %d", size, len(stream))
		}
		if split := hear(splits(stream, seed), 500); split.String() != whole.String() {
			t.Fatalf("split: %v, whole: %v", split, whole)
		}
	})
}

// What is searched grows with the bytes, not with their square, whatever they are.
func TestReaderIsLinear(t *testing.T) {
	for name, unit := range map[string]string{
		"text": "x", "start blocks": "\v", "end blocks": "\x1cx", "both": "\v\x1cx", "nearly a new frame": "\vMS",
	} {
		t.Run(name, func(t *testing.T) {
			stream := "\vMSH|" + strings.Repeat(unit, (500<<10)/len(unit)) + "\r\x1c\r"
			r := NewReader(strings.NewReader(stream), 64<<20, nil)
			if f, err := r.Next(t.Context()); err != nil || len(f.Body) != len(stream)-3 {
				t.Fatalf("got %d bytes, %v, want %d", len(f.Body), err, len(stream)-3)
			}
			if r.searched > 2*len(stream) {
				t.Errorf("searched %d bytes of %d, want each twice at most", r.searched, len(stream))
			}
		})
	}
}

// Of a message over the limit only the beginning is held.
func TestReaderKeepsLittleOfLongMessages(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("\vMSH|"), io.LimitReader(xs{}, 64<<20), strings.NewReader("\r\x1c\r"))
	h := hear(endless, 2<<20)
	if len(h.Frames) != 1 || !h.Frames[0].Long || cap(h.Frames[0].Body) > 2*keptOfLong {
		t.Errorf("got %v, %d bytes held", h, cap(h.Frames[0].Body))
	}
}

type xs struct{}

func (xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// Large messages take turns.
func TestReaderWaitsForItsTurnWithLargeMessages(t *testing.T) {
	l := limits{frame: 4 << 20, large: make(chan struct{}, 1)}
	stream := "\vMSH|" + strings.Repeat("x", 2<<20) + "\r\x1c\r"
	first := newReader(strings.NewReader(stream), l, nil, nil)
	if _, err := first.Next(context.Background()); err != nil {
		t.Fatal(err)
	}
	second := newReader(strings.NewReader(stream), l, nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { _, err := second.Next(ctx); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v while another large message is held", err)
	}
	patient := l
	patient.frameTimeout = time.Millisecond
	late := newReader(strings.NewReader(stream), patient, nil, nil)
	if _, err := late.Next(context.Background()); err != ErrUnended {
		t.Fatalf("got %v when no place came free, want %v", err, ErrUnended)
	}
	if _, err := first.Next(context.Background()); err != io.EOF {
		t.Fatalf("got %v, want the end", err)
	}
	third := newReader(strings.NewReader(stream), l, nil, nil)
	if _, err := third.Next(context.Background()); err != nil {
		t.Fatalf("got %v with the place free", err)
	}
}

// Every file of the corpus, framed, comes back as it was; files that are
// frames already are read as such.
func TestReaderOnCorpus(t *testing.T) {
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
		if body[0] == startBlock {
			if h := hear(bytes.NewReader(body), 1<<20); len(h.Frames) != 1 || len(h.Errors) > 0 {
				t.Errorf("%s: got %d frames, errors %v", name, len(h.Frames), h.Errors)
			}
			return nil
		}
		h := hear(bytes.NewReader(AppendFrame(nil, body)), 1<<20)
		if len(h.Frames) != 1 || len(h.Errors) > 0 || !bytes.Equal(h.Frames[0].Body, body) {
			t.Errorf("%s: got %d frames, errors %v", name, len(h.Frames), h.Errors)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
