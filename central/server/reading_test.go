package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// queue is an authority's notifications, seen in another order than written.
type queue struct {
	store.Store
	list  []store.Waiting
	reads int
}

func (q *queue) Waiting(_ context.Context, _ safeguard.ODSCode, after int64, limit int) ([]store.Waiting, error) {
	var out []store.Waiting
	for _, w := range q.list {
		if w.Position > after && len(out) < limit {
			out = append(out, w)
		}
	}
	q.reads += len(out)
	return out, nil
}

func waitingAt(position int64) store.Waiting {
	return store.Waiting{Position: position, Notification: safeguard.Notification{Recorded: time.Now()}}
}

// A transaction that began first may end last.
func TestReadingFindsWhatCameBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		r := reading{store: q}
		want := func(positions ...int64) {
			t.Helper()
			got, err := r.next(t.Context(), 100)
			if err != nil || len(got) != len(positions) {
				t.Fatalf("gave %v, %v, want %v", got, err, positions)
			}
			for i, p := range positions {
				if got[i].Position != p {
					t.Errorf("gave %d, want %d", got[i].Position, p)
				}
			}
		}
		first, slow, second := waitingAt(1), waitingAt(2), waitingAt(3)
		q.list = []store.Waiting{first, second}
		want(1, 3)
		want()
		q.list = []store.Waiting{first, slow, second}
		want(2)
		q.list = nil // all are acknowledged
		time.Sleep(2 * unsettled)
		want()
		if len(r.given) != 0 || r.after != 3 {
			t.Errorf("it remembers %v after %d, want nothing after 3", r.given, r.after)
		}
		q.list = []store.Waiting{waitingAt(4)}
		want(4)
	})
}

// A long queue is read once, not again for each page.
func TestReadingOfALongQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		const all = 5000
		for i := range int64(all) {
			q.list = append(q.list, waitingAt(i+1))
		}
		time.Sleep(2 * unsettled)
		r := reading{store: q}
		n := 0
		for {
			list, err := r.next(t.Context(), page)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			n += len(list)
		}
		if n != all || q.reads > 2*all {
			t.Errorf("%d given after %d reads, want %d after not many more", n, q.reads, all)
		}
	})
}
