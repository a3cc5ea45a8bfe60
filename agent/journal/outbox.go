package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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

func (j *Journal) queueAlert(t *tx, entry Seq, a Addressed, now int64) error {
	plain, err := encodeAlert(a.Alert)
	if err != nil {
		return err
	}
	return j.queue(t, row{
		outbox: a.Sink, entry: entry, due: 0, now: now, body: plain,
		label: label{a.Alert.Attendance.ID, a.Alert.Action, a.Alert.ID}, version: a.Alert.Version,
		alert: j.key("alert", []byte(a.Alert.ID)), control: j.controlKey(a.Alert.ControlID(a.Sink)),
	})
}

// queueLookup makes the attendance owe one visit, or none.
func (j *Journal) queueLookup(t *tx, o Outcome, now int64) error {
	id := o.Record.Attendance.ID
	if _, err := t.exec(`UPDATE outbox SET state = 2, settled = ?, head = 0, body = NULL WHERE attendance = ? AND outbox = ? AND state = 0`,
		now, j.attendanceKey(id), Lookups); err != nil {
		return err
	}
	if o.Ask.IsZero() {
		return nil
	}
	plain, err := encodeVisit(o.Named)
	if err != nil {
		return err
	}
	return j.queue(t, row{outbox: Lookups, entry: o.Entry, due: o.Ask.UnixMilli(), tries: o.Tries, now: now, body: plain, label: label{attendance: id}})
}

// row is what a new item is made from.
type row struct {
	outbox         string
	entry          Seq
	due, now       int64
	tries, version int
	alert, control []byte // keys
	label          label
	body           []byte
}

func (j *Journal) queue(t *tx, r row) error {
	t.item++
	mark, err := j.ring.Seal(r.label.encode(), itemIdentity("label", t.item))
	if err != nil {
		return err
	}
	body, err := j.ring.Seal(r.body, itemIdentity("body", t.item))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO outbox (id, outbox, attendance, entry, state, due, tries, queued, alert, version, control, code, label, body, head)
		VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, '', ?11, ?12,
			NOT EXISTS (SELECT 1 FROM outbox WHERE attendance = ?3 AND outbox = ?2 AND state = 0))`,
		t.item, r.outbox, j.attendanceKey(r.label.attendance), r.entry, r.due, r.tries, r.now, r.alert, r.version, r.control, mark, body)
	return err
}

func (j *Journal) controlKey(control string) []byte { return j.key("control", []byte(control)) }

// label is what an operator may be told about an item, sealed because it leads
// from a visit's number to the alerts about it.
type label struct {
	attendance safeguard.AttendanceID
	action     safeguard.Action
	alert      safeguard.AlertID
}

func (l label) encode() []byte {
	return append(append(l.attendance[:len(l.attendance):len(l.attendance)], byte(l.action)), l.alert...)
}

func decodeLabel(plain []byte) (l label, err error) {
	const id = len(l.attendance)
	if len(plain) <= id {
		return l, errors.New("label too short")
	}
	return label{safeguard.AttendanceID(plain[:id]), safeguard.Action(plain[id]), safeguard.AlertID(plain[id+1:])}, nil
}

func itemIdentity(column string, id ItemID) []byte {
	return strconv.AppendInt([]byte("journal item "+column+" "), int64(id), 10)
}

// Next reads the first item of the outbox that is due, in order for each
// attendance: an item waits for the earlier ones of its attendance. Without one
// it tells when the next will be due; zero for never.
func (j *Journal) Next(ctx context.Context, outbox string, now time.Time) (item Item, due time.Time, err error) {
	ready, err := j.candidate(ctx, nextReady, outbox)
	if err != nil {
		return Item{}, time.Time{}, err
	}
	delayed, err := j.candidate(ctx, nextDelayed, outbox)
	if err != nil {
		return Item{}, time.Time{}, err
	}
	// Of what was delayed and what was not, the older goes first.
	next := ready
	if delayed != nil && !time.UnixMilli(delayed.due).After(now) && (ready == nil || delayed.ID < ready.ID) {
		next = delayed
	}
	if next == nil {
		if delayed != nil {
			due = time.UnixMilli(delayed.due)
		}
		return Item{}, due, nil
	}
	next.Broken = j.openItem(&next.Item, next.label, next.body)
	return next.Item, time.Time{}, nil
}

// The first of those that may go at once, and of those that have to wait. Both
// are the first row of an index, however many there are.
const (
	nextReady   = `SELECT id, due, tries, queued, label, body FROM outbox WHERE state = 0 AND head AND outbox = ? AND due = 0 ORDER BY id LIMIT 1`
	nextDelayed = `SELECT id, due, tries, queued, label, body FROM outbox WHERE state = 0 AND head AND outbox = ? AND due > 0 ORDER BY due, id LIMIT 1`
)

// candidate is an item that is not opened yet.
type candidate struct {
	Item
	due         int64
	label, body []byte
}

func (j *Journal) candidate(ctx context.Context, query, outbox string) (*candidate, error) {
	c := &candidate{Item: Item{Outbox: outbox}}
	var queued int64
	found, err := j.one(ctx, query, []any{outbox}, &c.ID, &c.due, &c.Tries, &queued, &c.label, &c.body)
	if err != nil {
		return nil, fmt.Errorf("read outbox %s: %w", outbox, err)
	}
	if !found {
		return nil, nil
	}
	c.Queued = time.UnixMilli(queued)
	return c, nil
}

func (j *Journal) openItem(item *Item, sealedLabel, sealed []byte) error {
	plain, err := j.ring.Open(sealedLabel, itemIdentity("label", item.ID))
	if err != nil {
		return fmt.Errorf("item %d does not open: %w: the disk changed it", item.ID, err)
	}
	l, err := decodeLabel(plain)
	if err != nil {
		return err
	}
	item.Attendance = l.attendance
	if plain, err = j.ring.Open(sealed, itemIdentity("body", item.ID)); err != nil {
		return fmt.Errorf("item %d does not open: %w: the disk changed it", item.ID, err)
	}
	if item.Outbox == Lookups {
		item.Named, err = decodeVisit(plain)
	} else {
		item.Alert, err = decodeAlert(plain)
	}
	return err
}

// Done settles a delivered item, or sets aside a refused one, with its receipt.
// The alert is kept as long as the message it follows from, so that it can be
// sent again as it was; after that, or at once for a lookup, it is destroyed.
func (j *Journal) Done(ctx context.Context, id ItemID, r safeguard.Receipt) error {
	state := Settled
	if r.Outcome == safeguard.Refused {
		state = SetAside
	}
	err := j.writer.write(ctx, func(t *tx) error { return t.endItem(id, state, t.stamp(j.now()), r.Code, true) })
	if err != nil {
		return fmt.Errorf("settle item %d: %w", id, err)
	}
	return nil
}

// endItem takes an item out of its outbox, and lets the next of its attendance
// come to the head. An item that does not wait stays as it is.
func (t *tx) endItem(id ItemID, state State, now int64, code string, keep bool) error {
	var outbox string
	var attendance []byte
	waits, err := t.get(`SELECT outbox, attendance FROM outbox WHERE id = ? AND state = 0`, []any{id}, &outbox, &attendance)
	if err != nil || !waits {
		return err
	}
	keep = keep && (outbox != Lookups || state == SetAside)
	if _, err := t.exec(`UPDATE outbox SET state = ?1, head = 0, settled = ?2, code = ?3, body = CASE WHEN ?4 THEN body END WHERE id = ?5`,
		state, now, code, keep, id); err != nil {
		return err
	}
	return t.advance(attendance, outbox)
}

// advance puts the first waiting item of the attendance at the head.
func (t *tx) advance(attendance []byte, outbox string) error {
	_, err := t.exec(`UPDATE outbox SET head = 1 WHERE head = 0
		AND id = (SELECT MIN(id) FROM outbox WHERE attendance = ? AND outbox = ? AND state = 0)`, attendance, outbox)
	return err
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
