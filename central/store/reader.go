package store

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/safeguard-edge/safeguard"
)

const (
	lookers      = 2                // groups that are read at the same time: one that meets a slow disk is not all
	heldTogether = 256              // persons asked about at a time, at most
	heldTime     = 10 * time.Second // for what is asked for several
)

// Look implements Store.
func (s *DB) Look(ctx context.Context, number safeguard.NHSNumber, decide func(held []Flag) Decision) error {
	w := newWork(ctx)
	w.person, w.looking = s.token(number), &looking{number, decide}
	err := submit(ctx, s, s.looks, w, w)
	if p, ok := err.(*panicked); ok {
		panic(p.with) // here, not where all wait
	}
	if err != nil {
		return fmt.Errorf("look at flags: %w", err)
	}
	return nil
}

// looking is what one caller of Look wants.
type looking struct {
	number safeguard.NHSNumber
	decide func(held []Flag) Decision
}

// panicked is what a decision ended with, if so.
type panicked struct{ with any }

func (*panicked) Error() string { return "the decision panicked" }

// looker reads for whoever asks at the same time together, has each of them
// decide, and hands them on to the writer: on a busy day the way to the database
// costs more than what is fetched.
func (s *DB) looker() {
	for {
		select {
		case w := <-s.looks:
			s.look(append([]*work{w}, take(s.looks, heldTogether-1)...))
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

func (s *DB) look(group []*work) {
	found, err := s.findHeld(group)
	var decided []*work
	for _, w := range group {
		failure := err
		if failure == nil {
			failure = s.decided(w, found[string(w.person)])
		}
		if failure != nil {
			w.done <- failure
			continue
		}
		decided = append(decided, w)
	}
	if len(decided) == 0 {
		return
	}
	select {
	case s.work <- decided:
	case <-s.closing:
		for _, w := range decided {
			w.done <- errClosed
		}
	}
}

// findHeld gives the rows of all, by person.
func (s *DB) findHeld(group []*work) (map[string][]heldRow, error) {
	ctx, cancel := context.WithTimeout(context.Background(), heldTime)
	defer cancel()
	persons := make([][]byte, len(group))
	for i, w := range group {
		persons[i] = w.person
	}
	// The persons' tokens are made, and so are the keys looked at.
	if err := s.sameKeys(); err != nil {
		return nil, err
	}
	rows, err := s.engine.held(ctx, persons)
	if err != nil {
		return nil, err
	}
	found := make(map[string][]heldRow, len(rows))
	for _, r := range rows {
		found[string(r.person)] = append(found[string(r.person)], r)
	}
	return found, nil
}

// decided has the caller say what is to be recorded of its look.
func (s *DB) decided(w *work, rows []heldRow) (err error) {
	flags, err := s.flagsOf(w.person, rows)
	if err != nil {
		return err
	}
	defer func() {
		if with := recover(); with != nil {
			err = &panicked{with}
		}
	}()
	d := w.looking.decide(flags)
	d.Look.Number = w.looking.number
	return s.fill(w, d)
}
