package feedtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// journal is an Accept that a case steers.
type journal struct {
	offered chan feed.Message // each offer, before it is decided
	kept    chan feed.Message // each message taken

	mu     sync.Mutex // guards the fields below
	refuse []error    // what the next offers get; the last one stays
	gate   chan struct{}
	mark   func(feed.Message) feed.Ack
	shut   bool // the feed has ended
	strays int  // offers after that
}

func newJournal() *journal {
	return &journal{offered: make(chan feed.Message, 1<<12), kept: make(chan feed.Message, 1<<12)}
}

func (j *journal) accept(ctx context.Context, m feed.Message) (feed.Ack, error) {
	j.mu.Lock()
	if j.shut {
		j.strays++
	}
	gate, mark := j.gate, j.mark
	j.mu.Unlock()
	j.offered <- m
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := j.next(); err != nil {
		return nil, err
	}
	j.kept <- m
	if mark != nil {
		return mark(m), nil
	}
	return m.Ack, nil
}

// next returns what becomes of an offer.
func (j *journal) next() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.refuse) == 0 {
		return nil
	}
	err := j.refuse[0]
	if len(j.refuse) > 1 {
		j.refuse = j.refuse[1:]
	}
	return err
}

// answer makes the next offers end so; the last one stays.
func (j *journal) answer(with ...error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refuse = with
}

// block keeps all offers waiting until the returned function is called.
func (j *journal) block() (release func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	gate := make(chan struct{})
	j.gate = gate
	return sync.OnceFunc(func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.gate = nil
		close(gate)
	})
}

// acknowledge makes mark the acknowledgement of what is taken.
func (j *journal) acknowledge(mark func(feed.Message) feed.Ack) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mark = mark
}

func (j *journal) open() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shut = false
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shut = true
}

// late tells of messages offered after Run had returned.
func (j *journal) late() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.strays > 0 {
		return fmt.Errorf("%d messages offered after run had returned", j.strays)
	}
	return nil
}

// errDisk is a refusal that is not ErrHold: no feed may take it for consent.
var errDisk = errors.New("append to journal: no space left on device")
