package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Record is what is known of one attendance, and what was made of it.
type Record struct {
	Attendance safeguard.Attendance // without the patient's name
	Accepted   time.Time            // when the message that began it was accepted
	Answer     safeguard.Answer     // the last one
	Asked      Asked                // the last lookup that the centre answered
	Shown      safeguard.Shown      // what the EPR was told
	rev        int64                // of the row; 0 before it is written
}

// Asked is what a lookup hung on. Another number, date of birth or purpose calls
// for another lookup.
type Asked struct {
	Number  safeguard.NHSNumber
	Born    safeguard.Private[safeguard.Date]
	Purpose safeguard.Purpose
}

// Outcome is what follows from an entry, or from a visit to an attendance.
type Outcome struct {
	Entry  Seq    // the entry that is settled; 0 for none
	Item   ItemID // the owed lookup that is settled; 0 for none
	State  State  // what becomes of them
	Note   string // the rule or reason; never patient data
	Keep   bool   // keep the message's body for a while after settling
	Record *Record
	Visit  safeguard.AttendanceID // another visit that Record continues; zero for none
	Alerts []Addressed            // to deliver
	Ask    time.Time              // when to look at the attendance again; zero for not
	Tries  int                    // how often that was done already
	Named  safeguard.Attendance   // the attendance with the patient's name, for the visit at Ask
}

// Addressed is an alert for one sink.
type Addressed struct {
	Sink  string
	Alert safeguard.Alert
}

// Settle writes what follows, and marks the entry or item as settled, in one
// transaction. It returns ErrConflict when the attendance changed since the
// record was read, and ErrNotWaiting when the entry was settled meanwhile.
func (j *Journal) Settle(ctx context.Context, o Outcome) error {
	err := j.writer.write(ctx, func(t *tx) error { return j.settle(t, o, t.stamp(j.now())) })
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	for _, a := range o.Alerts {
		j.queued(a.Sink).set()
	}
	if !o.Ask.IsZero() {
		j.queued(Lookups).set()
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
	if o.Record != nil {
		if err := j.putRecord(t, o, now); err != nil {
			return err
		}
	}
	if o.Entry != 0 {
		if err := j.endEntry(t, o, now); err != nil {
			return err
		}
	}
	if o.Item != 0 {
		if err := t.endItem(o.Item, o.State, now, "", false); err != nil {
			return err
		}
	}
	for _, a := range o.Alerts {
		if err := j.queueAlert(t, o.Entry, a, now); err != nil {
			return err
		}
	}
	if o.Record != nil {
		return j.queueLookup(t, o, now)
	}
	return nil
}

// endEntry marks the entry, and destroys its message unless it is to be kept for
// a while.
func (j *Journal) endEntry(t *tx, o Outcome, now int64) error {
	var id safeguard.AttendanceID
	var key []byte
	if o.Record != nil {
		id = o.Record.Attendance.ID
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

func (j *Journal) putRecord(t *tx, o Outcome, now int64) error {
	r := o.Record
	a := r.Attendance
	key := j.attendanceKey(a.ID)
	var rev int64
	if _, err := t.get(`SELECT rev FROM attendances WHERE key = ?`, []any{key}, &rev); err != nil {
		return err
	}
	if rev != r.rev {
		return ErrConflict
	}
	plain, err := encodeRecord(*r)
	if err != nil {
		return err
	}
	body, err := j.ring.Seal(plain, recordIdentity(key, rev+1))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO attendances (key, rev, patient, open, begun, changed, body) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, patient = excluded.patient, open = excluded.open, begun = excluded.begun,
			changed = excluded.changed, body = excluded.body`,
		key, rev+1, j.patient(a), a.State == safeguard.Open, a.Begun.UnixMilli(), now, body)
	if err == nil && !o.Visit.IsZero() {
		_, err = t.exec(`INSERT INTO continued (visit, attendance) VALUES (?, ?) ON CONFLICT (visit) DO NOTHING`, j.attendanceKey(o.Visit), key)
	}
	return err
}

// attendanceKey hides the id of an attendance: whoever knows a visit's number
// can compute the id.
func (j *Journal) attendanceKey(id safeguard.AttendanceID) []byte { return j.key("attendance", id[:]) }

func recordIdentity(key []byte, rev int64) []byte {
	return fmt.Appendf(nil, "journal attendance %x %d", key, rev)
}

// patient is the key under which a patient's attendances are found.
func (j *Journal) patient(a safeguard.Attendance) []byte {
	switch p := a.Patient; {
	case !p.MRN.IsZero():
		id := p.MRN.Reveal()
		return j.key("patient", []byte("mrn\x00"+id.Authority+"\x00"+id.Value))
	case !p.Number.IsZero():
		return j.key("patient", []byte("nhs\x00"+p.Number.Reveal()))
	}
	return j.key("patient", []byte("attendance\x00"+a.ID.String()))
}

// ErrBroken means that what is kept of an attendance does not open any more: the
// disk changed it. Others are not concerned.
var ErrBroken = errors.New("kept attendance does not open, the disk changed it")

// Record reads an attendance by the id of any of its visits, and whether there
// is one.
func (j *Journal) Record(ctx context.Context, visit safeguard.AttendanceID) (Record, bool, error) {
	return j.record(ctx, `SELECT key, rev, body FROM attendances
		WHERE key = COALESCE((SELECT attendance FROM continued WHERE visit = ?1), ?1)`, j.attendanceKey(visit))
}

// Begun reads the latest open attendance of the same patient that began at or
// after the given time, and whether there is one.
func (j *Journal) Begun(ctx context.Context, a safeguard.Attendance, since time.Time) (Record, bool, error) {
	return j.record(ctx, `SELECT key, rev, body FROM attendances
		WHERE open AND patient = ? AND begun >= ? ORDER BY begun DESC LIMIT 1`, j.patient(a), since.UnixMilli())
}

func (j *Journal) record(ctx context.Context, query string, args ...any) (Record, bool, error) {
	var key, sealed []byte
	var rev int64
	found, err := j.one(ctx, query, args, &key, &rev, &sealed)
	if err != nil || !found {
		if err != nil {
			err = fmt.Errorf("read attendance: %w", err)
		}
		return Record{}, false, err
	}
	plain, err := j.ring.Open(sealed, recordIdentity(key, rev))
	if err != nil {
		return Record{}, false, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	r, err := decodeRecord(plain)
	r.rev = rev
	return r, err == nil, err
}
