package epr

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/ratelimiter"

	"github.com/safeguard-edge/safeguard"
)

// Release is what is shown, and about whom.
type Release struct {
	// ReleaseConfirmedBy is who confirmed, and when, that this EPR keeps the
	// alerts from patients' and parents' portals. While nobody is named, it is
	// only observed.
	ReleaseConfirmedBy string `yaml:"release_confirmed_by"`
	Observe            bool   `yaml:"observe"` // show nothing, count what would have been shown
	SiteObserves       bool   `yaml:"-"`       // so does the whole site

	CareSettings []safeguard.CareSetting `yaml:"care_settings"` // for these only; empty for all
	Locations    []string                `yaml:"locations"`     // for these points of care only; empty for all
}

// Live tells whether alerts are shown, or why not.
func (r Release) Live() (live bool, why string) {
	switch {
	case r.SiteObserves:
		return false, "the site observes"
	case r.Observe:
		return false, "set to observe"
	case strings.TrimSpace(r.ReleaseConfirmedBy) == "":
		return false, "nobody has confirmed that portal release is suppressed (release_confirmed_by)"
	}
	return true, ""
}

// Takes tells whether alerts about the attendance are to be shown.
func (r Release) Takes(a safeguard.Attendance) bool {
	return (len(r.CareSettings) == 0 || slices.Contains(r.CareSettings, a.Setting)) &&
		(len(r.Locations) == 0 || slices.Contains(r.Locations, a.Location))
}

// GuardConfig is what every sink has besides its own settings.
type GuardConfig struct {
	Release `yaml:",inline"`

	Rate         float64       `yaml:"rate"`          // alerts a second at most; 0 for any number
	RestAfter    int           `yaml:"rest_after"`    // failures in a row, after which the EPR is left alone
	Rest         time.Duration `yaml:"rest"`          // for so long, and then tried with one alert
	LongestPause time.Duration `yaml:"longest_pause"` // that the EPR may ask for itself
}

// DefaultGuardConfig observes, until somebody has confirmed.
func DefaultGuardConfig() GuardConfig {
	return GuardConfig{Rate: 20, RestAfter: 5, Rest: 5 * time.Second, LongestPause: 5 * time.Minute}
}

// Validate names the first key that is wrong.
func (c GuardConfig) Validate() error {
	switch {
	case c.Rate < 0 || c.Rate > 10_000:
		return fmt.Errorf("rate: %v, want alerts a second, or 0 for any number", c.Rate)
	case c.RestAfter < 1:
		return fmt.Errorf("rest_after: %d, want 1 or more failures", c.RestAfter)
	case c.Rest <= 0:
		return fmt.Errorf("rest: %v, want a duration such as 5s", c.Rest)
	case c.LongestPause <= 0:
		return fmt.Errorf("longest_pause: %v, want a duration such as 5m", c.LongestPause)
	}
	return nil
}

// Observed is the code of a receipt for an alert that was not shown, because the
// sink observes.
const Observed = "observed"

// Guard stands before a sink. It lets through what is for it, as fast as the EPR
// wants, and leaves the EPR alone while it fails. Make one with NewGuard.
type Guard struct {
	sink    Sink
	config  GuardConfig
	log     *slog.Logger
	limit   ratelimiter.RateLimiter[any] // nil for none
	breaker circuitbreaker.CircuitBreaker[any]

	mu     sync.Mutex // guards the fields below
	paused time.Time  // until then, because the EPR asked for it
	state  State
}

// State is how a sink is, for those who operate it.
type State struct {
	Name      string    `json:"name"`
	Carrier   string    `json:"carrier"`
	Live      bool      `json:"live"`
	Why       string    `json:"why,omitempty"` // it is not live
	Resting   bool      `json:"resting"`
	Delivered int       `json:"delivered"`
	Observed  int       `json:"observed"`
	Retried   int       `json:"retried"`
	Refused   int       `json:"refused"`
	Failed    int       `json:"failed"`   // no answer
	Answered  time.Time `json:"answered"` // last answer of the EPR
	Code      string    `json:"code,omitempty"`
	Took      time.Time `json:"took,omitzero"`       // when it last took an alert
	Down      time.Time `json:"down_since,omitzero"` // no answer since then; zero while it answers
	Error     string    `json:"error,omitempty"`     // why it does not, or did not take the last alert, in words of ours
}

// errorKind is why an EPR did not answer, with nothing of what it said.
func errorKind(err error) string {
	var later *Later
	var dial *net.OpError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &later):
		return "asks for a pause"
	case errors.As(err, &untrusted):
		return "certificate not trusted"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "can not be reached"
	}
	return "no answer that counts"
}

// NewGuard puts a guard before the sink.
func NewGuard(s Sink, c GuardConfig, log *slog.Logger) (*Guard, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g := &Guard{sink: s, config: c, log: log.With("sink", s.Name())}
	g.state.Name, g.state.Carrier = s.Name(), s.Carrier()
	g.state.Live, g.state.Why = c.Live()
	if c.Rate > 0 {
		g.limit = ratelimiter.NewSmoothBuilderWithMaxRate[any](time.Duration(float64(time.Second) / c.Rate)).Build()
	}
	g.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(uint(c.RestAfter)).
		WithSuccessThreshold(1).
		WithDelay(c.Rest).
		OnOpen(func(circuitbreaker.StateChangedEvent) { g.log.Warn("EPR does not answer, resting", "for", c.Rest) }).
		OnClose(func(circuitbreaker.StateChangedEvent) { g.log.Info("EPR answers again") }).
		Build()
	if !g.state.Live {
		g.log.Warn("sink observes, and shows nothing", "why", g.state.Why)
	}
	return g, nil
}

// Name is the sink's name.
func (g *Guard) Name() string { return g.sink.Name() }

// Carrier is what carries its alerts.
func (g *Guard) Carrier() string { return g.sink.Carrier() }

// Preview is what would be sent for the alert.
func (g *Guard) Preview(a safeguard.Alert) (string, error) { return g.sink.Preview(a) }

// Parallel is how many alerts may be delivered at the same time.
func (g *Guard) Parallel() int {
	if s, ok := g.sink.(interface{ Parallel() int }); ok {
		return s.Parallel()
	}
	return 1
}

// Check asks the EPR what it can, and says what that means for alerts; nothing for
// one that can not be asked.
func (g *Guard) Check(ctx context.Context) ([]string, error) {
	if s, ok := g.sink.(interface {
		Check(ctx context.Context) ([]string, error)
	}); ok {
		return s.Check(ctx)
	}
	return nil, nil
}

// Close closes the sink.
func (g *Guard) Close() error { return g.sink.Close() }

// Takes tells whether an alert about the attendance is for this sink.
func (g *Guard) Takes(a safeguard.Attendance) bool { return g.config.Takes(a) }

// Live tells whether the sink shows alerts.
func (g *Guard) Live() bool {
	live, _ := g.config.Live()
	return live
}

// reader is a sink whose EPR tells what it shows.
type reader interface {
	Compare(ctx context.Context, a safeguard.Alert) (differs string, err error)
	Alerts(ctx context.Context) ([]safeguard.AlertID, error)
}

var errUnread = errors.New("this EPR does not tell what it shows")

// Reads tells whether the EPR can be asked what it shows.
func (g *Guard) Reads() bool {
	_, some := g.sink.(reader)
	return some
}

// Compare asks the EPR whether it shows what the alert says, and says what differs;
// nothing where all is as it should be. It changes nothing.
func (g *Guard) Compare(ctx context.Context, a safeguard.Alert) (differs string, err error) {
	r, some := g.sink.(reader)
	if !some {
		return "", errUnread
	}
	return r.Compare(ctx, a)
}

// Alerts asks the EPR which alerts it shows, whoever put them there.
func (g *Guard) Alerts(ctx context.Context) ([]safeguard.AlertID, error) {
	r, some := g.sink.(reader)
	if !some {
		return nil, errUnread
	}
	return r.Alerts(ctx)
}

// State tells how the sink is.
func (g *Guard) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.state
	s.Resting = g.breaker.IsOpen() || time.Now().Before(g.paused)
	return s
}

// Deliver delivers the alert when its turn comes, which may be after a rest. A
// sink that observes takes everything and shows nothing.
func (g *Guard) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	if !g.Live() {
		r := safeguard.Receipt{Outcome: safeguard.Delivered, Code: Observed, At: time.Now()}
		g.count(r, nil)
		return r, nil
	}
	if err := g.turn(ctx); err != nil {
		return safeguard.Receipt{}, fmt.Errorf("wait for %s: %w", g.Name(), err)
	}
	r, err := g.sink.Deliver(ctx, a)
	g.count(r, err)
	return r, err
}

// Try delivers the alert at once, whether or not the sink is live: for a test alert.
func (g *Guard) Try(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	return g.sink.Deliver(ctx, a)
}

// turn waits until the EPR may be asked.
func (g *Guard) turn(ctx context.Context) error {
	g.mu.Lock()
	pause := time.Until(g.paused)
	g.mu.Unlock()
	if err := sleep(ctx, pause); err != nil {
		return err
	}
	for !g.breaker.TryAcquirePermit() {
		if err := sleep(ctx, max(g.breaker.RemainingDelay(), probing)); err != nil {
			return err
		}
	}
	if g.limit == nil {
		return nil
	}
	if err := g.limit.AcquirePermit(ctx); err != nil {
		g.breaker.RecordFailure() // gives the permit back
		return err
	}
	return nil
}

// probing is how often to look whether the alert that tries the EPR came through.
const probing = 100 * time.Millisecond

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// count keeps what came of a delivery. An answer, whatever it says, shows that the
// EPR is there.
func (g *Guard) count(r safeguard.Receipt, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if later := (*Later)(nil); errors.As(err, &later) {
		g.paused = time.Now().Add(min(later.After, g.config.LongestPause))
	}
	if err != nil {
		if g.state.Failed++; g.state.Down.IsZero() {
			g.state.Down = time.Now()
		}
		g.state.Error = errorKind(err)
		g.breaker.RecordFailure()
		return
	}
	if r.Code == Observed {
		g.state.Observed++
		return
	}
	g.breaker.RecordSuccess()
	g.state.Answered, g.state.Code = r.At, r.Code
	g.state.Down, g.state.Error = time.Time{}, ""
	switch r.Outcome {
	case safeguard.Delivered:
		g.state.Delivered++
		g.state.Took = r.At
	case safeguard.Refused:
		g.state.Refused++
	default:
		g.state.Retried++
	}
	if r.Outcome != safeguard.Delivered {
		g.state.Error = "answered " + r.Code
	}
}
