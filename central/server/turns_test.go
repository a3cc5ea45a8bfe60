package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// calendar notes when it was turned to which day, and refuses the first time.
type calendar struct{ turned []string }

func (c *calendar) Turn(_ context.Context, day safeguard.Date, shown func(f store.Flag, on safeguard.Date) bool) (int, error) {
	c.turned = append(c.turned, day.String()+" at "+time.Now().Format(time.TimeOnly))
	if len(c.turned) == 1 {
		return 0, errors.New("no store")
	}
	if coming := (store.Flag{Plan: safeguard.ChildProtection, Start: day}); shown(coming, day) && !shown(coming, day.Add(0, 0, -1)) {
		return 1, nil
	}
	return 0, errors.New("a plan that begins is not shown from its day on")
}

func TestEachDayIsTurnedToOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, m, d := time.Now().Date()
		time.Sleep(time.Until(time.Date(y, m, d+1, 23, 58, 0, 0, time.Local)))
		first := safeguard.DateOf(time.Now())
		c, woken := &calendar{}, 0
		n := &turns{store: c, policy: DefaultPolicy(), changed: func() { woken++ }, log: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); n.run(ctx) }()
		time.Sleep(12 * time.Hour)
		stop()
		<-ended
		want := []string{first.String() + " at 23:58:00", first.String() + " at 23:59:00", first.Add(0, 0, 1).String() + " at 00:00:15"}
		if !slices.Equal(c.turned, want) || woken != 2 {
			t.Errorf("turned to %v, and woke %d followers' readers, want %v and 2", c.turned, woken, want)
		}
	})
}
