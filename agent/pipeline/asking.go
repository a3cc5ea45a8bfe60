package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// asking is whom the centre is being asked about at the moment. What changes
// meanwhile may be in the answer or not, so it is asked again.
type asking struct {
	mu      sync.Mutex // guards flights
	flights map[*flight]bool
}

// flight is from the asking until what follows is settled.
type flight struct {
	numbers []safeguard.NHSNumber
	changed []safeguard.NHSNumber
	away    bool    // the centre did not answer
	ended   int     // attendances that end unanswered
	begun   []first // attendances that begin
}

func (a *asking) begin(f *flight, n safeguard.NHSNumber) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.flights == nil {
		a.flights = map[*flight]bool{}
	}
	a.flights[f] = true
	f.numbers = append(f.numbers, n)
}

// end tells which of the numbers changed meanwhile.
func (a *asking) end(f *flight) []safeguard.NHSNumber {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.flights, f)
	return f.changed
}

// change notes that the number's flags changed; the zero number stands for all.
func (a *asking) change(n safeguard.NHSNumber) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.flights {
		for _, m := range f.numbers {
			if m == n || n.IsZero() {
				f.changed = append(f.changed, m)
			}
		}
	}
}

// Changed makes the open attendances of the number be asked about again, and
// decided anew: the centre says that its flags changed. What it asks is silent.
// With a nil error it is on disk that they are to be asked about.
func (p *Pipeline) Changed(ctx context.Context, n safeguard.NHSNumber) error {
	p.asking.change(n)
	_, err := p.Journal.Changed(ctx, n)
	return err
}

// Lost has the centre told again what it was told since then: it was restored from
// a backup that is older.
func (p *Pipeline) Lost(ctx context.Context, since time.Time) error {
	return p.Journal.Lost(ctx, since)
}

// Missed is Changed for every open attendance: what changed was not told.
func (p *Pipeline) Missed(ctx context.Context) error {
	p.asking.change(safeguard.NHSNumber{})
	return p.Journal.Missed(ctx)
}
