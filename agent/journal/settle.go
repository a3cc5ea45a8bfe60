package journal

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Outcome is what follows from an entry, or from an item that is no alert.
type Outcome struct {
	Entry Seq    // the entry that is settled; 0 for none
	Item  ItemID // the item that is settled, with those before it that ask the same; 0 for none
	State State  // what becomes of them
	Note  string // the rule or reason; never patient data
	Keep  bool   // keep the message's body for a while after settling
	Steps []Step // one for each attendance that is concerned, none twice
}

// Step is one attendance's change of state, with all that it owes from now on.
type Step struct {
	Record      *Record
	Visits      []safeguard.AttendanceID // other visits that Record continues
	Due         time.Time                // when to look at it although nothing happens; zero for never
	Alerts      []Addressed              // to deliver
	Corrections []safeguard.Correction   // to tell the centre
	Ask         time.Time                // when the lookup that it owes is next made; zero for none
	Grace       time.Time                // when its grace ends; zero for none
	Named       safeguard.Attendance     // with the patient's name, for the visits at Ask and Grace
	Unknown     safeguard.Reason         // why nothing is known, while it is to be found out; else NoReason
}

// Addressed is an alert for one sink.
type Addressed struct {
	Sink  string
	Alert safeguard.Alert
}

// Settle writes what follows, and marks the entry or item as settled, in one
// transaction. It returns ErrConflict when an attendance changed since its
// record was read, and ErrNotWaiting when the entry was settled meanwhile.
func (j *Journal) Settle(ctx context.Context, o Outcome) error {
	err := j.writer.write(ctx, func(t *tx) error { return j.settle(t, o, t.stamp(j.now())) })
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	for _, s := range o.Steps {
		for _, a := range s.Alerts {
			j.queued(a.Sink).set()
		}
		for outbox, filled := range map[string]bool{
			Lookups: !s.Ask.IsZero(), Graces: !s.Grace.IsZero(), Corrections: len(s.Corrections) > 0, Reviews: !s.Due.IsZero(),
		} {
			if filled {
				j.queued(outbox).set()
			}
		}
	}
	return nil
}

// settle refuses before it writes anything.
func (j *Journal) settle(t *tx, o Outcome, now int64) error {
	if o.Entry != 0 {
		if waits, err := t.get(`SELECT 1 FROM entries WHERE seq = ? AND state = 0`, []any{o.Entry}, new(int)); err != nil || !waits {
			return cmp.Or(err, ErrNotWaiting)
		}
	}
	for _, s := range o.Steps {
		var rev int64
		if _, err := t.get(`SELECT rev FROM attendances WHERE key = ?`, []any{j.attendanceKey(s.Record.Attendance.ID)}, &rev); err != nil {
			return err
		}
		if rev != s.Record.rev {
			return ErrConflict
		}
	}
	if o.Entry != 0 {
		if err := j.endEntry(t, o, now); err != nil {
			return err
		}
	}
	from := o.Entry
	if o.Item != 0 {
		// What follows from an item follows from what that one followed from.
		if _, err := t.get(`SELECT entry FROM outbox WHERE id = ?`, []any{o.Item}, &from); err != nil {
			return err
		}
		if err := t.endItems(o.Item, o.State, now); err != nil {
			return err
		}
	}
	for _, s := range o.Steps {
		if err := j.step(t, from, s, now); err != nil {
			return err
		}
	}
	return nil
}

// endEntry marks the entry, and destroys its message unless it is to be kept for
// a while.
func (j *Journal) endEntry(t *tx, o Outcome, now int64) error {
	var id safeguard.AttendanceID
	var key []byte
	if len(o.Steps) > 0 {
		id = o.Steps[0].Record.Attendance.ID
		key = j.attendanceKey(id)
	}
	label, err := j.ring.Seal(append(id[:len(id):len(id)], o.Note...), entryIdentity("label", o.Entry))
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE entries SET state = ?1, settled = ?2, attendance = ?3, label = ?4, body = CASE WHEN ?5 THEN body END WHERE seq = ?6`,
		o.State, now, key, label, o.Keep || o.State == SetAside, o.Entry)
	return err
}

func (j *Journal) step(t *tx, entry Seq, s Step, now int64) error {
	if err := j.putRecord(t, s, now); err != nil {
		return err
	}
	for _, a := range s.Alerts {
		if err := j.queueAlert(t, entry, a, now); err != nil {
			return err
		}
	}
	if err := j.queueCorrections(t, entry, s, now); err != nil {
		return err
	}
	if err := j.queueVisit(t, entry, Lookups, s.Ask, s.Named, now); err != nil {
		return err
	}
	return j.queueVisit(t, entry, Graces, s.Grace, s.Named, now)
}

func (j *Journal) putRecord(t *tx, s Step, now int64) error {
	r := s.Record
	a := r.Attendance
	key := j.attendanceKey(a.ID)
	plain, err := encodeRecord(*r)
	if err != nil {
		return err
	}
	body, err := j.ring.Seal(plain, recordIdentity(key, r.rev+1))
	if err != nil {
		return err
	}
	var due any
	if !s.Due.IsZero() {
		due = s.Due.UnixMilli()
	}
	_, err = t.exec(`INSERT INTO attendances (key, rev, open, begun, changed, due, unknown, since, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, open = excluded.open, begun = excluded.begun,
			changed = excluded.changed, due = excluded.due, unknown = excluded.unknown, since = excluded.since,
			body = excluded.body`,
		key, r.rev+1, a.State == safeguard.Open, a.Begun.UnixMilli(), now, due, s.Unknown, r.Accepted.UnixMilli(), body)
	if err != nil {
		return err
	}
	if err := j.putNames(t, key, a); err != nil {
		return err
	}
	for _, visit := range s.Visits {
		// What the visit itself continued so far goes with it.
		from := j.attendanceKey(visit)
		if _, err := t.exec(`UPDATE continued SET attendance = ? WHERE attendance = ?`, key, from); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO continued (visit, attendance) VALUES (?, ?) ON CONFLICT (visit) DO UPDATE SET attendance = excluded.attendance`, from, key)
		if err != nil {
			return err
		}
	}
	if len(s.Visits) == 0 {
		return nil
	}
	// A visit is never continued by its own attendance.
	_, err = t.exec(`DELETE FROM continued WHERE visit = ?1 AND attendance = ?1`, key)
	return err
}
