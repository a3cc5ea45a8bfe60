// Package interleave measures rates beside their floors: what is measured and
// what the machine can do at most take turns, in slices short enough that both
// meet the same machine, whose speed is not the same from one minute to the next.
package interleave

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	slice  = 500 * time.Millisecond
	rounds = 12
)

// Side is one of what is compared. Do is called by many at the same time, each
// with a number of its own below the number of callers.
type Side struct {
	Name  string
	Do    func(caller int) error
	Count int // how many one Do is; 0 is 1
}

// Run has each side done by so many callers in turn, twelve slices of half a
// second each, and reports of own the median rate as unit a second, with the
// median and the 99th percentile of how long one takes. Of each floor it reports
// the median rate as unit:NAME, and as unit:NAME:low and unit:NAME:high the
// quartiles of the ratio of both rates in one round. A benchmark is its own
// repetition: run again, as -count asks for, it is skipped.
func Run(b *testing.B, callers int, unit string, own Side, floors ...Side) {
	if _, again := measured.LoadOrStore(b.Name(), true); again {
		b.Skip("measured already: its slices are its repetitions")
	}
	sides := append([]Side{own}, floors...)
	rates := make([][]float64, len(sides))
	var took []time.Duration
	for round := range rounds + 1 {
		for i, s := range sides {
			rate, times, err := during(slice, callers, s.Do)
			if err != nil {
				b.Fatalf("%s: %v", s.Name, err)
			}
			if round == 0 {
				continue // warming up
			}
			rates[i] = append(rates[i], rate*float64(max(1, s.Count)))
			if i == 0 {
				took = append(took, times...)
			}
		}
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op") // says nothing, and is left out for that
	b.ReportMetric(at(rates[0], 0.5), unit)
	b.ReportMetric(at(took, 0.5).Seconds()*1e6, "p50-µs")
	b.ReportMetric(at(took, 0.99).Seconds()*1e6, "p99-µs")
	for i, s := range sides[1:] {
		ratios := make([]float64, rounds)
		for round := range ratios {
			ratios[round] = rates[0][round] / rates[i+1][round]
		}
		b.ReportMetric(at(rates[i+1], 0.5), fmt.Sprintf("%s:%s", unit, s.Name))
		b.ReportMetric(at(ratios, 0.25), fmt.Sprintf("%s:%s:low", unit, s.Name))
		b.ReportMetric(at(ratios, 0.75), fmt.Sprintf("%s:%s:high", unit, s.Name))
	}
}

var measured sync.Map // names of benchmarks

// at gives the value below which a share of them lies.
func at[T float64 | time.Duration](values []T, share float64) T {
	values = slices.Sorted(slices.Values(values))
	return values[int(share*float64(len(values)-1))]
}

// during gives how often a second do was done, and how long each took.
func during(d time.Duration, callers int, do func(caller int) error) (rate float64, took []time.Duration, err error) {
	var wait sync.WaitGroup
	var failed atomic.Pointer[error]
	times := make([][]time.Duration, callers)
	begun := time.Now()
	for caller := range callers {
		wait.Go(func() {
			for now := time.Now(); now.Sub(begun) < d && failed.Load() == nil; {
				if err := do(caller); err != nil {
					failed.Store(&err)
					return
				}
				ended := time.Now()
				times[caller] = append(times[caller], ended.Sub(now))
				now = ended
			}
		})
	}
	wait.Wait()
	elapsed := time.Since(begun)
	if err := failed.Load(); err != nil {
		return 0, nil, *err
	}
	took = slices.Concat(times...)
	return float64(len(took)) / elapsed.Seconds(), took, nil
}
