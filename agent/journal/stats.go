package journal

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Stats is the journal's section of the health report. Nothing in it is about a
// person.
type Stats struct {
	Waiting   int                             // entries not settled
	Oldest    time.Time                       // when the oldest of them was received; zero when none
	SetAside  int                             // entries and items kept for a person
	Outboxes  map[string]int                  // items not settled, by outbox
	Longest   map[string]time.Time            // by outbox: when the oldest of them was queued
	Unknown   map[safeguard.Reason]Unanswered // attendances of which nothing is known, and still is to be, by why
	Reused    int                             // entries whose control id came before with another body
	Repeats   int                             // messages that came again since the start, and were answered as the first time
	Messages  int                             // entries there are
	Late      int                             // alerts that came too late for their attendance
	Delivered int                             // alerts delivered
	Began     time.Time                       // when this journal began; later than the first start where it was lost
	Size      int64                           // of the file, in bytes
	Free      uint64                          // of the disk, in bytes, as last seen
	Fault     *Fault                          // why intake is stopped, or nil
	Lost      int                             // rows that a damaged file took with it
	Mended    time.Time                       // when that was; zero for never
}

// Unanswered are the attendances of which nothing is known, for one reason.
type Unanswered struct {
	Attendances int
	Oldest      time.Time // when the message that began the oldest of them was accepted
}

// Stats reads the counts. Most are those of an index.
func (j *Journal) Stats(ctx context.Context) (Stats, error) {
	j.files.RLock()
	about := j.about
	j.files.RUnlock()
	s := Stats{
		Outboxes: map[string]int{}, Longest: map[string]time.Time{}, Repeats: int(j.repeats.Load()),
		Began: about.began, Lost: int(about.lost), Mended: about.mended, Fault: j.guard.intake(0), Free: j.guard.free.Load(),
	}
	size, err := j.size(ctx)
	if err != nil {
		return s, err
	}
	s.Size = size.file
	if err := j.countEntries(ctx, &s); err != nil {
		return s, fmt.Errorf("count entries: %w", err)
	}
	if err := j.countItems(ctx, &s); err != nil {
		return s, fmt.Errorf("count outbox items: %w", err)
	}
	if err := j.countUnknown(ctx, &s); err != nil {
		return s, fmt.Errorf("count attendances: %w", err)
	}
	return s, nil
}

func (j *Journal) countUnknown(ctx context.Context, s *Stats) error {
	s.Unknown = map[safeguard.Reason]Unanswered{}
	return j.each(ctx, `SELECT unknown, COUNT(*), MIN(since) FROM attendances WHERE unknown <> 0 GROUP BY unknown`, nil, func(rows *sql.Rows) error {
		var why safeguard.Reason
		var n int
		var oldest int64
		err := rows.Scan(&why, &n, &oldest)
		s.Unknown[why] = Unanswered{n, time.UnixMilli(oldest)}
		return err
	})
}

// countEntries reads indexes only.
func (j *Journal) countEntries(ctx context.Context, s *Stats) error {
	var oldest sql.NullInt64
	for _, c := range []struct {
		query string
		dest  any
	}{
		{`SELECT COUNT(*) FROM entries WHERE state = 0`, &s.Waiting},
		{`SELECT MIN(received) FROM (SELECT received FROM entries WHERE state = 0 ORDER BY turn LIMIT 1)`, &oldest},
		{`SELECT COUNT(*) FROM entries WHERE state <> 0 AND state = 3`, &s.SetAside},
		{`SELECT COUNT(*) FROM entries WHERE state <> 0`, &s.Messages},
		{`SELECT COUNT(*) FROM entries WHERE reused`, &s.Reused},
	} {
		if _, err := j.one(ctx, c.query, nil, c.dest); err != nil {
			return err
		}
	}
	s.Messages += s.Waiting
	if oldest.Valid {
		s.Oldest = time.UnixMilli(oldest.Int64)
	}
	return nil
}

func (j *Journal) countItems(ctx context.Context, s *Stats) error {
	first := map[string]ItemID{}
	err := j.each(ctx, `SELECT outbox, COUNT(*), MIN(id) FROM outbox WHERE state = 0 GROUP BY outbox`, nil, func(rows *sql.Rows) error {
		var outbox string
		var n int
		var id ItemID
		err := rows.Scan(&outbox, &n, &id)
		s.Outboxes[outbox], first[outbox] = n, id
		return err
	})
	if err != nil {
		return err
	}
	for outbox, id := range first {
		var queued int64
		if found, err := j.one(ctx, `SELECT queued FROM outbox WHERE id = ?`, []any{id}, &queued); err != nil {
			return err
		} else if found {
			s.Longest[outbox] = time.UnixMilli(queued)
		}
	}
	if _, err := j.one(ctx, `SELECT COUNT(*) FROM outbox WHERE state = 1 AND alert IS NOT NULL`, nil, &s.Delivered); err != nil {
		return err
	}
	return j.each(ctx, `SELECT state, COUNT(*) FROM outbox WHERE state <> 0 AND state IN (3, 4) GROUP BY state`, nil, func(rows *sql.Rows) error {
		var state State
		var n int
		err := rows.Scan(&state, &n)
		switch state {
		case SetAside:
			s.SetAside += n
		case Late:
			s.Late += n
		}
		return err
	})
}

// IntakeOpen is what Report says of an intake that is not stopped.
const IntakeOpen = "open"

// Report is Stats as an operator reads them.
type Report struct {
	Intake    string         `json:"intake"` // IntakeOpen, or why not and what to do
	Since     time.Time      `json:"since,omitzero"`
	Began     time.Time      `json:"began"`
	Waiting   int            `json:"waiting"`
	OldestAge string         `json:"oldest_age,omitempty"`
	SetAside  int            `json:"set_aside"`
	Messages  int            `json:"messages"`
	Repeats   int            `json:"repeats"`
	Reused    int            `json:"reused_control_ids"`
	Late      int            `json:"late"`
	Delivered int            `json:"delivered"`
	Outboxes  []OutboxReport `json:"outboxes"`
	SizeMB    int64          `json:"size_mb"`
	FreeMB    uint64         `json:"free_mb"`
	Lost      int            `json:"lost,omitempty"`
	Mended    time.Time      `json:"mended,omitzero"`
}

// OutboxReport is what waits for one sink.
type OutboxReport struct {
	Name      string `json:"name"`
	Waiting   int    `json:"waiting"`
	OldestAge string `json:"oldest_age"`
}

func (s Stats) report(now time.Time) Report {
	r := Report{
		Intake: IntakeOpen, Began: s.Began, Waiting: s.Waiting, SetAside: s.SetAside, Messages: s.Messages, Repeats: s.Repeats,
		Reused: s.Reused, Late: s.Late, Delivered: s.Delivered, SizeMB: s.Size >> 20, FreeMB: s.Free >> 20, Lost: s.Lost, Mended: s.Mended,
	}
	if s.Fault != nil {
		r.Intake, r.Since = "stopped: "+s.Fault.Error(), s.Fault.Since
	}
	if !s.Oldest.IsZero() {
		r.OldestAge = age(now, s.Oldest)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Outboxes)) {
		r.Outboxes = append(r.Outboxes, OutboxReport{name, s.Outboxes[name], age(now, s.Longest[name])})
	}
	return r
}

// age is never negative, whatever the clock did.
func age(now, then time.Time) string { return max(now.Sub(then), 0).Round(time.Second).String() }
