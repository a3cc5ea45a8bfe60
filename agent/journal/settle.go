package journal

import (
	"context"
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
// record was read.
func (j *Journal) Settle(ctx context.Context, o Outcome) error {
	now := time.Now().UnixMilli()
	err := j.writer.write(ctx, func(t *tx) error { return j.settle(t, o, now) })
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

func (j *Journal) settle(t *tx, o Outcome, now int64) error {
	if o.Record != nil {
		if err := j.putRecord(t, o); err != nil {
			return err
		}
	}
	if o.Entry != 0 {
		keep := o.Keep || o.State == SetAside
		_, err := t.exec(`UPDATE entries SET state = ?, settled = ?, note = ?, body = CASE WHEN ? THEN body END
			WHERE seq = ? AND state = 0`, o.State, now, o.Note, keep, o.Entry)
		if err != nil {
			return err
		}
	}
	if o.Item != 0 {
		if _, err := t.exec(`UPDATE outbox SET state = ?, settled = ?, body = NULL WHERE id = ? AND state = 0`, o.State, now, o.Item); err != nil {
			return err
		}
	}
	for _, a := range o.Alerts {
		if err := j.queueAlert(t, a, now); err != nil {
			return err
		}
	}
	if o.Record != nil {
		return j.queueLookup(t, o, now)
	}
	return nil
}

func (j *Journal) putRecord(t *tx, o Outcome) error {
	r := o.Record
	a := r.Attendance
	var rev int64
	if _, err := t.get(`SELECT rev FROM attendances WHERE id = ?`, []any{a.ID[:]}, &rev); err != nil {
		return err
	}
	if rev != r.rev {
		return ErrConflict
	}
	plain, err := encodeRecord(*r)
	if err != nil {
		return err
	}
	body, err := j.ring.Seal(plain, recordIdentity(a.ID, rev+1))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO attendances (id, rev, patient, open, begun, body) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, patient = excluded.patient, open = excluded.open, begun = excluded.begun, body = excluded.body`,
		a.ID[:], rev+1, j.patient(a), a.State == safeguard.Open, a.Begun.UnixMilli(), body)
	if err == nil && !o.Visit.IsZero() {
		_, err = t.exec(`INSERT INTO continued (visit, attendance) VALUES (?, ?) ON CONFLICT (visit) DO NOTHING`, o.Visit[:], a.ID[:])
	}
	return err
}

func recordIdentity(id safeguard.AttendanceID, rev int64) []byte {
	return fmt.Appendf(nil, "journal attendance %s %d", id, rev)
}

// patient is the keyed hash under which a patient's attendances are found.
func (j *Journal) patient(a safeguard.Attendance) []byte {
	switch p := a.Patient; {
	case !p.MRN.IsZero():
		id := p.MRN.Reveal()
		return j.ring.Token("journal patient", []byte("mrn\x00"+id.Authority+"\x00"+id.Value))
	case !p.Number.IsZero():
		return j.ring.Token("journal patient", []byte("nhs\x00"+p.Number.Reveal()))
	}
	return j.ring.Token("journal patient", []byte("attendance\x00"+a.ID.String()))
}

// Record reads an attendance by the id of any of its visits, and whether there
// is one.
func (j *Journal) Record(ctx context.Context, visit safeguard.AttendanceID) (Record, bool, error) {
	return j.record(ctx, `SELECT id, rev, body FROM attendances
		WHERE id = COALESCE((SELECT attendance FROM continued WHERE visit = ?1), ?1)`, visit[:])
}

// Begun reads the latest open attendance of the same patient that began at or
// after the given time, and whether there is one.
func (j *Journal) Begun(ctx context.Context, a safeguard.Attendance, since time.Time) (Record, bool, error) {
	return j.record(ctx, `SELECT id, rev, body FROM attendances
		WHERE open AND patient = ? AND begun >= ? ORDER BY begun DESC LIMIT 1`, j.patient(a), since.UnixMilli())
}

func (j *Journal) record(ctx context.Context, query string, args ...any) (Record, bool, error) {
	rows, err := j.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return Record{}, false, fmt.Errorf("read attendance: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return Record{}, false, rows.Err()
	}
	var raw, sealed []byte
	var rev int64
	if err := rows.Scan(&raw, &rev, &sealed); err != nil {
		return Record{}, false, fmt.Errorf("read attendance: %w", err)
	}
	id := safeguard.AttendanceID(raw)
	plain, err := j.ring.Open(sealed, recordIdentity(id, rev))
	if err != nil {
		return Record{}, false, fmt.Errorf("open attendance %s: %w", id, err)
	}
	r, err := decodeRecord(plain)
	r.rev = rev
	return r, err == nil, err
}
