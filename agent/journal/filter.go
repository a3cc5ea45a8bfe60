package journal

import (
	"context"
	"database/sql"
	"sync/atomic"
)

// filter knows of almost every key that is not in the table of origins that it is
// not, so that a message that never came before costs no look into the table. It
// errs on one side only: what it denies is not there.
type filter struct {
	bits  [filterBits / 64]uint64
	whole atomic.Bool // it has every key of the table
}

// filterBits takes a megabyte. With 300,000 keys one message in 200 is looked up
// for nothing, with a million one in 22.
const filterBits = 1 << 23

// places are two, from independent halves of the key, which is a hash.
func (f *filter) places(k origin) [2]uint64 {
	return [2]uint64{uint64(k) % filterBits, uint64(k) >> 32 % filterBits}
}

func (f *filter) add(k origin) {
	for _, p := range f.places(k) {
		atomic.OrUint64(&f.bits[p/64], 1<<(p%64))
	}
}

func (f *filter) mayHave(k origin) bool {
	if !f.whole.Load() {
		return true
	}
	for _, p := range f.places(k) {
		if atomic.LoadUint64(&f.bits[p/64])&(1<<(p%64)) == 0 {
			return false
		}
	}
	return true
}

// filterPage is how many keys are read at once.
const filterPage = 10_000

// refill reads the table into a new filter, which takes the place of the one
// before, unless that is whole and may stay. What the writer moves into the table
// meanwhile it adds to both.
func (j *Journal) refill(ctx context.Context, anew bool) error {
	var next *filter
	err := j.writer.alone(ctx, func(t *tx) error {
		if anew || !t.origins.filter.whole.Load() {
			next = new(filter)
			t.origins.next = next
		}
		return nil
	})
	if err != nil || next == nil {
		return err
	}
	for after, more := origin(-1<<63), true; more; {
		n := 0
		err := j.each(ctx, `SELECT origin FROM origins WHERE origin >= ? ORDER BY origin LIMIT ?`, []any{after, filterPage}, func(rows *sql.Rows) error {
			n++
			err := rows.Scan(&after)
			next.add(after)
			return err
		})
		if err != nil {
			return err
		}
		more = n == filterPage && after < 1<<63-1
		after++ // the last may have more entries, but is known
	}
	return j.writer.alone(ctx, func(t *tx) error {
		if t.origins.next == next { // else the file is another by now
			next.whole.Store(true)
			t.origins.filter, t.origins.next = next, nil
		}
		return nil
	})
}
