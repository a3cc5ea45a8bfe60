// Package dropfolder takes HL7 v2 from files that are dropped into a folder,
// which may be on a share. It is the only door to fsnotify.
//
// # The way of a file
//
// A file that its sender has finished (see Ready) is first moved into the
// folder "taking", under a reference that names the moment and nothing else. From
// then on no sender changes it, and its name, which may name a patient, is in no
// log. Its messages are offered one by one, in their order, by which a file of
// any size needs the memory of two messages. When all are taken the file is
// deleted; where some were rejected, these alone go to the folder "failed", beside a
// text that says why.
//
// # Once
//
// A file is taken once, whatever happens meanwhile. A message that was offered
// before a crash and is offered again is known to the journal by its control
// id. One without a control id is remembered at once, on a local disk, as the
// progress of its file; others every now and then. Source names each message by
// reference and offset, so that even the one in hand at a crash can be known.
//
// # A share that does not answer
//
// Operations on a dead share can hang for minutes or for ever, and no system can
// take them back. They are done in a goroutine of their own: the feed says
// since when it waits, and neither other feeds nor the stop wait with it.
package dropfolder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Folder is the feed of one folder.
type Folder struct {
	config   Config
	counters feed.Counters
	log      *slog.Logger
	before   func(what string) // for tests: see hands

	seen     map[string]observation // what the last look saw, by place
	troubles map[string]*trouble    // files to be tried again, by place

	odd, failures, retries, slips feed.Occasional

	mu     sync.Mutex // guards the fields below
	hands  *hands     // nil while the feed does not run
	status Status
}

// Status is how the feed gets on with its folder.
type Status struct {
	Waiting  int       // files that are there to be taken, as last seen
	Oldest   time.Time // when the oldest of the next ones was changed; zero for none
	Taken    uint64    // files
	Failed   uint64    // of them, with messages that were not taken
	Retrying int       // files that could not be read, and will be tried again

	Taking       string // the reference of the file in hand; empty for none
	Size, Offset int64  // of it: how long it is, and how far it is taken

	Unanswered time.Time // since when the folder has not answered; zero while it does
	Doing      string    // what it has not answered to
	Trouble    string    // why the folder can not be read; empty when it can
}

// New returns a feed that looks into its folder when it runs. The folder may
// come and go.
func New(c Config, log *slog.Logger) (*Folder, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("drop folder: %w", err)
	}
	return &Folder{
		config: c, log: log.With("feed", c.Name),
		seen: make(map[string]observation), troubles: make(map[string]*trouble),
	}, nil
}

// Stats tells what was counted so far.
func (f *Folder) Stats() feed.Stats { return f.counters.Snapshot() }

// Status tells how the feed gets on.
func (f *Folder) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	if f.hands != nil {
		s.Unanswered, s.Doing = f.hands.unanswered()
	}
	return s
}

func (f *Folder) update(change func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

// Run takes files until ctx is done. A message that is then being accepted is
// finished; what is left of its file is taken after the next start.
func (f *Folder) Run(ctx context.Context, accept feed.Accept) error {
	accept, undrain := feed.Drain(ctx, f.config.Drain, accept)
	defer undrain()
	in := feed.NewIntake(f.config.Name, f.config.Policy, accept, &f.counters, f.log)
	h := newHands(f.config, f.log)
	h.before = f.before
	f.mu.Lock()
	f.hands = h
	f.mu.Unlock()
	defer h.close()
	news, watched := f.watch(ctx)
	f.log.Info("taking files", "folder", f.config.Folder, "ready", f.config.Ready)
	f.work(ctx, h, in, news)
	f.leave(watched)
	f.log.Info("stopped taking files")
	return nil
}

// leave waits for the watch, unless the folder makes it hang too.
func (f *Folder) leave(watched <-chan struct{}) {
	patience := time.NewTimer(f.config.Drain)
	defer patience.Stop()
	select {
	case <-watched:
	case <-patience.C:
		f.log.Warn("folder does not answer, left its watch behind")
	}
}

// work looks and takes, again and again.
func (f *Folder) work(ctx context.Context, h *hands, in *feed.Intake, news <-chan struct{}) {
	swept := time.Time{}
	for ctx.Err() == nil {
		if time.Since(swept) >= sweepEvery {
			swept = time.Now()
			f.sweep(ctx, h)
		}
		begun := time.Now()
		ready, wake, err := f.look(ctx, h)
		looked := time.Since(begun)
		f.trouble(ctx, err)
		if f.takeAll(ctx, h, in, ready) > 0 {
			continue // there may be more, and they may be ready by now
		}
		// A folder with very many files is not looked at all the time,
		// however often something happens in it.
		f.rest(ctx, min(2*looked, f.config.Poll), min(wake, f.config.Poll), news)
	}
}

// rest waits until there is something to look at: not before the shorter time,
// not after the longer.
func (f *Folder) rest(ctx context.Context, shorter, longer time.Duration, news <-chan struct{}) {
	least, most := time.NewTimer(shorter), time.NewTimer(max(longer, shorter))
	defer least.Stop()
	defer most.Stop()
	select {
	case <-ctx.Done():
		return
	case <-least.C:
	}
	select {
	case <-ctx.Done():
	case <-news:
	case <-most.C:
	}
}

// trouble keeps what is wrong with the folder, and logs when that changes.
func (f *Folder) trouble(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, errLeft) {
		return
	}
	now := ""
	if err != nil {
		now = err.Error()
	}
	f.update(func(s *Status) {
		switch {
		case now == s.Trouble:
		case now == "":
			f.log.Info("folder can be read again")
		default:
			f.log.Warn("folder can not be read", "err", err)
		}
		s.Trouble = now
	})
}

// takeAll takes the files in turn, and returns how many it did something about.
func (f *Folder) takeAll(ctx context.Context, h *hands, in *feed.Intake, ready []file) int {
	taken := 0
	reported := time.Now()
	for _, w := range ready {
		if ctx.Err() != nil {
			break
		}
		err := f.take(ctx, h, in, &w)
		switch {
		case err == nil:
			taken++
			delete(f.troubles, w.place())
			f.update(func(s *Status) { s.Taken++; s.Waiting = max(s.Waiting-1, 0) })
		case ctx.Err() != nil || errors.Is(err, errLeft) || errors.Is(err, errGone):
		default:
			f.later(w, err)
		}
		if time.Since(reported) >= f.config.Report {
			reported = time.Now()
			s := f.Status()
			f.log.Info("taking a backlog", "waiting", s.Waiting, "taken", s.Taken, "messages", f.Stats().Frames)
		}
	}
	return taken
}

// trouble is a file that could not be taken.
type trouble struct {
	pause time.Duration
	until time.Time
}

const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// later has a file tried again after a while: those behind it go on.
func (f *Folder) later(w file, err error) {
	t := f.troubles[w.place()]
	if t == nil {
		t = &trouble{pause: firstPause / 2}
		f.troubles[w.place()] = t
	}
	t.pause = min(2*t.pause, longestPause)
	t.until = time.Now().Add(t.pause)
	f.retries.Warn(f.log, "file not taken yet, trying again", "file", string(w.ref), "err", err)
}
