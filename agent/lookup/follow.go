package lookup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Change is what the centre tells of those whom the sites asked about.
type Change struct {
	Number safeguard.NHSNumber // whose flags changed; zero for nobody
	Resume string              // to go on from, once this has been dealt with; empty for from where it was
	Missed bool                // changes may have been missed
	Lost   time.Time           // with Missed: the centre has lost what it was told since then; zero for nothing
}

// Changes tells, from the resume point on, what changes, until it breaks.
type Changes func(ctx context.Context, resume string) iter.Seq2[Change, error]

// Attendances has attendances asked about again and decided anew. With a nil error
// it is on disk that they are to be.
type Attendances interface {
	Changed(ctx context.Context, n safeguard.NHSNumber) error // the open ones of the number
	Missed(ctx context.Context) error                         // all that are open

	// Lost has the lookups and corrections since then made once more.
	Lost(ctx context.Context, since time.Time) error
}

// Kept is what the cache has to be refreshed.
type Kept interface {
	// Outdate tells that the flags changed, and gives how to ask again where an
	// answer is kept. One that none is held is not given any more.
	Outdate(n safeguard.NHSNumber, now time.Time) (q safeguard.Query, ok bool, err error)

	// Doubt makes everything due that is kept now.
	Doubt(now time.Time)

	// Due gives how to ask again for kept answers that are not fresh any more, the
	// oldest first, at most limit; those that none is held for attendances that
	// are open only.
	Due(now time.Time, open func(safeguard.AttendanceID) bool, limit int) []safeguard.Query
}

// Follower follows what the centre says has changed, while it can be reached.
type Follower struct {
	Changes     Changes
	Lookup      *Lookup
	Kept        Kept
	Attendances Attendances
	File        string // where the resume point is kept
	Log         *slog.Logger

	saved  time.Time
	resume string // the last that has been dealt with
}

const (
	followShortest = 250 * time.Millisecond
	followLongest  = 2 * time.Second
	followRefused  = time.Minute     // when the centre will not tell
	saveEvery      = 5 * time.Second // how much is told again after a kill
)

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	f.resume = f.load()
	pause, failures := followShortest, 0
	for {
		began := time.Now()
		err := f.follow(ctx)
		f.save(true)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Minute {
			pause, failures = followShortest, 0
		}
		// The centre ends a stream now and then, and that is no news.
		if failures++; failures == 2 {
			f.Log.Warn("changes of flags not followed, trying again", "err", err)
		}
		if pause = min(2*pause, followLongest); errors.Is(err, safeguard.ErrRefused) {
			pause = followRefused
		}
		select {
		case <-time.After(pause - rand.N(pause/4)):
		case <-ctx.Done():
			return nil
		}
	}
}

// follow deals with changes until the stream breaks, or one can not be dealt
// with: it is told again then.
func (f *Follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for change, err := range f.Changes(ctx, f.resume) {
		if err != nil {
			return err
		}
		if change.Missed {
			f.Log.Info("changes of flags may have been missed, asking again for who is here, and then for what is kept")
			f.Kept.Doubt(time.Now())
			if err := f.Attendances.Missed(ctx); err != nil {
				return fmt.Errorf("ask again for all: %w", err)
			}
			if !change.Lost.IsZero() {
				f.Log.Warn("the centre was restored, telling it again what it was told", "since", change.Lost)
				if err := f.Attendances.Lost(ctx, change.Lost); err != nil {
					return fmt.Errorf("tell the centre again: %w", err)
				}
			}
		}
		if !change.Number.IsZero() {
			if err := f.changed(ctx, change.Number); err != nil {
				return err
			}
		}
		if change.Resume != "" {
			f.resume = change.Resume
		}
		f.save(change.Missed)
	}
	return ctx.Err()
}

// changed has the open attendances of the number decided anew, and the kept
// answer refreshed.
func (f *Follower) changed(ctx context.Context, n safeguard.NHSNumber) error {
	q, kept, err := f.Kept.Outdate(n, time.Now())
	if err != nil {
		f.Log.Warn("outdated answer still on disk", "err", err) // and not given
	}
	if err := f.Attendances.Changed(ctx, n); err != nil {
		return fmt.Errorf("ask again after a change: %w", err)
	}
	if !kept {
		return nil
	}
	q.Purpose = safeguard.Refresh
	if answer := f.Lookup.Lookup(ctx, q); answer.Source != safeguard.FromCentre {
		return errors.New("refresh a changed answer: the centre did not answer")
	}
	return nil
}

// load reads the resume point. Without one the centre says that changes may have
// been missed, which is right.
func (f *Follower) load() string {
	text, err := os.ReadFile(f.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Log.Warn("resume point of changes not read, going on without", "err", err)
	}
	return strings.TrimSpace(string(text))
}

// save writes the resume point, not more often than needed. It need not be
// durable: an older one means that some is told again.
func (f *Follower) save(now bool) {
	if f.resume == "" || !now && time.Since(f.saved) < saveEvery {
		return
	}
	aside := f.File + ".new"
	err := os.MkdirAll(filepath.Dir(f.File), 0o700)
	if err == nil {
		err = os.WriteFile(aside, []byte(f.resume+"\n"), 0o600)
	}
	if err == nil {
		err = os.Rename(aside, f.File)
	}
	if err != nil {
		f.Log.Warn("resume point of changes not written", "err", err)
	}
	f.saved = time.Now()
}
