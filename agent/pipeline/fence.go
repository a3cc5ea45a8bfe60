package pipeline

import (
	"context"
	"sync"
)

// fence keeps in order what concerns the same patient or visit, and lets the
// rest pass. A merge names both identities, and so waits for and holds up both.
type fence struct {
	mu   sync.Mutex // guards last
	last map[string]*turn
}

// turn is one place in the order.
type turn struct {
	fence  *fence
	keys   []string
	before []*turn
	over   chan struct{}
}

// enter takes a place behind all that entered before under any of the keys.
// Whoever enters must wait before it does anything, and leave in the end.
func (f *fence) enter(keys []string) *turn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = map[string]*turn{}
	}
	t := &turn{fence: f, keys: keys, over: make(chan struct{})}
	for _, k := range keys {
		if before := f.last[k]; before != nil && before != t {
			t.before = append(t.before, before)
		}
		f.last[k] = t
	}
	return t
}

// wait returns when all that came before have left, or ctx ends.
func (t *turn) wait(ctx context.Context) error {
	for _, b := range t.before {
		select {
		case <-b.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.before = nil
	return ctx.Err()
}

func (t *turn) leave() {
	t.fence.mu.Lock()
	defer t.fence.mu.Unlock()
	for _, k := range t.keys {
		if t.fence.last[k] == t {
			delete(t.fence.last, k)
		}
	}
	close(t.over)
}
