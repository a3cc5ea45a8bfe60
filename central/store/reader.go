package store

import (
	"context"
	"runtime"
	"time"
)

const (
	heldReaders  = 2                // that ask the database at the same time: one that meets a slow disk is not all
	heldTogether = 64               // persons asked about at a time, at most
	heldTime     = 10 * time.Second // for what is asked for several
)

// question is one caller of Flags.
type question struct {
	person []byte
	rows   []heldRow
	done   chan error
}

// held shares a query with whoever asks at the same time: on a busy day the way
// to the database costs more than what is fetched.
func (s *DB) held(ctx context.Context, person []byte) ([]heldRow, error) {
	q := &question{person: person, done: make(chan error, 1)}
	select {
	case s.asked <- q:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closing:
		return nil, errClosed
	}
	select {
	case err := <-q.done:
		return q.rows, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reader answers what is waiting, together.
func (s *DB) reader() {
	for {
		select {
		case q := <-s.asked:
			group := append(take(s.asked, heldTogether-1), q)
			err := s.answer(group)
			for _, q := range group {
				q.done <- err
			}
		case <-s.closing:
			return
		}
	}
}

// take gives what is waiting to be sent, at most so many. First it lets everyone
// run who is ready to: on a busy machine they have more to send, and together
// they cost a fraction; on an idle one nobody is waited for.
func take[T any](from <-chan T, most int) []T {
	runtime.Gosched()
	var taken []T
	for len(taken) < most {
		select {
		case v := <-from:
			taken = append(taken, v)
		default:
			return taken
		}
	}
	return taken
}

func (s *DB) answer(group []*question) error {
	ctx, cancel := context.WithTimeout(context.Background(), heldTime)
	defer cancel()
	persons := make([][]byte, len(group))
	for i, q := range group {
		persons[i] = q.person
	}
	rows, err := s.engine.held(ctx, persons)
	if err != nil {
		return err
	}
	found := map[string][]heldRow{}
	for _, r := range rows {
		found[string(r.person)] = append(found[string(r.person)], r)
	}
	for _, q := range group {
		q.rows = found[string(q.person)]
	}
	return nil
}
