package pipeline

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/safeguard-edge/safeguard"
)

// locks let one at a time ask about an attendance and settle what follows. Else
// the centre could have recorded what nobody here knows of, because another
// decided meanwhile whose the attendance is.
type locks struct {
	mu   sync.Mutex // guards held
	held map[safeguard.AttendanceID]chan struct{}
}

// lock waits for all of the attendances, and returns how to let go of them. They
// are taken in one order by all, so that nobody waits in a circle. The zero id is
// no attendance, and nobody waits for it.
func (l *locks) lock(ctx context.Context, ids []safeguard.AttendanceID) (unlock func(), err error) {
	ids = slices.DeleteFunc(slices.Clone(ids), safeguard.AttendanceID.IsZero)
	slices.SortFunc(ids, func(a, b safeguard.AttendanceID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	var mine []safeguard.AttendanceID
	unlock = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, id := range mine {
			close(l.held[id])
			delete(l.held, id)
		}
	}
	for _, id := range ids {
		for {
			l.mu.Lock()
			if l.held == nil {
				l.held = map[safeguard.AttendanceID]chan struct{}{}
			}
			others, taken := l.held[id]
			if !taken {
				l.held[id] = make(chan struct{})
				mine = append(mine, id)
			}
			l.mu.Unlock()
			if !taken {
				break
			}
			select {
			case <-others:
			case <-ctx.Done():
				unlock()
				return nil, ctx.Err()
			}
		}
	}
	return unlock, nil
}
