package epr_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// scripted is a sink that does as it is told, to try what stands before sinks.
type scripted struct {
	at      []time.Time
	err     []error           // for the next deliveries, one each
	receipt safeguard.Receipt // where there is no error; zero for one that it is taken
}

func (*scripted) Name() string { return "epr" }
func (*scripted) Close() error { return nil }

func (*scripted) Carrier() string                         { return "scripted" }
func (*scripted) Preview(safeguard.Alert) (string, error) { return "", nil }

func (s *scripted) Deliver(context.Context, safeguard.Alert) (safeguard.Receipt, error) {
	s.at = append(s.at, time.Now())
	if len(s.err) > 0 {
		err := s.err[0]
		s.err = s.err[1:]
		if err != nil {
			return safeguard.Receipt{}, err
		}
	}
	if s.receipt.Code != "" {
		return s.receipt, nil
	}
	return safeguard.Receipt{Outcome: safeguard.Delivered, Code: "AA", At: time.Now()}, nil
}

func guarded(t *testing.T, s epr.Sink, change func(*epr.GuardConfig)) *epr.Guard {
	t.Helper()
	c := epr.DefaultGuardConfig()
	c.ReleaseConfirmedBy, c.Rate = "Dr Imogen Hale, 2 Nov 2026", 0
	change(&c)
	g, err := epr.NewGuard(s, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGuardObservesUntilSomebodyConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*epr.GuardConfig)
		live   bool
	}{
		"nobody named":     {func(c *epr.GuardConfig) { c.ReleaseConfirmedBy = "" }, false},
		"a name of spaces": {func(c *epr.GuardConfig) { c.ReleaseConfirmedBy = "  " }, false},
		"site observes":    {func(c *epr.GuardConfig) { c.SiteObserves = true }, false},
		"set to observe":   {func(c *epr.GuardConfig) { c.Observe = true }, false},
		"confirmed":        {func(*epr.GuardConfig) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{}
			g := guarded(t, s, c.change)
			r, err := g.Deliver(t.Context(), alert())
			if err != nil || r.Outcome != safeguard.Delivered || (r.Code == epr.Observed) == c.live || (len(s.at) == 1) != c.live {
				t.Errorf("got %s %q and %d deliveries: %v", r.Outcome, r.Code, len(s.at), err)
			}
			if state := g.State(); state.Live != c.live || (state.Why == "") != c.live {
				t.Errorf("state %+v, want live %v", state, c.live)
			}
		})
	}
}

func TestGuardTakesWhatIsForIt(t *testing.T) {
	a := alert().Attendance
	for name, c := range map[string]struct {
		change func(*epr.GuardConfig)
		want   bool
	}{
		"everything": {func(*epr.GuardConfig) {}, true},
		"its setting": {func(c *epr.GuardConfig) {
			c.CareSettings = []safeguard.CareSetting{safeguard.Maternity, safeguard.EmergencyDepartment}
		}, true},
		"other setting":  {func(c *epr.GuardConfig) { c.CareSettings = []safeguard.CareSetting{safeguard.Maternity} }, false},
		"its location":   {func(c *epr.GuardConfig) { c.Locations = []string{"ED"} }, true},
		"other location": {func(c *epr.GuardConfig) { c.Locations = []string{"MAT"} }, false},
	} {
		if got := guarded(t, &scripted{}, c.change).Takes(a); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestGuardLeavesAFailingEPRAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		s := &scripted{err: []error{down, down, down, down, nil}}
		g := guarded(t, s, func(c *epr.GuardConfig) { c.RestAfter, c.Rest = 3, 10*time.Second })
		begun := time.Now()
		for range 5 {
			_, _ = g.Deliver(t.Context(), alert())
		}
		_, _ = g.Deliver(t.Context(), alert())
		var waits []time.Duration
		for _, at := range s.at {
			waits = append(waits, at.Sub(begun))
		}
		// Three failures, a rest, one more failure, a rest, and then it goes on.
		for i, want := range []time.Duration{0, 0, 0, 10 * time.Second, 20 * time.Second, 20 * time.Second} {
			if waits[i] < want || waits[i] > want+time.Second {
				t.Fatalf("delivered after %v, want the EPR left alone for 10s after the third failure and the fourth", waits)
			}
		}
		if state := g.State(); state.Failed != 4 || state.Delivered != 2 || state.Resting {
			t.Errorf("state %+v, want 4 failed, 2 delivered, not resting", state)
		}
	})
}

func TestGuardKeepsThePauseThatTheEPRAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: []error{&epr.Later{After: time.Minute, Err: errors.New("503")}, &epr.Later{After: time.Hour, Err: errors.New("503")}}}
		g := guarded(t, s, func(c *epr.GuardConfig) { c.LongestPause = 2 * time.Minute })
		begun := time.Now()
		for range 3 {
			_, _ = g.Deliver(t.Context(), alert())
		}
		if got := s.at[1].Sub(begun); got != time.Minute {
			t.Errorf("came again after %v, want the minute that was asked for", got)
		}
		if got := s.at[2].Sub(s.at[1]); got != 2*time.Minute {
			t.Errorf("came again after %v, want the longest pause there is", got)
		}
	})
}

func TestGuardIsNoFasterThanItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		g := guarded(t, s, func(c *epr.GuardConfig) { c.Rate = 4 })
		begun := time.Now()
		for range 9 {
			_, _ = g.Deliver(t.Context(), alert())
		}
		if got := time.Since(begun); got < 1900*time.Millisecond || got > 2100*time.Millisecond {
			t.Errorf("nine alerts took %v, want 2s at four a second", got)
		}
	})
}

func TestGuardStopsWaitingWhenToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: []error{&epr.Later{After: time.Minute, Err: errors.New("503")}}}
		g := guarded(t, s, func(*epr.GuardConfig) {})
		_, _ = g.Deliver(t.Context(), alert())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Deliver(ctx, alert()); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "FERNSBY") {
			t.Errorf("got %v, want the end of the wait", err)
		}
		if len(s.at) != 1 {
			t.Errorf("delivered %d times, want the pause kept", len(s.at))
		}
	})
}

func TestGuardTellsSinceWhenAndWhyAnEPRDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &scripted{}
		g := guarded(t, sink, func(c *epr.GuardConfig) { c.RestAfter = 100 })
		down := time.Now()
		for err, want := range map[error]string{
			context.DeadlineExceeded: "no answer in time",
			&net.OpError{Op: "dial", Err: errors.New("refused 9990000344")}: "can not be reached",
			&tls.CertificateVerificationError{Err: errors.New("x509")}:      "certificate not trusted",
			&epr.Later{After: time.Second, Err: errors.New("503")}:          "asks for a pause",
			errors.New("MSA-2 of 9990000344"):                               "no answer that counts",
		} {
			sink.err = []error{fmt.Errorf("send: %w", err)}
			if _, got := g.Deliver(t.Context(), safeguard.Alert{}); got == nil {
				t.Fatal("delivered")
			}
			if s := g.State(); s.Error != want || s.Down.Before(down) || s.Down.After(down) {
				t.Errorf("%v: got %q since %v, want %q since %v", err, s.Error, s.Down, want, down)
			}
		}
		if _, err := g.Deliver(t.Context(), safeguard.Alert{}); err != nil {
			t.Fatal(err)
		}
		if s := g.State(); s.Error != "" || !s.Down.IsZero() || s.Took.IsZero() {
			t.Errorf("after an answer: %+v", s)
		}
		took := g.State().Took
		time.Sleep(time.Minute)
		for _, outcome := range []safeguard.Outcome{safeguard.Retry, safeguard.Refused} {
			sink.receipt = safeguard.Receipt{Outcome: outcome, Code: "AE/207", Text: "no bed for 9990000344", At: time.Now()}
			if _, err := g.Deliver(t.Context(), safeguard.Alert{}); err != nil {
				t.Fatal(err)
			}
			if s := g.State(); s.Error != "answered AE/207" || !s.Down.IsZero() || !s.Took.Equal(took) || !s.Answered.After(took) || s.Carrier != "scripted" {
				t.Errorf("after %s: %+v, want the code, and that it took nothing since %v", outcome, s, took)
			}
		}
	})
}
