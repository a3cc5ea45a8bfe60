package journal

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Record is what is known of one attendance, and what was made of it.
type Record struct {
	Attendance safeguard.Attendance // without the patient's name
	Accepted   time.Time            // when the message that began it was accepted
	Stage      safeguard.Stage
	Own        Lookup                 // about the patient
	Mothers    Lookup                 // about an infant's mother
	Recorded   []Recorded             // lookups that the centre may have recorded as attending
	TakenBack  []string               // marks of the numbers of those that it was to take back
	Shown      safeguard.Shown        // what the EPR was told
	Sinks      []string               // that were told of the alert
	Current    safeguard.AttendanceID // the visit that goes on; of one without others, its own
	Before     safeguard.AttendanceID // the visit that an admission continues, while it does; else zero
	Opened     time.Time              // when the hospital last said that the patient is here
	Told       Clock                  // of the message that told who and where the patient is
	Moved      Clock                  // of the message that told whether the patient is here
	Closed     Closing                // by a person
	rev        int64                  // of the row; 0 before it is written
}

// Answer is what is known: about the patient, and about an infant's mother.
func (r Record) Answer() safeguard.Answer {
	if r.Attendance.Patient.Mother.IsZero() {
		return r.Own.Answer
	}
	return r.Own.Answer.WithMothers(r.Mothers.Answer)
}

// Known tells whether the record was read, as against made anew.
func (r Record) Known() bool { return r.rev > 0 }

// Lookup is what is known about one number.
type Lookup struct {
	Answer safeguard.Answer // the last one
	About  Asked            // what it answers
	Asked  Asked            // the last lookup that the centre answered
}

// Asked is what a lookup hung on. Another number, date of birth or purpose calls
// for another lookup.
type Asked struct {
	Number  safeguard.NHSNumber
	Born    safeguard.Private[safeguard.Date]
	Purpose safeguard.Purpose
}

// Recorded is an unscheduled lookup, by what it is told from others.
type Recorded struct {
	Number     safeguard.NHSNumber
	Attendance safeguard.AttendanceID
}

// Clock is when a message's event occurred, by what the sender says. Its zero
// value is before all others.
type Clock struct {
	At       time.Time // EVN-6, else MSH-7
	Sequence int64     // MSH-13; 0 for none
	Feed     string    // whose sequence it is
	Final    bool      // the message took an identifier away: an earlier one does not bring it back
}

// Closing is a person's end of the asking about an attendance.
type Closing struct {
	At     time.Time // zero where nobody closed it
	Who    string
	Reason string
}

// attendanceKey hides the id of an attendance: whoever knows a visit's number
// can compute the id.
func (j *Journal) attendanceKey(id safeguard.AttendanceID) []byte { return j.key("attendance", id[:]) }

func recordIdentity(key []byte, rev int64) []byte {
	return fmt.Appendf(nil, "journal attendance %x %d", key, rev)
}

// putNames writes down what the patient goes by now, if that changed.
func (j *Journal) putNames(t *tx, key []byte, a safeguard.Attendance) error {
	want := j.names(a.Patient)
	var have [][]byte
	err := t.each(`SELECT name FROM named WHERE attendance = ?`, []any{key}, func(rows *sql.Rows) error {
		var name []byte
		err := rows.Scan(&name)
		have = append(have, name)
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(have, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if slices.EqualFunc(have, want, bytes.Equal) {
		return nil
	}
	if _, err := t.exec(`DELETE FROM named WHERE attendance = ?`, key); err != nil {
		return err
	}
	for _, name := range want {
		if _, err := t.exec(`INSERT INTO named (name, attendance) VALUES (?, ?)`, name, key); err != nil {
			return err
		}
	}
	return nil
}

// names are the keys under which a patient's attendances are found.
func (j *Journal) names(p safeguard.Patient) (names [][]byte) {
	if !p.MRN.IsZero() {
		names = append(names, j.localName(p.MRN.Reveal()))
	}
	for _, n := range []safeguard.NHSNumber{p.Number, p.Mother} {
		if !n.IsZero() {
			names = append(names, j.numberName(n))
		}
	}
	return names
}

func (j *Journal) localName(id safeguard.Identifier) []byte {
	return j.key("patient", []byte("mrn\x00"+id.Authority+"\x00"+id.Value))
}

func (j *Journal) numberName(n safeguard.NHSNumber) []byte {
	return j.key("patient", []byte("nhs\x00"+n.Reveal()))
}

// ErrBroken means that what is kept of an attendance does not open any more: the
// disk changed it. Others are not concerned.
var ErrBroken = errors.New("kept attendance does not open, the disk changed it")

// Record reads an attendance by the id of any of its visits, and whether there
// is one.
func (j *Journal) Record(ctx context.Context, visit safeguard.AttendanceID) (Record, bool, error) {
	records, err := j.records(ctx, `SELECT key, rev, body FROM attendances
		WHERE key = COALESCE((SELECT attendance FROM continued WHERE visit = ?1), ?1)`, j.attendanceKey(visit))
	if err != nil || len(records) == 0 {
		return Record{}, false, err
	}
	return records[0], true, nil
}

// mostNamed bounds how many attendances of one patient are followed, the latest
// first.
const mostNamed = 64

// Ahead writes the record down as it is, and nothing that follows. It returns
// ErrConflict as Settle does.
func (j *Journal) Ahead(ctx context.Context, r *Record) error {
	key := j.attendanceKey(r.Attendance.ID)
	plain, err := encodeRecord(*r)
	if err != nil {
		return err
	}
	body, err := j.ring.Seal(plain, recordIdentity(key, r.rev+1))
	if err != nil {
		return fmt.Errorf("write ahead: %w", err)
	}
	err = j.writer.write(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE attendances SET rev = ?, body = ? WHERE key = ? AND rev = ?`, r.rev+1, body, key, r.rev)
		if err == nil && n == 0 {
			err = ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write ahead: %w", err)
	}
	r.rev++
	return nil
}

// Named reads the attendances whose patient goes by any of the hospital's or NHS
// numbers, also as an infant's mother; the latest first.
func (j *Journal) Named(ctx context.Context, local []safeguard.Private[safeguard.Identifier], numbers []safeguard.NHSNumber) ([]Record, error) {
	var all []Record
	add := func(name []byte) error {
		records, err := j.records(ctx, `SELECT a.key, a.rev, a.body FROM named n JOIN attendances a ON a.key = n.attendance
			WHERE n.name = ? ORDER BY a.begun DESC LIMIT ?`, name, mostNamed)
		for _, r := range records {
			if !slices.ContainsFunc(all, func(s Record) bool { return s.Attendance.ID == r.Attendance.ID }) {
				all = append(all, r)
			}
		}
		return err
	}
	for _, id := range local {
		if err := add(j.localName(id.Reveal())); err != nil {
			return nil, err
		}
	}
	for _, n := range numbers {
		if err := add(j.numberName(n)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Overdue reads the first attendance that is to be looked at by now; without
// one, when the next will be. A zero time is never.
func (j *Journal) Overdue(ctx context.Context, now time.Time) (r Record, found bool, due time.Time, err error) {
	var at int64
	var key []byte
	found, err = j.one(ctx, `SELECT due, key FROM attendances WHERE due IS NOT NULL ORDER BY due LIMIT 1`, nil, &at, &key)
	if err != nil || !found {
		return Record{}, false, time.Time{}, err
	}
	if due = time.UnixMilli(at); due.After(now) {
		return Record{}, false, due, nil
	}
	records, err := j.records(ctx, `SELECT key, rev, body FROM attendances WHERE key = ?`, key)
	if errors.Is(err, ErrBroken) {
		// It can not be looked at, now or later; it is kept for what the disk may still give back.
		err = j.writer.write(ctx, func(t *tx) error {
			_, err := t.exec(`UPDATE attendances SET due = NULL WHERE key = ?`, key)
			return err
		})
		return Record{}, false, now, err
	}
	if err != nil || len(records) == 0 {
		return Record{}, false, now, err
	}
	return records[0], true, time.Time{}, nil
}

// records reads and opens attendances. Where some do not open, it returns the
// others with ErrBroken.
func (j *Journal) records(ctx context.Context, query string, args ...any) ([]Record, error) {
	type row struct {
		key, sealed []byte
		rev         int64
	}
	var rows []row
	err := j.each(ctx, query, args, func(r *sql.Rows) error {
		var w row
		err := r.Scan(&w.key, &w.rev, &w.sealed)
		rows = append(rows, w)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read attendance: %w", err)
	}
	var records []Record
	var broken error
	for _, w := range rows {
		r, err := j.openRecord(w.key, w.rev, w.sealed)
		if errors.Is(err, ErrBroken) {
			broken = err
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, broken
}

func (j *Journal) openRecord(key []byte, rev int64, sealed []byte) (Record, error) {
	plain, err := j.ring.Open(sealed, recordIdentity(key, rev))
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	r, err := decodeRecord(plain)
	r.rev = rev
	return r, err
}
