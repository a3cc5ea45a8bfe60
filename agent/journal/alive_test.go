package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
)

func TestAliveTellsAWriterThatHangs(t *testing.T) {
	j := newBench(t).open(t)
	if err := j.Alive(t.Context()); err != nil {
		t.Errorf("idle: %v, want alive", err)
	}
	free := make(chan struct{})
	journal.Block(j, free)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := j.Alive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("writer blocked: got %v, want that it does not answer", err)
	}
	close(free)
	if err := j.Alive(t.Context()); err != nil {
		t.Errorf("freed: %v, want alive", err)
	}
}
