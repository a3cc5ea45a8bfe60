package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Lookups is the outbox of owed lookups. No sink may bear its name.
const Lookups = "lookups"

// ItemID names an outbox item.
type ItemID int64

// Item is one thing owed: an alert to a sink, or a visit to an attendance.
type Item struct {
	ID         ItemID
	Outbox     string
	Attendance safeguard.AttendanceID
	Tries      int
	Queued     time.Time
	Alert      safeguard.Alert      // of a sink's item
	Named      safeguard.Attendance // of an owed lookup: the attendance with the patient's name
	Broken     error                // why the item can not be read, if so
}

func (j *Journal) queueAlert(t *tx, a Addressed, now int64) error {
	plain, err := encodeAlert(a.Alert)
	if err != nil {
		return err
	}
	control := a.Alert.ControlID(a.Sink)
	id := a.Alert.Attendance.ID
	body, err := j.ring.Seal(plain, itemIdentity(a.Sink, id, control))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO outbox (outbox, attendance, state, due, queued, control, body) VALUES (?, ?, 0, ?, ?, ?, ?)`,
		a.Sink, id[:], now, now, control, body)
	return err
}

// queueLookup makes the attendance owe one visit, or none.
func (j *Journal) queueLookup(t *tx, o Outcome, now int64) error {
	id := o.Record.Attendance.ID
	if _, err := t.exec(`UPDATE outbox SET state = 2, settled = ?, body = NULL WHERE outbox = ? AND attendance = ? AND state = 0`,
		now, Lookups, id[:]); err != nil {
		return err
	}
	if o.Ask.IsZero() {
		return nil
	}
	plain, err := encodeVisit(o.Named)
	if err != nil {
		return err
	}
	body, err := j.ring.Seal(plain, itemIdentity(Lookups, id, ""))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO outbox (outbox, attendance, state, due, tries, queued, body) VALUES (?, ?, 0, ?, ?, ?, ?)`,
		Lookups, id[:], o.Ask.UnixMilli(), o.Tries, now, body)
	return err
}

func itemIdentity(outbox string, attendance safeguard.AttendanceID, control string) []byte {
	return fmt.Appendf(nil, "journal outbox %q %s %s", outbox, attendance, control)
}

// Next reads the first item of the outbox that is due, in order for each
// attendance: an item waits for the earlier ones of its attendance. Without one
// it tells when the next will be due; zero for never.
func (j *Journal) Next(ctx context.Context, outbox string, now time.Time) (item Item, due time.Time, err error) {
	var raw, sealed []byte
	var at, queued int64
	var control string
	err = j.reader.QueryRowContext(ctx, `SELECT id, attendance, due, tries, queued, control, body FROM outbox o
		WHERE outbox = ?1 AND state = 0 AND NOT EXISTS (SELECT 1 FROM outbox e
			WHERE e.outbox = ?1 AND e.attendance = o.attendance AND e.state = 0 AND e.id < o.id)
		ORDER BY due > ?2, CASE WHEN due > ?2 THEN due ELSE id END LIMIT 1`, outbox, now.UnixMilli()).
		Scan(&item.ID, &raw, &at, &item.Tries, &queued, &control, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return Item{}, time.Time{}, nil
	}
	if err != nil {
		return Item{}, time.Time{}, fmt.Errorf("read outbox %s: %w", outbox, err)
	}
	if due := time.UnixMilli(at); due.After(now) {
		return Item{}, due, nil
	}
	item.Outbox, item.Attendance, item.Queued = outbox, safeguard.AttendanceID(raw), time.UnixMilli(queued)
	item.Broken = j.openItem(&item, control, sealed)
	return item, time.Time{}, nil
}

func (j *Journal) openItem(item *Item, control string, sealed []byte) error {
	plain, err := j.ring.Open(sealed, itemIdentity(item.Outbox, item.Attendance, control))
	if err != nil {
		return fmt.Errorf("open item %d: %w", item.ID, err)
	}
	if item.Outbox == Lookups {
		item.Named, err = decodeVisit(plain)
	} else {
		item.Alert, err = decodeAlert(plain)
	}
	return err
}

// Done settles a delivered item, or sets aside a refused one, with its receipt.
// What was refused keeps its sealed body for a person to look at.
func (j *Journal) Done(ctx context.Context, id ItemID, r safeguard.Receipt) error {
	state := Settled
	if r.Outcome == safeguard.Refused {
		state = SetAside
	}
	err := j.writer.write(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE outbox SET state = ?1, settled = ?2, code = ?3, body = CASE WHEN ?1 = 3 THEN body END
			WHERE id = ?4 AND state = 0`, state, r.At.UnixMilli(), r.Code, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("settle item %d: %w", id, err)
	}
	return nil
}

// Postpone counts a failed try, and makes the item due later.
func (j *Journal) Postpone(ctx context.Context, id ItemID, code string, until time.Time) error {
	err := j.writer.write(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE outbox SET tries = tries + 1, code = ?, due = ? WHERE id = ? AND state = 0`, code, until.UnixMilli(), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("postpone item %d: %w", id, err)
	}
	return nil
}
