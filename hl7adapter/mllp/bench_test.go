package mllp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// BenchmarkListenerThroughput sends messages over so many connections, one in
// flight on each, to a listener whose journal takes everything at once, and to
// a bare listener that answers each frame with the same bytes and reads none of
// it: what the machine can do at most. Compare the two of one run.
func BenchmarkListenerThroughput(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("bare/connections=%d", connections), func(b *testing.B) {
			exchange(b, bareListener(b), connections)
		})
		b.Run(fmt.Sprintf("safeguard/connections=%d", connections), func(b *testing.B) {
			l := listen(b, testConfig(), func(_ context.Context, m feed.Message) (feed.Ack, error) { return m.Ack, nil })
			exchange(b, l.Addr(), connections)
		})
	}
}

// exchange sends b.N messages and reads an answer to each.
func exchange(b *testing.B, addr net.Addr, connections int) {
	message := AppendFrame(nil, a04("BENCH0001"))
	b.SetBytes(int64(len(message)))
	var wg sync.WaitGroup
	turns := make(chan struct{}, 1024)
	for range connections {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		wg.Go(func() {
			buf := make([]byte, 4096)
			for range turns {
				if _, err := conn.Write(message); err != nil {
					b.Error(err)
					return
				}
				for n := 0; n < 2 || buf[n-2] != endBlock; {
					more, err := conn.Read(buf[n:])
					if err != nil {
						b.Error(err)
						return
					}
					n += more
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		turns <- struct{}{}
	}
	close(turns)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// bareListener answers as soon as it has read an end block.
func bareListener(b *testing.B) net.Addr {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	answer := []byte(ack("AA", "BENCH0001"))
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if bytes.IndexByte(buf[:n], endBlock) < 0 {
						continue
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			})
		}
	})
	b.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr()
}

// BenchmarkReader reads frames of a stream in memory.
func BenchmarkReader(b *testing.B) {
	for _, size := range []int{1 << 10, 50 << 10, 16 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			message := AppendFrame(nil, append(a04("1"), bytes.Repeat([]byte("x"), size-400)...))
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			r := NewReader(&repeating{message: message}, 32<<20, nil)
			for b.Loop() {
				if _, err := r.Next(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// repeating is a stream of the same frame without end.
type repeating struct {
	message []byte
	at      int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.message[r.at:])
	r.at = (r.at + n) % len(r.message)
	return n, nil
}

var _ io.Reader = (*repeating)(nil)
