package conformance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// watched is a store that sees what a system does, and fails when it is told to.
type watched struct {
	store.Store

	mu         sync.Mutex // guards the fields below
	uploads    []sent
	given      map[string]bool // ids of notifications that the system got
	acked      []string
	strange    []string // ids that it acknowledged and never got
	empty      int      // pulls that got nothing
	loseReport bool     // of the next upload
	loseAck    bool     // the next one
	acksLost   int
}

// sent is an upload that reached the store.
type sent struct {
	kept    store.Kept
	changes []store.Change
	err     error
}

var errLost = errors.New("lost on purpose, to see what the system does")

func (w *watched) Apply(ctx context.Context, u store.Upload) (store.Kept, error) {
	var changes []store.Change
	all := u.Changes
	u.Changes = func(yield func(store.Change) bool) {
		changes = changes[:0] // of the last time that it was read
		for c := range all {
			changes = append(changes, c)
			if !yield(c) {
				return
			}
		}
	}
	kept, err := w.Store.Apply(ctx, u)
	w.mu.Lock()
	defer w.mu.Unlock()
	if kept.Sequence == 0 {
		kept.Sequence = u.Sequence
	}
	w.uploads = append(w.uploads, sent{kept, slices.Clone(changes), err})
	if err == nil && w.loseReport {
		w.loseReport = false
		return store.Kept{}, errLost
	}
	return kept, err
}

func (w *watched) Waiting(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]store.Waiting, error) {
	list, err := w.Store.Waiting(ctx, authority, after, limit)
	nothing := err == nil && len(list) == 0
	if nothing && after > 0 {
		// The end of what a pull gave, or truly nothing.
		var before []store.Waiting
		before, err = w.Store.Waiting(ctx, authority, 0, 1)
		nothing = len(before) == 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range list {
		w.given[n.Notification.ID] = true
	}
	if nothing {
		w.empty++
	}
	return list, err
}

func (w *watched) Acknowledge(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error) {
	w.mu.Lock()
	if w.loseAck && len(ids) > 0 {
		w.loseAck = false
		w.acksLost++
		w.mu.Unlock()
		return 0, errLost
	}
	for _, id := range ids {
		if !w.given[id] {
			w.strange = append(w.strange, id)
		}
	}
	w.mu.Unlock()
	found, err := w.Store.Acknowledge(ctx, authority, ids, by, at)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.acked = append(w.acked, ids...)
	}
	return found, err
}

// since gives the uploads that came after the first n.
func (w *watched) since(n int) []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.uploads[n:])
}
