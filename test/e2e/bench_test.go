package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/cache"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/intake"
	"github.com/safeguard-edge/safeguard/test/interleave"
	"github.com/safeguard-edge/safeguard/test/world"
)

// BenchmarkAgent measures registrations a second as the sender sees them
// acknowledged, by the agent as it is built, while its pipeline asks a centre about
// each and settles it.
func BenchmarkAgent(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			w := newWorld(b)
			own := interleave.Side{Name: "agent", Do: intake.NewSenders(b, w.Feed, connections).Send}
			interleave.Run(b, connections, "msg/s", own, intake.Floors(b)...)
		})
	}
}

// BenchmarkAlert measures the time from sending a registration until its alert is
// in the EPR, at 50 registrations a second of children who all have a plan, whatever
// is not answered yet.
func BenchmarkAlert(b *testing.B) {
	const children, each = 50, 20 // one registration a second of each child
	if alertMeasured {
		b.Skip("measured already")
	}
	alertMeasured = true
	w := newWorld(b)
	people := patients(b, w, children)
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	sent := map[string]time.Time{} // by visit
	var wg sync.WaitGroup
	for n, child := range people {
		wg.Go(func() {
			pas := hospital.NewPAS(w.Feed, w.PAS.Facility)
			defer pas.Close()
			next := time.Now().Add(time.Duration(n) * time.Second / children)
			for i := range each {
				<-time.After(time.Until(next))
				next = next.Add(time.Second)
				visit := fmt.Sprintf("S%dV%d", n, i)
				mu.Lock()
				sent[visit] = time.Now()
				mu.Unlock()
				if _, err := pas.Send(ctx, pas.Message("A04", child, visit, time.Now())); err != nil {
					b.Errorf("register: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	var took []time.Duration
	for from := 0; len(took) < children*each; {
		r, next, err := w.EPR.Wait(ctx, from, func(hospital.Received) bool { return true })
		if err != nil {
			b.Fatalf("%d of %d registrations have an alert: %v", len(took), children*each, err)
		}
		from = next
		if at, first := sent[visitOf(r)]; first {
			took = append(took, r.At.Sub(at))
			delete(sent, visitOf(r))
		}
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(memory(b, w.AgentProcess(), "VmRSS:"), "MB")
}

var alertMeasured, backlogMeasured bool

// BenchmarkIdle measures the memory of an agent that has nothing to do and keeps
// 20,000 answers for an outage.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	if err := w.StopAgent(); err != nil {
		b.Fatal(err)
	}
	fillCache(b, w, 20_000)
	if err := w.StartAgent(b.Context()); err != nil {
		b.Fatal(err)
	}
	<-time.After(30 * time.Second) // memory is what it comes to
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(memory(b, w.AgentProcess(), "VmRSS:"), "MB")
	b.ReportMetric(memory(b, w.AgentProcess(), "RssAnon:"), "MB-of-its-own") // the rest is the program, which the system reads again at need
	b.ReportMetric(memory(b, w.AgentProcess(), "VmHWM:"), "MB-peak")
}

// fillCache keeps so many answers for the agent, which does not run: of each ten one
// with a flag.
func fillCache(b *testing.B, w *world.World, answers int) {
	ring, err := keys.Open(w.Path("agent", "keys"), keys.SystemMaster(w.Path("keys", "agent.key")))
	if err != nil {
		b.Fatal(err)
	}
	policy := cache.DefaultPolicy()
	policy.Agreement = "for a measurement"
	kept, err := cache.Open(w.Path("agent", "cache"), ring, policy)
	if err != nil {
		b.Fatal(err)
	}
	organisation, _ := safeguard.ParseODSCode("RX1")
	site, _ := safeguard.ParseODSCode("RX101")
	now := time.Now()
	for i, n := 0, 0; n < answers; i++ {
		number, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%07d", i))
		if err != nil || number == safeguard.TestPatient {
			continue
		}
		n++
		q := safeguard.Query{Number: number, Born: safeguard.Hide(safeguard.Date{Year: 2015, Month: time.May, Day: 1 + n%28}), Purpose: safeguard.Unscheduled, At: now,
			Author:     safeguard.Author{Device: "agent", Organisation: organisation, Site: site, Setting: safeguard.EmergencyDepartment},
			Attendance: safeguard.NewAttendanceID(organisation, fmt.Sprint(n))}
		a := safeguard.Answer{Status: safeguard.NoneHeld, AsOf: now, Source: safeguard.FromCentre}
		if n%10 == 0 {
			a.Status = safeguard.Held
			a.Flags = []safeguard.Flag{{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2026, Month: time.March, Day: 2},
				Authority: safeguard.Authority{Code: organisation, Name: "Example Council", EmergencyDutyPhone: "01632 960001"}}}
		}
		if err := kept.PutFor(b.Context(), q, a); err != nil {
			b.Fatal(err)
		}
	}
	if got := kept.Stats().Entries; got != answers {
		b.Fatalf("%d answers are kept, want %d", got, answers)
	}
	if err := kept.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBacklog measures an agent that was away while so many registrations
// waited in its journal: how long from its start until its feed accepts, its
// memory, and how fast it works off what waits.
func BenchmarkBacklog(b *testing.B) {
	if backlogMeasured {
		b.Skip("measured already")
	}
	backlogMeasured = true
	w := newWorld(b)
	for _, waiting := range []int{0, 20_000, 200_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			if err := w.StopAgent(); err != nil {
				b.Fatal(err)
			}
			fill(b, w, waiting)
			begun := time.Now()
			if err := w.StartAgent(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms-to-feeds")
			b.ReportMetric(0, "ns/op")
			begun, before := time.Now(), workedOff(b, w)
			<-time.After(15 * time.Second) // a rate is over some time, and memory is what it comes to
			if waiting > 0 {
				b.ReportMetric(float64(workedOff(b, w)-before)/time.Since(begun).Seconds(), "settled/s")
			}
			b.ReportMetric(memory(b, w.AgentProcess(), "VmRSS:"), "MB")
			b.ReportMetric(memory(b, w.AgentProcess(), "VmHWM:"), "MB-peak")
		})
	}
}

// fill lets so many registrations wait in the journal of the agent, which does not run.
func fill(b *testing.B, w *world.World, waiting int) {
	ring, err := keys.Open(w.Path("agent", "keys"), keys.SystemMaster(w.Path("keys", "agent.key")))
	if err != nil {
		b.Fatal(err)
	}
	j, err := journal.Open(w.Path("agent", "journal"), ring)
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	const writers = 400
	for n := range writers {
		wg.Go(func() {
			for range (waiting + n) / writers {
				m := feed.Message{Feed: "pas", Received: time.Now(), Body: intake.Next(), Ack: feed.Ack("MSA|CA|1")}
				if _, err := j.Append(context.Background(), m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

// workedOff is how many entries do not wait, as the agent's own command says.
func workedOff(b *testing.B, w *world.World) int {
	out, err := w.Run(b.Context(), "safeguard-agent", "journal", "stats", "--json", "--config", w.Path("agent.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	var r journal.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Stats == nil {
		b.Fatalf("statistics: %v: %s", err, out)
	}
	return r.Stats.Messages - r.Stats.Waiting
}

// memory is that of the agent's process, in MB.
func memory(b *testing.B, pid int, field string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("no memory figures on this system: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int
		if n, _ := fmt.Sscanf(line, field+" %d kB", &kb); n == 1 {
			return float64(kb) / 1024
		}
	}
	b.Fatalf("no %s in %s", field, status)
	return 0
}
