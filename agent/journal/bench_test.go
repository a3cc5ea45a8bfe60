package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
)

// How the measurement is cut: the speed of a disk swings tenfold within minutes,
// so what is compared takes turns in short slices, and medians are compared.
const (
	slice = 500 * time.Millisecond
	turns = 12
)

// BenchmarkIntake measures registrations a second from the sender's frame to the
// acknowledgement it reads, with the listener and the journal between, beside two
// floors of the same minutes, which are written to without a listener: each record
// written and synced by itself, and a bare log whose writers share a write and a
// sync. BenchmarkIntake/direct leaves the listener out.
func BenchmarkIntake(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		m := measure{b: b, workers: connections}
		alone := m.run("append+fdatasync", newAlone(b).append)
		group := m.run("group commit", newBareLog(b, 512).append)
		direct := m.run("journal", newDirect(b).append)
		ours := m.run("MLLP and journal", newSenders(b, connections).send)
		for range turns + 1 {
			m.turn()
		}
		m.print()
		report := func(name string, c *contender) {
			b.Run(fmt.Sprintf("%s/connections=%d", name, connections), func(b *testing.B) {
				b.ReportMetric(c.rate(), "msg/s")
				b.ReportMetric(c.quantile(0.50), "p50-ms")
				b.ReportMetric(c.quantile(0.99), "p99-ms")
				b.ReportMetric(0, "ns/op")
			})
		}
		report("bare/alone", alone)
		report("safeguard/alone", ours)
		report("bare/group", group)
		report("safeguard/group", ours)
		report("direct/bare/group", group)
		report("direct/safeguard/group", direct)
	}
}

// contender is one of those that take turns.
type contender struct {
	name  string
	do    func(worker, n int) error
	next  []int             // by worker: the number of its next message
	took  [][]time.Duration // by worker
	rates []float64         // by turn
}

func (c *contender) rate() float64 { return median(c.rates) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// quantile is in milliseconds.
func (c *contender) quantile(q float64) float64 {
	all := slices.Sorted(slices.Values(slices.Concat(c.took...)))
	return all[int(q*float64(len(all)-1))].Seconds() * 1000
}

type measure struct {
	b          testing.TB
	workers    int
	turns      int
	contenders []*contender
}

func (m *measure) run(name string, do func(worker, n int) error) *contender {
	c := &contender{name: name, do: do, next: make([]int, m.workers), took: make([][]time.Duration, m.workers)}
	m.contenders = append(m.contenders, c)
	return c
}

// turn gives each contender one slice. The first turn warms up and is not counted.
func (m *measure) turn() {
	for _, c := range m.contenders {
		var done atomic.Int64
		var wg sync.WaitGroup
		begin := time.Now()
		for w := range m.workers {
			wg.Go(func() {
				for now := time.Now(); now.Sub(begin) < slice; {
					if err := c.do(w, c.next[w]); err != nil {
						m.b.Error(err)
						return
					}
					c.next[w]++
					done.Add(1)
					before := now
					now = time.Now()
					if m.turns > 0 {
						c.took[w] = append(c.took[w], now.Sub(before))
					}
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

// print says how far the slices were apart, which the medians do not tell.
func (m *measure) print() {
	floors, ours := m.contenders[:2], m.contenders[2:]
	for _, c := range m.contenders {
		m.b.Logf("%2d at once, %-16s %6.0f msg/s (%6.0f to %6.0f in %d slices), p50 %.2f ms, p99 %.2f ms", m.workers, c.name,
			c.rate(), slices.Min(c.rates), slices.Max(c.rates), len(c.rates), c.quantile(0.50), c.quantile(0.99))
	}
	for _, c := range ours {
		for _, f := range floors {
			ratios := make([]float64, len(c.rates))
			for i := range ratios {
				ratios[i] = c.rates[i] / f.rates[i]
			}
			m.b.Logf("%2d at once, %-16s %.2f of %s (%.2f to %.2f turn by turn)", m.workers, c.name, c.rate()/f.rate(), f.name, slices.Min(ratios), slices.Max(ratios))
		}
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

// direct appends without a listener.
type direct struct{ *journal.Journal }

func newDirect(b testing.TB) direct { return direct{newBench(b).open(b)} }

func (d direct) append(worker, n int) error {
	_, err := d.Append(context.Background(), feed.Message{Feed: "pas", Received: time.Now(), Body: registration(worker, n), Ack: acknowledgement})
	return err
}

// senders keep a connection each to a listener that accepts into a journal.
type senders []*sender

type sender struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func newSenders(b testing.TB, connections int) senders {
	j := newBench(b).open(b)
	config := mllp.DefaultConfig()
	config.Name, config.Address = "pas", "127.0.0.1:0"
	l, err := mllp.Listen(config, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, j.Append) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	all := make(senders, connections)
	for i := range all {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		all[i] = &sender{conn: conn, in: bufio.NewReader(conn)}
	}
	return all
}

// send sends a registration, and waits for its acknowledgement.
func (s senders) send(worker, n int) error {
	const endBlock = 0x1c
	c := s[worker]
	c.out = mllp.AppendFrame(c.out[:0], registration(worker, n))
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	answer, err := c.in.ReadSlice(endBlock)
	if err != nil {
		return err
	}
	if !bytes.Contains(answer, []byte("\rMSA|CA|")) {
		return fmt.Errorf("answered %q", answer)
	}
	_, err = c.in.Discard(1)
	return err
}

var acknowledgement = feed.Ack("MSH|^~\\&|SAFEGUARD|RX1|PAS|RX1|20260314101500||ACK^A04^ACK|0123456789|P|2.4\rMSA|AA|B0N0\r")
