package mqtt

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"
)

// stream is a connection that was recorded.
type stream struct {
	net.Conn
	from io.Reader
}

func (s stream) Read(b []byte) (int, error)      { return s.from.Read(b) }
func (s stream) SetReadDeadline(time.Time) error { return nil }

// FuzzLimit: however a stream is cut into reads, what comes out is every packet as
// it came, but of a PUBLISH that is too long its first part, under a length of its
// own; or it ends with an error. Never more comes out than went in.
func FuzzLimit(f *testing.F) {
	f.Add([]byte("\x20\x02\x00\x00\x32\x07\x00\x01a\x00\x01hi"), 4)
	f.Add([]byte("\x32\x90\x01"+string(bytes.Repeat([]byte("x"), 144))+"\xd0\x00"), 16)
	f.Add([]byte("\xff\xff\xff\xff\xff"), 1)
	f.Add([]byte("\x40\xff\xff\xff\x7f"), 1)
	f.Fuzz(func(t *testing.T, wire []byte, limit int) {
		limit = 1 + limit&0xfff
		read := func(from io.Reader) ([]byte, error) {
			l := &limited{Conn: stream{from: from}, max: limit, ended: func(error) {}}
			return io.ReadAll(l)
		}
		got, err := read(bytes.NewReader(wire))
		again, err2 := read(iotest.OneByteReader(bytes.NewReader(wire)))
		if !bytes.Equal(got, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("read otherwise byte by byte: %q, %v and %q, %v", got, err, again, err2)
		}
		want, bad := cut(wire, limit)
		if !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if bad != errors.Is(err, errPacket) {
			t.Errorf("got %v, want a refusal: %v", err, bad)
		}
	})
}

// cut says in another way what comes out.
func cut(wire []byte, limit int) (out []byte, bad bool) {
	for len(wire) > 1 {
		size, n := 0, 1
		for {
			if n > 4 {
				return out, true
			}
			if n == len(wire) {
				return out, false
			}
			size += int(wire[n]&0x7f) << (7 * (n - 1))
			n++
			if wire[n-1] < 0x80 {
				break
			}
		}
		publish := wire[0]>>4 == 3
		if !publish && size > longestOther {
			return out, true
		}
		body := wire[n:min(len(wire), n+size)]
		if publish && size > limit {
			out = appendSize(append(out, wire[0]), limit)
			out = append(out, body[:min(len(body), limit)]...)
		} else {
			out = append(append(out, wire[:n]...), body...)
		}
		wire = wire[n+len(body):]
	}
	return out, false
}
