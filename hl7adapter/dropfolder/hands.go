package dropfolder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// hands do everything that touches the folder, one thing after the other, in a
// goroutine of their own: a share that does not answer hangs them and nothing
// else. No system can take a hanging operation back, so at a stop the hands are
// left to it; they end by themselves when it does.
type hands struct {
	deadline time.Duration
	grace    time.Duration // for what is in hand at a stop
	log      *slog.Logger
	tasks    chan func()
	idle     chan struct{}     // closed when the hands have ended
	before   func(what string) // for tests: runs in the hands, before each task

	left bool      // an operation was left hanging
	end  time.Time // of the grace, once there is a stop

	mu    sync.Mutex // guards the fields below
	since time.Time  // since when the folder has not answered; zero while it does
	doing string     // what it has not answered to
}

// errLeft is returned once an operation was left hanging at a stop.
var errLeft = errors.New("folder does not answer")

func newHands(c Config, log *slog.Logger) *hands {
	h := &hands{deadline: c.Deadline, grace: c.Drain, log: log, tasks: make(chan func()), idle: make(chan struct{})}
	go func() {
		defer close(h.idle)
		for task := range h.tasks {
			task()
		}
	}()
	return h
}

// close ends the hands, and waits unless they were left to something.
func (h *hands) close() {
	close(h.tasks)
	if !h.left {
		<-h.idle
	}
}

// do has the hands do task, and waits as long as it takes: nothing else of this
// feed could go on. After the deadline it says that the folder does not answer.
func do[T any](ctx context.Context, h *hands, what string, task func() (T, error)) (T, error) {
	var none T
	if h.left {
		return none, errLeft
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	begun := time.Now()
	h.tasks <- func() {
		if h.before != nil {
			h.before(what)
		}
		value, err := task()
		done <- result{value, nameless(err)}
	}
	late := time.NewTimer(h.deadline)
	defer late.Stop()
	for {
		select {
		case r := <-done:
			h.answers()
			return r.value, r.err
		case <-late.C:
			h.hangs(begun, what)
		case <-ctx.Done():
			select {
			case r := <-done:
				h.answers()
				return r.value, r.err
			case <-h.patience():
				h.left = true
				return none, errLeft
			}
		}
	}
}

// patience ends when the grace of a stop does.
func (h *hands) patience() <-chan time.Time {
	if h.end.IsZero() {
		h.end = time.Now().Add(h.grace)
	}
	return time.After(time.Until(h.end))
}

func (h *hands) hangs(since time.Time, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since, h.doing = since, what
	h.log.Warn("folder does not answer", "since", since, "doing", what)
}

func (h *hands) answers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.since.IsZero() {
		h.log.Info("folder answers again", "after", time.Since(h.since))
	}
	h.since, h.doing = time.Time{}, ""
}

// unanswered tells since when the folder has not answered, and to what.
func (h *hands) unanswered() (time.Time, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.doing
}

// nameless returns err without the name of a file, which may be a patient's.
func nameless(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	case errors.As(err, &l):
		return fmt.Errorf("%s: %w", l.Op, l.Err)
	}
	return err
}
