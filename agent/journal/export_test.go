package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SetSchema makes the file claim another schema.
func SetSchema(j *Journal, version int) error {
	return j.writer.write(context.Background(), func(t *tx) error {
		_, err := t.exec(fmt.Sprintf("PRAGMA user_version = %d", version))
		return err
	})
}

// Next is the first item that is due.
func (j *Journal) Next(ctx context.Context, outbox string, now time.Time) (Item, time.Time, error) {
	items, next, err := j.Due(ctx, outbox, now, 1)
	if len(items) == 0 {
		return Item{}, next, err
	}
	return items[0], time.Time{}, err
}

// NeverSync makes a journal that is opened after it unsafe: what it acknowledges
// is in the kernel's memory only.
func NeverSync() {
	writerPragmas = append(writerPragmas, "synchronous(OFF)")
}

// WithNow gives the journal another clock.
func WithNow(now func() time.Time) Option { return func(j *Journal) { j.now = now } }

// Filtered tells whether repeats are looked for in the table only where they may
// be, and refills what that is known by.
func Filtered(ctx context.Context, j *Journal) (before bool, err error) {
	err = j.writer.alone(ctx, func(t *tx) error {
		before = t.origins.filter.whole.Load()
		return nil
	})
	if err != nil {
		return before, err
	}
	return before, j.refill(ctx, true)
}

// Tender does by hand what Run does every minute.
type Tender struct {
	*Journal
	clock clock
}

// NewTender is Run before its first look.
func NewTender(j *Journal) *Tender {
	return &Tender{j, clock{began: time.Now(), last: j.now().Round(0)}}
}

// Tend does what is due.
func (t *Tender) Tend(ctx context.Context) error { return t.tend(ctx, &t.clock) }

// CheckAll checks the whole file, as Run does every day.
func CheckAll(ctx context.Context, j *Journal) { j.checkAll(ctx) }

// Change runs a statement as the writer does.
func Change(ctx context.Context, j *Journal, query string, args ...any) error {
	return j.writer.write(ctx, func(t *tx) error {
		_, err := t.exec(query, args...)
		return err
	})
}

// Value reads the one value that a query gives.
func Value[T any](ctx context.Context, j *Journal, query string, args ...any) (v T, err error) {
	_, err = j.one(ctx, query, args, &v)
	return v, err
}

// Block keeps the writer busy until the channel is closed. It returns once it is.
func Block(j *Journal, until <-chan struct{}) {
	busy := make(chan struct{})
	go func() {
		_ = j.writer.alone(context.Background(), func(*tx) error {
			close(busy)
			<-until
			return nil
		})
	}()
	<-busy
}

// Abandon leaves the journal as a kill does, but for the lock.
func Abandon(j *Journal) error {
	j.writer.close()
	return errors.Join(j.closeReader(), j.writer.tx.close(), j.lock.Close())
}

// Panic is a step that changes something and then panics.
func Panic(ctx context.Context, j *Journal) error {
	return j.writer.write(ctx, func(t *tx) error {
		if _, err := t.exec(`UPDATE entries SET state = 1`); err != nil {
			return err
		}
		panic("a fault of the program")
	})
}
