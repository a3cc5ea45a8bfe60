package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// liveFeeds are the feeds of a running agent. A configuration is applied to them
// without touching those that it leaves as they are, and one that does not work
// never stops another.
type liveFeeds struct {
	log    *slog.Logger
	parser atomic.Pointer[parsers]

	applying sync.Mutex // one change at a time

	mu     sync.Mutex // guards the fields below
	feeds  []*liveFeed
	accept feed.Accept // nil before Run
	ctx    context.Context
	ended  sync.WaitGroup
}

// liveFeed is one of them.
type liveFeed struct {
	config    Feed
	transport transport // nil while it could not be opened
	fault     error     // why not, or why it ended
	stop      context.CancelFunc
	stopped   chan struct{}
}

// reopening is how often a feed that does not work is opened again.
const reopening = 10 * time.Second

// openFeeds binds what can be bound. It fails if none can.
func openFeeds(c Config, zone *time.Location, log *slog.Logger) (*liveFeeds, error) {
	l := &liveFeeds{log: log}
	l.understand(c, zone)
	works := false
	var first error
	for _, f := range c.Feeds {
		one := &liveFeed{config: f}
		if one.transport, one.fault = f.open(log); one.fault != nil && first == nil {
			first = one.fault
		}
		works = works || one.fault == nil
		l.feeds = append(l.feeds, one)
	}
	if !works {
		return nil, first
	}
	for _, one := range l.feeds {
		if one.fault != nil {
			log.Error("feed does not listen, the others do; it is tried again", "every", reopening, "err", one.fault)
		}
	}
	return l, nil
}

// Close gives up what was bound, where Run never ran.
func (l *liveFeeds) Close() {
	for _, one := range l.feeds {
		discard(one.transport)
	}
}

func discard(t transport) {
	if closer, ok := t.(io.Closer); ok {
		_ = closer.Close()
	}
}

// Run runs the feeds until ctx ends, and opens those again that do not work.
func (l *liveFeeds) Run(ctx context.Context, accept feed.Accept) error {
	l.mu.Lock()
	l.accept, l.ctx = accept, ctx
	for _, one := range l.feeds {
		l.start(one)
	}
	l.mu.Unlock()
	tick := time.NewTicker(reopening)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.reopen()
		case <-ctx.Done():
			l.mu.Lock()
			l.accept = nil // nothing is started any more
			l.mu.Unlock()
			l.ended.Wait()
			return nil
		}
	}
}

// start runs a feed that was opened. The caller holds mu.
func (l *liveFeeds) start(one *liveFeed) {
	if one.transport == nil || l.accept == nil || l.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(l.ctx)
	one.stop, one.stopped = cancel, make(chan struct{})
	t, accept := one.transport, l.accept
	l.ended.Go(func() {
		defer cancel()
		defer close(one.stopped)
		err := t.Run(ctx, accept)
		l.mu.Lock()
		defer l.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		one.transport, one.fault = nil, fmt.Errorf("feed %s: %w", one.config.Name, err)
		l.log.Error("feed stopped, the others go on; it is opened again", "every", reopening, "err", one.fault)
	})
}

// reopen tries the feeds that do not work.
func (l *liveFeeds) reopen() {
	l.applying.Lock()
	defer l.applying.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.feeds {
		if one.fault == nil {
			continue
		}
		t, err := one.config.open(l.log)
		if err != nil {
			one.fault = err
			continue
		}
		one.transport, one.fault = t, nil
		l.log.Info("feed listens again", "feed", one.config.Name)
		l.start(one)
	}
}

// apply makes the feeds those of c. What is new is bound before anything is
// stopped; a feed that takes the address of one that goes is bound after it, and
// if that fails, the old one comes back. An error means that nothing has changed.
func (l *liveFeeds) apply(c Config, zone *time.Location) (changed []string, err error) {
	l.applying.Lock()
	defer l.applying.Unlock()
	l.mu.Lock()
	old := slices.Clone(l.feeds)
	l.mu.Unlock()

	kept := func(f Feed) *liveFeed {
		for _, one := range old {
			if sameTransport(one.config, f) {
				return one
			}
		}
		return nil
	}
	var next, opened []*liveFeed
	var late []*liveFeed // wait for the address of one that goes
	for _, f := range c.Feeds {
		if one := kept(f); one != nil {
			next = append(next, one)
			if !reflect.DeepEqual(one.config, f) {
				changed = append(changed, f.Name)
			}
			continue
		}
		changed = append(changed, f.Name)
		one := &liveFeed{config: f}
		next = append(next, one)
		if one.transport, one.fault = f.open(l.log); one.fault == nil {
			opened = append(opened, one)
			continue
		}
		late = append(late, one)
	}
	gone := slices.DeleteFunc(old, func(one *liveFeed) bool { return slices.Contains(next, one) })
	if len(late) > 0 && len(gone) == 0 {
		for _, one := range opened {
			discard(one.transport)
		}
		return nil, late[0].fault
	}
	for _, one := range gone {
		l.halt(one)
		changed = append(changed, one.config.Name)
	}
	for _, one := range late {
		if one.transport, one.fault = one.config.open(l.log); one.fault != nil {
			for _, other := range append(opened, late...) {
				discard(other.transport)
			}
			l.restore(gone)
			return nil, one.fault
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, one := range next {
		one.config = c.Feeds[i]
	}
	l.understand(c, zone)
	l.feeds = next
	for _, one := range append(opened, late...) {
		l.start(one)
	}
	slices.Sort(changed)
	return slices.Compact(changed), nil
}

// restore opens feeds again that were stopped for others.
func (l *liveFeeds) restore(gone []*liveFeed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range gone {
		t, err := one.config.open(l.log)
		if err != nil { // is tried again
			one.transport, one.fault = nil, err
			continue
		}
		one.transport, one.fault = t, nil
		l.start(one)
	}
}

// halt stops a feed and waits for it.
func (l *liveFeeds) halt(one *liveFeed) {
	l.mu.Lock()
	t, stop, stopped := one.transport, one.stop, one.stopped
	if stop == nil {
		one.transport = nil // so that Run does not start it
	}
	l.mu.Unlock()
	if stop == nil {
		discard(t)
		return
	}
	stop()
	<-stopped
}

// sameTransport tells whether messages come in the same way.
func sameTransport(a, b Feed) bool {
	return a.Name == b.Name && reflect.DeepEqual(a.MLLP, b.MLLP) && reflect.DeepEqual(a.MLLPClient, b.MLLPClient) &&
		reflect.DeepEqual(a.HTTP, b.HTTP) && reflect.DeepEqual(a.Folder, b.Folder) && reflect.DeepEqual(a.MQTT, b.MQTT)
}

// reports tell what each feed has counted.
func (l *liveFeeds) reports() []FeedReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []FeedReport
	for _, one := range l.feeds {
		r := FeedReport{Name: one.config.Name, Transport: one.config.section()}
		if one.fault != nil {
			r.Fault = one.fault.Error()
		}
		if one.transport != nil {
			r.Stats = one.transport.Stats()
		}
		all = append(all, r)
	}
	return all
}

// understand changes how messages are read. A feed that has gone is still
// understood until the next start: what it brought may wait.
func (l *liveFeeds) understand(c Config, zone *time.Location) {
	all := parsers{}
	if before := l.parser.Load(); before != nil {
		for name, p := range *before {
			all[name] = p
		}
	}
	for name, p := range c.parsers(zone) {
		all[name] = p
	}
	l.parser.Store(&all)
}

// Parse reads the entry as its feed is understood now.
func (l *liveFeeds) Parse(e journal.Entry) (adt.Movement, error) { return l.parser.Load().Parse(e) }
