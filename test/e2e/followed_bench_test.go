package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// BenchmarkFollowed measures the centre, as it is built, with 1,300 agents that
// follow its changes, each with a certificate and a connection of its own: what the
// centre needs in memory for each, and how long one change takes to reach all of them
// when every site has asked about that child. On PostgreSQL it runs two processes with
// half of the agents each, and sets the lookups a second that both answer against
// those that one does, in turn.
func BenchmarkFollowed(b *testing.B) {
	const agents = 1300
	b.Run(fmt.Sprintf("embedded/agents=%d", agents), func(b *testing.B) {
		w, err := world.New(b.Context(), b.TempDir(), programs)
		b.Cleanup(func() { finish(b, w) })
		if err != nil {
			b.Fatal(err)
		}
		f := &followed{World: w}
		f.admit(b, agents)
		if err := w.StartCentral(b.Context()); err != nil {
			b.Fatal(err)
		}
		f.measure(b, []string{w.Central}, w.CentralProcess())
	})
	b.Run(fmt.Sprintf("postgres/processes=2/agents=%d", agents), func(b *testing.B) {
		db, err := storetest.StartPostgres(true)
		if errors.Is(err, storetest.ErrNoPostgres) {
			b.Skip(err)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = db.Stop() })
		dsn, err := db.Empty(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		w, err := world.New(b.Context(), b.TempDir(), programs)
		b.Cleanup(func() { finish(b, w) })
		if err != nil {
			b.Fatal(err)
		}
		f := &followed{World: w}
		f.admit(b, agents)
		if err := w.Share(b.Context(), dsn); err != nil {
			b.Fatal(err)
		}
		for _, start := range []func(context.Context) error{w.StartCentral, w.StartSecond} {
			if err := start(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		f.measure(b, []string{w.Central, w.Second}, w.CentralProcess(), w.SecondProcess())
		one, two := f.throughput(b, w.Central), f.throughput(b, w.Central, w.Second)
		one, two = one+f.throughput(b, w.Central), two+f.throughput(b, w.Central, w.Second)
		b.ReportMetric(one/2, "lookups/s-by-one")
		b.ReportMetric(two/2, "lookups/s-by-two")
		b.ReportMetric(two/one, "two/one")
	})
}

// followed is a centre with agents that follow it.
type followed struct {
	*world.World
	codes   []safeguard.ODSCode
	clients []*client.Client
	heard   chan time.Time // a change, by each agent
}

// admit has so many sites and their agents take part.
func (f *followed) admit(b *testing.B, agents int) {
	b.Helper()
	var sites strings.Builder
	for i := range agents {
		code, err := safeguard.ParseODSCode(fleetCode(i))
		if err != nil {
			b.Fatal(err)
		}
		f.codes = append(f.codes, code)
		fmt.Fprintf(&sites, "  - {organisation: %s, site: %s, name: Hospital %d, care_settings: [emergency-department]}\n", code, code, i)
	}
	text, err := os.ReadFile(f.Path("central.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	text = bytes.Replace(text, []byte("sites:\n"), []byte("sites:\n"+sites.String()), 1)
	if err := os.WriteFile(f.Path("central.yaml"), text, 0o600); err != nil {
		b.Fatal(err)
	}
	if _, err := identity.WriteDevelopment(f.Path("certificates"), identity.Development{Agents: f.codes}); err != nil {
		b.Fatal(err)
	}
}

func (f *followed) dial(b *testing.B, address, name string, kind identity.Kind) *client.Client {
	b.Helper()
	path := f.Path("certificates", name)
	config, err := identity.ClientTLS(identity.Files{Certificate: path + ".pem", Key: path + "-key.pem", CA: f.Path("certificates", "ca.pem")}, kind)
	if err != nil {
		b.Fatal(err)
	}
	c, err := client.Dial(address, config, client.Deadline(30*time.Second))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func (f *followed) query(i int, visit string) safeguard.Query {
	number, _ := safeguard.ParseNHSNumber(hospital.NoFlag.Number)
	code := f.codes[i]
	return safeguard.Query{
		Number: number, Purpose: safeguard.Scheduled, Attendance: safeguard.NewAttendanceID(code, visit), At: time.Now(),
		Author: safeguard.Author{Device: "bench", Organisation: code, Site: code, Setting: safeguard.EmergencyDepartment, Accountable: safeguard.Accountable{Name: "Dr Imogen Hale", Role: "Named doctor"}},
	}
}

// measure connects the agents, the addresses in turn, and has a flag come and go.
func (f *followed) measure(b *testing.B, addresses []string, processes ...int) {
	b.Helper()
	resident := func() (mb float64) {
		for _, pid := range processes {
			mb += memory(b, pid, "VmRSS:")
		}
		return mb
	}
	before := resident()
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		following.Wait()
	})
	f.heard = make(chan time.Time, 4*len(f.codes))
	joined := make(chan struct{}, 4*len(f.codes))
	for i, code := range f.codes {
		c := f.dial(b, addresses[i%len(addresses)], "agent-"+code.String(), identity.Agent)
		f.clients = append(f.clients, c)
		following.Go(func() {
			for resume := ""; ctx.Err() == nil; {
				for change, err := range c.Changes(ctx, []safeguard.ODSCode{code}, resume) {
					if err != nil {
						break
					}
					if change.Resume != "" {
						resume = change.Resume
					}
					if !change.Number.IsZero() {
						f.heard <- time.Now()
					} else if change.Missed {
						joined <- struct{}{}
					}
				}
			}
		})
		if _, err := c.Lookup(b.Context(), f.query(i, "asked")); err != nil {
			b.Fatal(err)
		}
	}
	patience := time.After(3 * time.Minute)
	for range f.codes {
		select {
		case <-joined:
		case <-patience:
			b.Fatal("not every agent follows")
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric((resident()-before)*1024/float64(len(f.codes)), "KB/agent")
	authority := f.dial(b, addresses[0], "authority-906", identity.Authority)
	number, err := safeguard.ParseNHSNumber(hospital.NoFlag.Number)
	if err != nil {
		b.Fatal(err)
	}
	var firsts, lasts []time.Duration
	for round := range 6 {
		row := client.Row{NHSNumber: number.Reveal(), DateOfBirth: hospital.NoFlag.Born.Format(time.DateOnly), Plan: "CPP", Start: time.Now().AddDate(0, -1, 0).Format(time.DateOnly)}
		if round%2 == 1 {
			row.Delete = time.Now().Format(time.DateOnly)
		}
		begun := time.Now()
		report, err := authority.Upload(b.Context(), client.Upload{}, func(yield func(client.Row, error) bool) { yield(row, nil) })
		if err != nil || report.Loaded != 1 {
			b.Fatalf("upload: %+v, %v", report, err)
		}
		var first, last time.Time
		for n := range f.codes {
			select {
			case last = <-f.heard:
			case <-time.After(time.Minute):
				b.Fatalf("%d of %d agents heard of the change", n, len(f.codes))
			}
			if n == 0 {
				first = last
			}
		}
		firsts, lasts = append(firsts, first.Sub(begun)), append(lasts, last.Sub(begun))
	}
	b.ReportMetric(milliseconds(firsts), "ms-to-first")
	b.ReportMetric(milliseconds(lasts), "ms-to-all")
}

// milliseconds is the median.
func milliseconds(list []time.Duration) float64 {
	list = slices.Sorted(slices.Values(list))
	return float64(list[len(list)/2].Microseconds()) / 1000
}

// throughput is how many lookups a second are answered at the addresses, asked by 32
// callers for some seconds.
func (f *followed) throughput(b *testing.B, addresses ...string) float64 {
	b.Helper()
	const callers = 32
	ctx, cancel := context.WithTimeout(b.Context(), 4*time.Second)
	defer cancel()
	var all sync.WaitGroup
	var done atomic.Int64
	for i := range callers {
		c := f.dial(b, addresses[i%len(addresses)], "agent-"+f.codes[i].String(), identity.Agent)
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := c.Lookup(context.WithoutCancel(ctx), f.query(i, fmt.Sprint("visit ", n))); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	begun := time.Now()
	all.Wait()
	return float64(done.Load()) / time.Since(begun).Seconds()
}
