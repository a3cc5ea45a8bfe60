package journal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// How the measurement is cut: the speed of a disk swings tenfold within minutes,
// so what is compared takes turns in short slices, and medians are compared.
const (
	slice = 500 * time.Millisecond
	turns = 12
)

// BenchmarkAppend measures durable appends a second beside two floors of the
// same minutes: each record written and synced by itself, and a bare log whose
// writers share a write and a sync.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		m := newMeasure(b, writers)
		alone := m.run("append+fdatasync", newAlone(b).append)
		group := m.run("group commit", newBareLog(b, 512).append)
		ours := m.run("safeguard", newAppender(b).append)
		for range turns + 1 {
			m.turn()
		}
		m.print(b, ours, alone, group)
		report := func(name string, c *contender) {
			b.Run(fmt.Sprintf("%s/writers=%d", name, writers), func(b *testing.B) {
				b.ReportMetric(c.median(), "msg/s")
				b.ReportMetric(0, "ns/op")
			})
		}
		report("bare/alone", alone)
		report("safeguard/alone", ours)
		report("bare/group", group)
		report("safeguard/group", ours)
	}
}

// contender is one of those that take turns.
type contender struct {
	name   string
	append func(worker, n int) error
	rates  []float64
	next   []int // by worker: the number of its next record
}

func (c *contender) median() float64 {
	sorted := slices.Sorted(slices.Values(c.rates))
	return sorted[len(sorted)/2]
}

type measure struct {
	b          testing.TB
	writers    int
	turns      int
	contenders []*contender
}

func newMeasure(b testing.TB, writers int) *measure { return &measure{b: b, writers: writers} }

func (m *measure) run(name string, do func(worker, n int) error) *contender {
	c := &contender{name: name, append: do, next: make([]int, m.writers)}
	m.contenders = append(m.contenders, c)
	return c
}

// turn gives each contender one slice. The first turn warms up and is not counted.
func (m *measure) turn() {
	for _, c := range m.contenders {
		var done atomic.Int64
		var wg sync.WaitGroup
		begin := time.Now()
		for w := range m.writers {
			wg.Go(func() {
				for time.Since(begin) < slice {
					if err := c.append(w, c.next[w]); err != nil {
						m.b.Error(err)
						return
					}
					c.next[w]++
					done.Add(1)
				}
			})
		}
		wg.Wait()
		if m.turns > 0 {
			c.rates = append(c.rates, float64(done.Load())/time.Since(begin).Seconds())
		}
	}
	m.turns++
}

func (m *measure) print(b *testing.B, ours *contender, floors ...*contender) {
	for _, c := range m.contenders {
		b.Logf("%d writers, %-16s %6.0f msg/s, %6.0f to %6.0f in %d slices", m.writers, c.name, c.median(), slices.Min(c.rates), slices.Max(c.rates), len(c.rates))
	}
	for _, f := range floors {
		b.Logf("%d writers, %.2f of %s", m.writers, ours.median()/f.median(), f.name)
	}
}

// bareLog is a file that records are appended to, and nothing else.
type bareLog struct {
	file  *os.File
	steps chan bareRecord
}

type bareRecord struct {
	body []byte
	done chan error
}

// newBareLog has one goroutine that writes and syncs what group takes together.
func newBareLog(b testing.TB, group int) *bareLog {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare.log"))
	if err != nil {
		b.Fatal(err)
	}
	l := &bareLog{file: f, steps: make(chan bareRecord, group)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(group)
	}()
	b.Cleanup(func() {
		close(l.steps)
		<-ended
		_ = f.Close()
	})
	return l
}

func (l *bareLog) run(most int) {
	var buffer []byte
	var group []bareRecord
	for r := range l.steps {
		group, buffer = append(group[:0], r), append(buffer[:0], r.body...)
	drain:
		for len(group) < most {
			select {
			case r, ok := <-l.steps:
				if !ok {
					break drain
				}
				group, buffer = append(group, r), append(buffer, r.body...)
			default:
				break drain
			}
		}
		_, err := l.file.Write(buffer)
		if err == nil {
			err = syncData(l.file)
		}
		for _, r := range group {
			r.done <- err
		}
	}
}

func (l *bareLog) append(worker, n int) error {
	r := bareRecord{registration(worker, n), make(chan error, 1)}
	l.steps <- r
	return <-r.done
}

// alone is a file whose records are written and synced one after the other.
type alone struct {
	mu   sync.Mutex
	file *os.File
}

func newAlone(b testing.TB) *alone {
	f, err := os.Create(filepath.Join(b.TempDir(), "alone.log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return &alone{file: f}
}

func (a *alone) append(worker, n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.file.Write(registration(worker, n)); err != nil {
		return err
	}
	return syncData(a.file)
}

// registration is a registration of the size that hospitals send.
func registration(worker, n int) []byte {
	return fmt.Appendf(nil, registrationText, worker, n, worker, n)
}

var registrationText = "MSH|^~\\&|PAS|RX1|SAFEGUARD|RX1|20260314101500||ADT^A04^ADT_A01|B%dN%d|P|2.4|||AL|NE|GBR|8859/1\r" +
	"EVN|A04|20260314101500|||OPERATOR1\r" +
	"PID|1||H100001^^^RX1^MR~9990000344^^^NHS^NH||FERNSBY^TOBIAS^JAMES^^MASTER||20190203|1|||14 MADE UP STREET^^EXAMPLETON^^EX1 2AB||0115 4960000|||S||||||||A|||||||NSTS01\r" +
	"PD1|||EXAMPLE SURGERY^^C81999|G9999999^EXAMPLE^GP\r" +
	"NK1|1|FERNSBY^MARA|MTH^MOTHER|14 MADE UP STREET^^EXAMPLETON^^EX1 2AB|0115 4960000\r" +
	"PV1|1|E|ED^RESUS^1^RX101||||C1234567^EXAMPLE^DOCTOR|||180|||||||||V%dN%d^^^RX1||||||||||||||||||||||||||20260314101500\r" +
	"PV2|||^" + strings.Repeat("FELL FROM A SWING ", 6) + "\r"

type appender struct {
	append func(worker, n int) error
}

func newAppender(b testing.TB) appender {
	j := newBench(b).open(b)
	return appender{func(worker, n int) error {
		body := registration(worker, n)
		_, err := j.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: body, Ack: acknowledgement})
		return err
	}}
}

var acknowledgement = feed.Ack("MSH|^~\\&|SAFEGUARD|RX1|PAS|RX1|20260314101500||ACK^A04^ACK|0123456789|P|2.4\rMSA|AA|B0N0\r")
