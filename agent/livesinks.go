package agent

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// liveSinks are the sinks of a running agent. Which there are is settled at the
// start, since each has its outbox; how each works may change.
type liveSinks struct {
	log      *slog.Logger
	all      []*liveSink
	released chan struct{} // ready when a sink may have become live
}

// liveSink hands alerts to the guard of now.
type liveSink struct {
	mu     sync.Mutex // guards the fields below
	config Sink
	use    *use
}

// use is a guard with who is using it.
type use struct {
	guard *epr.Guard
	ready chan struct{} // closed once the guard before is
	ctx   context.Context
	end   context.CancelFunc
	busy  sync.WaitGroup
}

func newUse(g *epr.Guard) *use {
	u := &use{guard: g, ready: make(chan struct{})}
	u.ctx, u.end = context.WithCancel(context.Background())
	return u
}

// openLiveSinks makes the sinks of the configuration.
func (c Config) openLiveSinks(log *slog.Logger) (*liveSinks, error) {
	guards, err := c.OpenSinks(log)
	if err != nil {
		return nil, err
	}
	l := &liveSinks{log: log, released: make(chan struct{}, 1)}
	for i, g := range guards {
		u := newUse(g)
		close(u.ready)
		l.all = append(l.all, &liveSink{config: c.Sinks[i], use: u})
	}
	return l, nil
}

// now are the guards in use.
func (l *liveSinks) now() Sinks {
	var all Sinks
	for _, s := range l.all {
		all = append(all, s.current().guard)
	}
	return all
}

// Close closes all.
func (l *liveSinks) Close() error { return l.now().Close() }

func (l *liveSinks) pipeline() []pipeline.Sink {
	var all []pipeline.Sink
	for _, s := range l.all {
		all = append(all, s)
	}
	return all
}

// patience for an alert that is on its way when its sink changes; then it is
// taken back, and sent again as the same.
const changePatience = 5 * time.Second

// apply changes the sinks to those of c, which are of the same names. An error
// means that nothing has changed.
func (l *liveSinks) apply(old, c Config) (changed []string, err error) {
	zone, err := c.Zone()
	if err != nil {
		return nil, err
	}
	anew := map[*liveSink]*epr.Guard{}
	for i, s := range l.all {
		config := c.Sinks[i]
		if reflect.DeepEqual(s.config, config) && reflect.DeepEqual(old.Wording, c.Wording) {
			continue
		}
		g, err := c.openSink(config, zone, l.log)
		if err != nil {
			for _, g := range anew {
				_ = g.Close() // has sent nothing
			}
			return nil, err
		}
		anew[s] = g
		changed = append(changed, config.Name)
	}
	for i, s := range l.all {
		if g := anew[s]; g != nil {
			s.change(c.Sinks[i], g, l.log)
		}
	}
	if len(changed) > 0 {
		select {
		case l.released <- struct{}{}:
		default: // is to be looked at already
		}
	}
	slices.Sort(changed)
	return changed, nil
}

// change puts another guard in the place of the one in use, which ends first.
func (s *liveSink) change(c Sink, g *epr.Guard, log *slog.Logger) {
	next := newUse(g)
	s.mu.Lock()
	before := s.use
	s.config, s.use = c, next
	s.mu.Unlock()
	timer := time.AfterFunc(changePatience, before.end)
	before.busy.Wait()
	timer.Stop()
	before.end()
	if err := before.guard.Close(); err != nil {
		log.Warn("sink not closed cleanly", "sink", c.Name, "err", err)
	}
	close(next.ready)
}

func (s *liveSink) current() *use {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.use
}

// take is current, with its guard held until release.
func (s *liveSink) take() *use {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use.busy.Add(1)
	return s.use
}

// Name is the sink's name.
func (s *liveSink) Name() string { return s.current().guard.Name() }

// Takes tells whether an alert about the attendance is for this sink.
func (s *liveSink) Takes(a safeguard.Attendance) bool { return s.current().guard.Takes(a) }

// Parallel is how many alerts may be delivered at the same time.
func (s *liveSink) Parallel() int { return s.current().guard.Parallel() }

// Live tells whether the sink shows alerts.
func (s *liveSink) Live() bool { return s.current().guard.Live() }

// Reads tells whether the EPR tells what it shows.
func (s *liveSink) Reads() bool { return s.current().guard.Reads() }

var _ pipeline.Reader = (*liveSink)(nil)

// Compare asks the EPR whether it shows what the alert says.
func (s *liveSink) Compare(ctx context.Context, a safeguard.Alert) (differs string, err error) {
	u, ctx, done := s.using(ctx)
	defer done()
	return u.guard.Compare(ctx, a)
}

// Alerts asks the EPR which alerts it shows.
func (s *liveSink) Alerts(ctx context.Context) ([]safeguard.AlertID, error) {
	u, ctx, done := s.using(ctx)
	defer done()
	return u.guard.Alerts(ctx)
}

// using is take, with a context that ends when the guard's time does.
func (s *liveSink) using(ctx context.Context) (u *use, during context.Context, done func()) {
	u = s.take()
	during, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(u.ctx, cancel)
	return u, during, func() {
		stop()
		cancel()
		u.busy.Done()
	}
}

// Deliver delivers the alert with the guard of now.
func (s *liveSink) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	u, ctx, done := s.using(ctx)
	defer done()
	select {
	case <-u.ready:
	case <-ctx.Done():
		return safeguard.Receipt{}, ctx.Err()
	}
	return u.guard.Deliver(ctx, a)
}
