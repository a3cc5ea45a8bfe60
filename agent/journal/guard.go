package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/disk"
)

// guard decides whether intake is open. It watches the free space, takes note of
// every failed write, and lets intake go on only after the file was verified.
type guard struct {
	dir   string
	floor uint64 // free bytes below which intake stops
	ring  *keys.Ring
	log   *slog.Logger

	fault  atomic.Pointer[Fault]
	looked atomic.Int64 // when the free space was last asked for, Unix nanoseconds
	taken  atomic.Int64 // bytes taken on since then
	free   atomic.Uint64

	// The writer's own.
	reopen func(*tx) error // closes every connection and opens them again
	mend   func(*tx) error // saves what can be read of a damaged file
	wait   time.Duration   // until the next verification
	opened time.Time       // when intake was last opened again
}

// How often the free space is looked at, and a file in doubt is verified.
const (
	lookEvery     = time.Second
	lookShare     = 8 // and whenever this part of what must stay free was taken on
	firstPause    = 250 * time.Millisecond
	longestPause  = 15 * time.Second
	calmAfter     = time.Minute
	resumeSurplus = 4 // intake resumes with a quarter more free than it stops with
)

// intake is why intake is stopped, or nil, when so many bytes are to be taken on.
func (g *guard) intake(bytes int) *Fault {
	f := g.fault.Load()
	if f != nil && f.Kind != LowSpace {
		return f
	}
	now := time.Now().UnixNano()
	last := g.looked.Load()
	much := g.floor > 0 && uint64(g.taken.Add(int64(bytes))) >= g.floor/lookShare
	if recent := now-last < int64(lookEvery) && now >= last; recent && !much || !g.looked.CompareAndSwap(last, now) {
		return f
	}
	g.taken.Store(0)
	low := g.low(f != nil)
	switch {
	case low != nil && f == nil:
		g.close(LowSpace, low)
	case low == nil && f != nil:
		g.open(f)
	}
	return g.fault.Load()
}

var errLow = errors.New("too little free")

// low tells whether the disk has less room than intake needs; more than that is
// needed to resume. A disk that does not tell has room until a write fails.
func (g *guard) low(resuming bool) error {
	free, err := disk.Free(g.dir)
	if err != nil {
		return nil
	}
	g.free.Store(free)
	need := g.floor
	if resuming {
		need += need / resumeSurplus
	}
	if free >= need {
		return nil
	}
	return fmt.Errorf("%w: %d MB, want %d MB", errLow, free>>20, need>>20)
}

// doubted is the fault that forbids writing anything, or nil.
func (g *guard) doubted() *Fault {
	if f := g.fault.Load(); f != nil && (f.Kind == Failed || f.Kind == Locked || f.Kind == Damaged) {
		return f
	}
	return nil
}

// close stops intake, and tells whether a verification has to follow. What is
// worse takes the place of what was known.
func (g *guard) close(kind FaultKind, err error) (verify bool) {
	f := &Fault{Kind: kind, Since: time.Now(), Err: err}
	before := g.fault.Load()
	if before != nil {
		if before.Kind >= kind {
			return false
		}
		f.Since = before.Since
	}
	if !g.fault.CompareAndSwap(before, f) {
		return g.close(kind, err)
	}
	g.log.Error("journal stops intake", "why", kind, "err", err, "remedy", kind.Remedy())
	return kind != LowSpace && (before == nil || before.Kind == LowSpace)
}

func (g *guard) open(f *Fault) {
	if g.fault.CompareAndSwap(f, nil) {
		g.log.Info("journal resumes intake", "after", time.Since(f.Since).Round(time.Millisecond))
	}
}

// pause is how long to wait before the next verification.
func (g *guard) pause() time.Duration {
	if g.wait == 0 || !g.opened.IsZero() && time.Since(g.opened) > calmAfter {
		g.wait, g.opened = firstPause, time.Time{}
		return g.wait
	}
	g.wait = min(2*g.wait, longestPause)
	return g.wait
}

// verify proves that the file holds what was written and takes more, and then
// lets intake go on. It is false when it has to be tried again.
func (g *guard) verify(t *tx) bool {
	f := g.fault.Load()
	if f == nil || f.Kind == LowSpace {
		return true
	}
	if err := g.prove(t, f.Kind); err != nil {
		g.replace(f, err)
		return false
	}
	g.opened = time.Now()
	g.open(f)
	return true
}

// replace takes note of what a fault has turned out to be.
func (g *guard) replace(f *Fault, err error) {
	kind := cmp.Or(faultOf(err), f.Kind)
	if kind != f.Kind || err.Error() != f.Err.Error() {
		g.log.Error("journal not verified", "why", kind, "err", err, "remedy", kind.Remedy())
		g.fault.Store(&Fault{Kind: kind, Since: f.Since, Err: err})
	}
}

func (g *guard) prove(t *tx, kind FaultKind) error {
	switch kind {
	case NoKeys:
		_, err := g.ring.Seal(nil, nil)
		return err
	case DiskFull:
		if err := g.low(true); err != nil {
			return err
		}
	case Locked:
		if err := g.reopen(t); err != nil {
			return err
		}
	default:
		err := g.reopen(t)
		if err == nil {
			err = check(t)
		}
		if faultOf(err) == Damaged { // already when it was opened, or only when all of it was read
			err = g.mend(t)
		}
		if err != nil {
			return err
		}
	}
	return t.probe()
}

var errDamaged = errors.New("file check")

// check reads the whole file, and compares its structure.
func check(t *tx) error {
	var verdict string
	if err := t.conn.QueryRowContext(context.Background(), "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check file: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return nil
}

// probe writes, syncs, and moves everything from the log into the file.
func (t *tx) probe() error {
	err := t.commit([]*step{{do: func(t *tx) error {
		_, err := t.exec(`UPDATE about SET probe = probe + 1`)
		return err
	}}})
	if err != nil {
		return fmt.Errorf("write a probe: %w", err)
	}
	return t.checkpoint("TRUNCATE")
}

// checkpoint moves what is in the log into the file. What a reader still needs
// stays for the next time.
func (t *tx) checkpoint(mode string) error {
	if t.conn == nil {
		return errClosed
	}
	if _, err := t.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint("+mode+")"); err != nil {
		return fmt.Errorf("move log into file: %w", err)
	}
	return nil
}
