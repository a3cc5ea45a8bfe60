package fleet

import (
	"context"
	"sync"
	"time"
)

// fresh is how old an overview may be: less than the watcher needs to find
// anything.
const fresh = 3 * time.Second

// Overviews makes an overview for all who look at the time. It is made when
// somebody looks, and not more often than keeps it fresh.
type Overviews struct {
	source Source
	mu     sync.Mutex // guards last, and has others wait for the one that is being made
	last   Overview
}

// NewOverviews makes them from the source.
func NewOverviews(source Source) *Overviews { return &Overviews{source: source} }

// Look gives the overview of now. It is everybody's: nobody changes it.
func (o *Overviews) Look(ctx context.Context, now time.Time) (Overview, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if age := now.Sub(o.last.At); age >= 0 && age < fresh {
		return o.last, nil
	}
	seen, err := Look(ctx, o.source, now)
	if err != nil {
		return Overview{}, err
	}
	o.last = seen
	return seen, nil
}

// Forget has the next look see what was just changed.
func (o *Overviews) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = Overview{}
}
