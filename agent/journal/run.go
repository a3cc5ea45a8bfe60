package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// How often Run does what.
const (
	tendEvery  = time.Minute
	checkEvery = day
)

// Run looks after the journal until ctx ends: it watches the free space and the
// clock, destroys and prunes what has had its time, gives room back, and checks
// the whole file once a day. Everything is done in short steps, between which
// the feeds have their turn.
func (j *Journal) Run(ctx context.Context) error {
	c := clock{began: time.Now(), last: j.now().Round(0)}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	checked := time.Duration(0)
	for {
		if err := j.tend(ctx, &c); err != nil && ctx.Err() == nil {
			// What stops intake was logged by the guard; the rest is tried again.
			j.log.Debug("journal not tended", "err", err)
		}
		_ = j.refill(ctx, false) // without it, repeats are looked up in the table
		if c.elapsed-checked >= checkEvery {
			checked = c.elapsed
			j.checkAll(ctx)
			_ = j.refill(ctx, true) // what was pruned is in it no longer
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// tend does what is due.
func (j *Journal) tend(ctx context.Context, c *clock) error {
	j.guard.intake(0)
	back, ahead := c.look(j.now())
	if back > 0 {
		if err := j.writer.alone(ctx, func(t *tx) error { return j.turnBack(t, back) }); err != nil {
			return err
		}
	}
	if ahead > 0 {
		j.log.Warn("clock leapt ahead, nothing is pruned for a day", "by", ahead.Round(time.Second), "remedy", "see that the time service runs")
	}
	if c.trusted() {
		if err := j.prune(ctx); err != nil {
			return err
		}
	}
	err := j.writer.write(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE about SET stamp = MAX(stamp, ?)`, t.stamp(j.now()))
		return err
	})
	if err != nil {
		return err
	}
	// What is committed is safe in the log; only here a file that can not be
	// synced is noticed before the log has grown.
	return j.writer.alone(ctx, func(t *tx) error { return t.checkpoint("PASSIVE") })
}

// pruneStep bounds how long one step of pruning keeps the feeds waiting.
const pruneStep = 200

// prune destroys messages and removes rows that have had their time. What waits
// is owed, and stays.
func (j *Journal) prune(ctx context.Context) error {
	now := j.now()
	before := func(age time.Duration) int64 { return now.Add(-age).UnixMilli() }
	p := j.policy
	for _, s := range []struct {
		query string
		args  []any
	}{
		{destroyEntries, []any{Settled, before(p.Bodies)}},
		{destroyEntries, []any{Ignored, before(p.Bodies)}},
		{destroyEntries, []any{SetAside, before(p.SetAside)}},
		{destroyItems, []any{Settled, before(p.Bodies)}},
		{destroyItems, []any{Ignored, before(p.Bodies)}},
		{destroyItems, []any{SetAside, before(p.SetAside)}},
		{destroyItems, []any{Late, before(p.SetAside)}},
		{pruneItems, []any{Settled, before(p.Settled)}},
		{pruneItems, []any{Ignored, before(p.Settled)}},
		{pruneItems, []any{SetAside, before(p.Settled)}},
		{pruneItems, []any{Late, before(p.Settled)}},
		{pruneVisits, []any{before(p.Attendances)}},
		{pruneAttendances, []any{before(p.Attendances)}},
	} {
		step := func(t *tx) (int64, error) { return t.exec(s.query, append(s.args, pruneStep)...) }
		if err := j.repeat(ctx, step); err != nil {
			return err
		}
	}
	for _, state := range []State{Settled, Ignored, SetAside} {
		if err := j.repeat(ctx, func(t *tx) (int64, error) { return t.pruneEntries(state, before(p.Settled)) }); err != nil {
			return err
		}
	}
	j.dropDamaged()
	if err := j.pruneSize(ctx); err != nil {
		return err
	}
	return j.giveBack(ctx)
}

// The steps of pruning. Their last parameter is how many rows they take.
const (
	destroyEntries = `UPDATE entries SET body = NULL WHERE seq IN (SELECT seq FROM entries
		WHERE state <> 0 AND body IS NOT NULL AND state = ? AND settled < ? LIMIT ?)`
	destroyItems = `UPDATE outbox SET body = NULL, text = NULL WHERE id IN (SELECT id FROM outbox
		WHERE state <> 0 AND body IS NOT NULL AND state = ? AND settled < ? LIMIT ?)`
	pruneEntries = `DELETE FROM entries WHERE seq IN (SELECT seq FROM entries
		WHERE state <> 0 AND state = ? AND settled < ? ORDER BY settled LIMIT ?) RETURNING seq, origin`
	pruneItems = `DELETE FROM outbox WHERE id IN (SELECT id FROM outbox
		WHERE state <> 0 AND state = ? AND settled < ? ORDER BY settled LIMIT ?)`
	// An attendance that still owes something stays, and so do its other visits.
	stale = `(SELECT key FROM attendances a WHERE changed < ? AND NOT EXISTS
		(SELECT 1 FROM outbox o WHERE o.attendance = a.key AND o.state = 0) ORDER BY changed)`
	pruneVisits      = `DELETE FROM continued WHERE visit IN (SELECT visit FROM continued WHERE attendance IN ` + stale + ` LIMIT ?)`
	pruneAttendances = `DELETE FROM attendances WHERE key IN (SELECT key FROM ` + stale + ` LIMIT ?)`
)

// repeat runs a step of pruning until nothing is left for it to do.
func (j *Journal) repeat(ctx context.Context, step func(*tx) (int64, error)) error {
	for {
		var n int64
		err := j.writer.write(ctx, func(t *tx) (err error) {
			n, err = step(t)
			return err
		})
		if err != nil || n < pruneStep {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// pruneEntries removes the entries of the state that were settled before the
// time, the oldest first, and what finds them.
func (t *tx) pruneEntries(state State, before int64) (n int64, err error) {
	var gone []originOf
	err = t.each(pruneEntries, []any{state, before, pruneStep}, func(rows *sql.Rows) error {
		n++
		var seq Seq
		var key sql.NullInt64
		err := rows.Scan(&seq, &key)
		if key.Valid {
			gone = append(gone, originOf{origin(key.Int64), seq})
		}
		return err
	})
	for _, e := range gone {
		if err != nil {
			return n, err
		}
		t.origins.forget(e)
		_, err = t.exec(`DELETE FROM origins WHERE origin = ? AND seq = ?`, e.key, e.seq)
	}
	return n, err
}

// pruneSize removes settled entries and items before their time, the oldest
// first, while the journal is larger than it should be.
func (j *Journal) pruneSize(ctx context.Context) error {
	limit := j.policy.MaxSizeMB << 20
	if limit == 0 {
		return nil
	}
	var removed int64
	for ctx.Err() == nil {
		size, err := j.size(ctx)
		if err != nil {
			return err
		}
		if size.used <= limit {
			break
		}
		var n int64
		err = j.writer.write(ctx, func(t *tx) error {
			n = 0
			for _, state := range []State{Settled, Ignored} {
				entries, err := t.pruneEntries(state, t.stamp(j.now()))
				if err != nil {
					return err
				}
				items, err := t.exec(pruneItems, state, t.stamp(j.now()), pruneStep)
				if err != nil {
					return err
				}
				n += entries + items
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n == 0 {
			j.log.Warn("journal is larger than it should be, with what is owed or set aside", "mb", size.used>>20, "limit", j.policy.MaxSizeMB,
				"remedy", "see why it is not settled, or raise journal.max_size_mb")
			break
		}
		removed += n
	}
	if removed > 0 {
		j.log.Warn("settled entries pruned before their time", "rows", removed, "limit", j.policy.MaxSizeMB,
			"remedy", "raise journal.max_size_mb, or lower journal.settled")
	}
	return nil
}

// size is that of the file, in bytes.
type size struct{ file, used int64 }

func (j *Journal) size(ctx context.Context) (s size, err error) {
	var pages, free, page int64
	for pragma, value := range map[string]*int64{"page_count": &pages, "freelist_count": &free, "page_size": &page} {
		if _, err := j.one(ctx, "PRAGMA "+pragma, nil, value); err != nil {
			return s, fmt.Errorf("measure journal: %w", err)
		}
	}
	return size{pages * page, (pages - free) * page}, nil
}

// Room is given back to the disk when a quarter of the file is unused, down to an
// eighth: what comes next would only need it again.
const (
	giveFrom = 4
	giveTo   = 8
	giveStep = 256 // pages
	giveLeft = 8 << 20
)

func (j *Journal) giveBack(ctx context.Context) error {
	s, err := j.size(ctx)
	if err != nil || s.file-s.used < max(s.file/giveFrom, giveLeft) {
		return err
	}
	for ctx.Err() == nil && s.file-s.used > max(s.file/giveTo, giveLeft) {
		err := j.writer.write(ctx, func(t *tx) error {
			_, err := t.exec(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", giveStep))
			return err
		})
		if err != nil {
			return err
		}
		before := s.file
		if s, err = j.size(ctx); err != nil || s.file == before {
			return err
		}
	}
	return ctx.Err()
}

// checkAll compares the structure of the whole file, and puts it in doubt when it
// is not what it should be.
func (j *Journal) checkAll(ctx context.Context) {
	began := time.Now()
	err := j.each(ctx, "PRAGMA quick_check(1)", nil, func(rows *sql.Rows) error {
		var verdict string
		if err := rows.Scan(&verdict); err != nil || verdict == "ok" {
			return err
		}
		return fmt.Errorf("%w: %s", errDamaged, verdict)
	})
	if err == nil {
		j.log.Info("journal checked", "took", time.Since(began).Round(time.Millisecond))
	} else if !errors.Is(err, context.Canceled) {
		j.log.Error("journal check failed", "err", err)
	}
}
