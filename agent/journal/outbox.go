package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// The outboxes that are no sink's, and whose names none may bear.
const (
	Lookups     = "lookups"     // owed lookups, one for an attendance
	Graces      = "graces"      // the ends of graces, one for an attendance
	Changes     = "changes"     // attendances to ask about again, as the centre said that something changed
	Corrections = "corrections" // lookups that the centre is to take back

	// Reviews is no outbox, but Queued tells of it too: of attendances to look at
	// although nothing happens.
	Reviews = "reviews"
)

var reserved = []string{Lookups, Graces, Changes, Corrections, Reviews}

// Reserved tells whether no sink may bear the name.
func Reserved(name string) bool { return slices.Contains(reserved, name) }

// ItemID names an outbox item.
type ItemID int64

// Item is one thing owed: an alert to a sink, a correction to the centre, or a
// visit to an attendance.
type Item struct {
	ID         ItemID
	Entry      Seq // that it follows from; 0 for none
	Outbox     string
	Attendance safeguard.AttendanceID
	Tries      int
	Queued     time.Time
	Open       bool                 // the attendance is
	Superseded bool                 // a later version of the same alert waits
	Alert      safeguard.Alert      // of a sink's item
	Correction safeguard.Correction // of a correction
	Named      safeguard.Attendance // of a lookup or grace: the attendance with the patient's name
	Again      bool                 // of a change: the centre is to be told again what it was told of the attendance
	Broken     error                // why the item can not be read, if so
}

func (j *Journal) queueAlert(t *tx, entry Seq, a Addressed, now int64) error {
	plain, err := encodeAlert(a.Alert)
	if err != nil {
		return err
	}
	alert := j.key("alert", []byte(a.Alert.ID))
	if a.Alert.Version > 1 {
		// One that is to be tried again later must not hold up what supersedes it.
		if _, err := t.exec(`UPDATE outbox SET due = 0 WHERE attendance = ? AND outbox = ? AND state = 0 AND due > 0 AND alert = ?`,
			j.attendanceKey(a.Alert.Attendance.ID), a.Sink, alert); err != nil {
			return err
		}
	}
	return j.queue(t, row{
		outbox: a.Sink, entry: entry, due: 0, now: now, body: plain,
		label: label{a.Alert.Attendance.ID, a.Alert.Action, a.Alert.Content.Kind, a.Alert.ID}, version: a.Alert.Version,
		patient: j.patientKey(a.Alert.Attendance.Patient), alert: alert, control: j.controlKey(a.Alert.ControlID(a.Sink)),
	})
}

// queueVisit makes the attendance owe one visit of that kind, or none. One that
// waits keeps the patient's name, if there is no other.
func (j *Journal) queueVisit(t *tx, entry Seq, outbox string, due time.Time, named safeguard.Attendance, now int64) error {
	if !due.IsZero() && named.Patient.Family.IsZero() {
		moved, err := t.exec(`UPDATE outbox SET due = ? WHERE attendance = ? AND outbox = ? AND state = 0`, due.UnixMilli(), j.attendanceKey(named.ID), outbox)
		if err != nil || moved > 0 {
			return err
		}
	}
	if _, err := t.exec(`UPDATE outbox SET state = 2, settled = ?, head = 0, body = NULL WHERE attendance = ? AND outbox = ? AND state = 0`,
		now, j.attendanceKey(named.ID), outbox); err != nil {
		return err
	}
	if due.IsZero() {
		return nil
	}
	plain, err := encodeVisit(named)
	if err != nil {
		return err
	}
	return j.queue(t, row{outbox: outbox, entry: entry, due: due.UnixMilli(), now: now, body: plain, label: label{attendance: named.ID}})
}

// queueCorrections adds those that do not wait yet.
func (j *Journal) queueCorrections(t *tx, entry Seq, s Step, now int64) error {
	attendance := s.Record.Attendance.ID
	for _, c := range s.Corrections {
		key := j.key("correction", []byte(c.Attendance.String()+c.Number.Reveal()))
		waits, err := t.get(`SELECT 1 FROM outbox WHERE attendance = ? AND outbox = ? AND state = 0 AND control = ?`,
			[]any{j.attendanceKey(attendance), Corrections, key}, new(int))
		if err != nil {
			return err
		}
		if waits {
			continue
		}
		plain, err := encodeCorrection(c)
		if err != nil {
			return err
		}
		if err := j.queue(t, row{outbox: Corrections, entry: entry, now: now, body: plain, control: key, label: label{attendance: attendance}}); err != nil {
			return err
		}
	}
	return nil
}

// Changed makes every open attendance of the number, or of an infant whose
// mother's it is, be asked about again. It tells how many there are.
func (j *Journal) Changed(ctx context.Context, n safeguard.NHSNumber) (attendances int, err error) {
	records, err := j.records(ctx, `SELECT a.key, a.rev, a.body FROM named n JOIN attendances a ON a.key = n.attendance
		WHERE n.name = ? AND a.open ORDER BY a.begun DESC LIMIT ?`, j.numberName(n), mostNamed)
	if err != nil && !errors.Is(err, ErrBroken) {
		return 0, fmt.Errorf("ask again: %w", err)
	}
	return len(records), j.askAgain(ctx, records, false)
}

// Missed makes every open attendance be asked about again: what has changed
// meanwhile was not told.
func (j *Journal) Missed(ctx context.Context) error {
	return j.askAgainWhere(ctx, `open`, 0, false)
}

// lostSlack is what the clocks of agent and centre may differ.
const lostSlack = 10 * time.Minute

// Lost makes every attendance with which anything was done since then, ended ones
// too, be told to the centre again.
func (j *Journal) Lost(ctx context.Context, since time.Time) error {
	return j.askAgainWhere(ctx, `changed >= ?1`, since.Add(-lostSlack).UnixMilli(), true)
}

// askAgainWhere is about the attendances of which it holds.
func (j *Journal) askAgainWhere(ctx context.Context, holds string, since int64, again bool) error {
	var ids []int64
	err := j.each(ctx, `SELECT id FROM attendances WHERE `+holds+` AND ?1 IS NOT NULL ORDER BY id`, []any{since}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask again: %w", err)
	}
	for some := range slices.Chunk(ids, page) {
		records, err := j.records(ctx, `SELECT key, rev, body FROM attendances WHERE `+holds+` AND ?1 IS NOT NULL AND id BETWEEN ?2 AND ?3`, since, some[0], some[len(some)-1])
		if err != nil && !errors.Is(err, ErrBroken) {
			return fmt.Errorf("ask again: %w", err)
		}
		if again {
			records = slices.DeleteFunc(records, func(r Record) bool { return len(r.Recorded) == 0 && len(r.TakenBack) == 0 })
		}
		if err := j.askAgain(ctx, records, again); err != nil {
			return err
		}
	}
	return nil
}

// askAgain queues visits to the attendances, unless one waits that will ask after
// now; or again, to tell the centre what it was told.
func (j *Journal) askAgain(ctx context.Context, records []Record, again bool) error {
	if len(records) == 0 {
		return nil
	}
	err := j.writer.write(ctx, func(t *tx) error {
		now := t.stamp(j.now())
		for _, r := range records {
			// The first that waits may be under way; one behind it asks after now.
			var waiting int
			if _, err := t.get(`SELECT COUNT(*) FROM outbox WHERE attendance = ? AND outbox = ? AND state = 0`,
				[]any{j.attendanceKey(r.Attendance.ID), Changes}, &waiting); err != nil {
				return err
			}
			if waiting > 1 && !again {
				continue
			}
			visit := row{outbox: Changes, now: now, label: label{attendance: r.Attendance.ID}}
			if again {
				visit.body = []byte{1}
			}
			if err := j.queue(t, visit); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask again: %w", err)
	}
	j.queued(Changes).set()
	return nil
}

// row is what a new item is made from.
type row struct {
	outbox         string
	entry          Seq
	due, now       int64
	version        int
	label          label
	body           []byte
	alert, control []byte // keys
	patient        []byte // key; nil where no order among the patient's attendances is needed
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
	_, err = t.exec(`INSERT INTO outbox (id, outbox, attendance, entry, state, due, tries, queued, patient, alert, version, control, code, label, body, head)
		VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, ?6, ?7, ?8, ?9, ?10, '', ?11, ?12,
			NOT EXISTS (SELECT 1 FROM outbox WHERE attendance = ?3 AND outbox = ?2 AND state = 0)
			AND NOT EXISTS (SELECT 1 FROM outbox WHERE patient = ?7 AND outbox = ?2 AND state = 0))`,
		t.item, r.outbox, j.attendanceKey(r.label.attendance), r.entry, r.due, r.now, r.patient, r.alert, r.version, r.control, mark, body)
	return err
}

// patientKey is whose alerts stay in order, also those of different attendances:
// by the hospital's own number, else by the NHS number. Nil where there is neither.
func (j *Journal) patientKey(p safeguard.Patient) []byte {
	if names := j.names(p); len(names) > 0 {
		return names[0]
	}
	return nil
}

func (j *Journal) controlKey(control string) []byte { return j.key("control", []byte(control)) }

// label is what an operator may be told about an item, sealed because it leads
// from a visit's number to the alerts about it.
type label struct {
	attendance safeguard.AttendanceID
	action     safeguard.Action
	kind       safeguard.Kind // of what the alert says; Nothing in labels of before it was kept
	alert      safeguard.AlertID
}

func (l label) encode() []byte {
	return append(append(l.attendance[:len(l.attendance):len(l.attendance)], byte(l.action)|byte(l.kind)<<4), l.alert...)
}

func decodeLabel(plain []byte) (l label, err error) {
	const id = len(l.attendance)
	if len(plain) <= id {
		return l, errors.New("label too short")
	}
	return label{safeguard.AttendanceID(plain[:id]), safeguard.Action(plain[id] & 0xf), safeguard.Kind(plain[id] >> 4), safeguard.AlertID(plain[id+1:])}, nil
}

func itemIdentity(column string, id ItemID) []byte {
	return strconv.AppendInt([]byte("journal item "+column+" "), int64(id), 10)
}

// Due reads the first items of the outbox that are due, at most limit, in order:
// an item waits for the earlier ones of its attendance, an alert also for those
// about the same patient. It
// tells when the next will be due; zero for never.
func (j *Journal) Due(ctx context.Context, outbox string, now time.Time, limit int) (items []Item, next time.Time, err error) {
	ready, err := j.candidates(ctx, dueAtOnce, outbox, limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	delayed, err := j.candidates(ctx, dueLater, outbox, limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, c := range delayed {
		if at := time.UnixMilli(c.due); at.After(now) {
			next = at
			break
		}
		ready = append(ready, c)
	}
	// Of what was delayed and what was not, the older goes first.
	slices.SortFunc(ready, func(a, b *candidate) int { return cmp.Compare(a.ID, b.ID) })
	for _, c := range ready[:min(limit, len(ready))] {
		c.Broken = j.openItem(&c.Item, c.label, c.body)
		items = append(items, c.Item)
	}
	return items, next, nil
}

// The first of those that may go at once, and of those that have to wait. Both
// are the first rows of an index, however many there are.
const (
	dueColumns = `SELECT id, entry, due, tries, queued, label, body, COALESCE((SELECT open FROM attendances a WHERE a.key = o.attendance), 0),
		` + superseded + `
		FROM outbox o WHERE state = 0 AND head AND outbox = ? AND `
	dueAtOnce = dueColumns + `due = 0 ORDER BY id LIMIT ?`
	dueLater  = dueColumns + `due > 0 ORDER BY due, id LIMIT ?`
)

// superseded tells whether a later version of the alert of an item o waits.
const superseded = `EXISTS (SELECT 1 FROM outbox l WHERE l.attendance = o.attendance AND l.outbox = o.outbox AND l.id > o.id AND l.state = 0 AND l.alert = o.alert)`

// candidate is an item that is not opened yet.
type candidate struct {
	Item
	due         int64
	label, body []byte
}

func (j *Journal) candidates(ctx context.Context, query, outbox string, limit int) (all []*candidate, err error) {
	err = j.each(ctx, query, []any{outbox, limit}, func(rows *sql.Rows) error {
		c := &candidate{Item: Item{Outbox: outbox}}
		var queued int64
		err := rows.Scan(&c.ID, &c.Entry, &c.due, &c.Tries, &queued, &c.label, &c.body, &c.Open, &c.Superseded)
		c.Queued = time.UnixMilli(queued)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read outbox %s: %w", outbox, err)
	}
	return all, nil
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
	switch item.Outbox {
	case Lookups, Graces:
		item.Named, err = decodeVisit(plain)
	case Corrections:
		item.Correction, err = decodeCorrection(plain)
	case Changes:
		item.Again = len(plain) > 0
	default:
		item.Alert, err = decodeAlert(plain)
	}
	return err
}

// Done settles a delivered item, or sets aside a refused one, with its receipt.
// An alert is kept as long as the message it follows from, so that it can be
// sent again as it was; what is no alert is destroyed at once.
func (j *Journal) Done(ctx context.Context, id ItemID, r safeguard.Receipt) error {
	if r.Outcome != safeguard.Refused {
		return j.End(ctx, id, Settled, r.Code)
	}
	var text []byte
	if r.Text != "" {
		var err error
		if text, err = j.ring.Seal([]byte(r.Text[:min(len(r.Text), longestText)]), itemIdentity("text", id)); err != nil {
			return fmt.Errorf("seal the text of item %d: %w", id, err)
		}
	}
	err := j.writer.write(ctx, func(t *tx) error {
		if err := t.endItem(id, SetAside, t.stamp(j.now()), r.Code, true); err != nil || text == nil {
			return err
		}
		_, err := t.exec(`UPDATE outbox SET text = ? WHERE id = ? AND state = ?`, text, id, SetAside)
		return err
	})
	if err != nil {
		return fmt.Errorf("set aside item %d: %w", id, err)
	}
	return nil
}

// longestText is how much is kept of what an EPR says about a refusal.
const longestText = 4 << 10

// End takes an item out of its outbox without a receipt: as ignored where a later
// one takes its place, as late where its attendance is over.
func (j *Journal) End(ctx context.Context, id ItemID, state State, code string) error {
	err := j.writer.write(ctx, func(t *tx) error { return t.endItem(id, state, t.stamp(j.now()), code, state != Ignored) })
	if err != nil {
		return fmt.Errorf("settle item %d: %w", id, err)
	}
	return nil
}

// endItems ends the item and those before it that wait in the same outbox for
// the same attendance.
func (t *tx) endItems(id ItemID, state State, now int64) error {
	var before []ItemID
	err := t.each(`SELECT b.id FROM outbox i JOIN outbox b ON b.attendance = i.attendance AND b.outbox = i.outbox AND b.id < i.id AND b.state = 0
		WHERE i.id = ?`, []any{id}, func(rows *sql.Rows) error {
		var b ItemID
		err := rows.Scan(&b)
		before = append(before, b)
		return err
	})
	for _, i := range append(before, id) {
		if err != nil {
			return err
		}
		err = t.endItem(i, state, now, "", false)
	}
	return err
}

// endItem takes an item out of its outbox, and lets the next come to the head. An item that does not wait stays as it is.
func (t *tx) endItem(id ItemID, state State, now int64, code string, keep bool) error {
	var outbox string
	var l line
	waits, err := t.get(`SELECT outbox, attendance, patient FROM outbox WHERE id = ? AND state = 0`, []any{id}, &outbox, &l.attendance, &l.patient)
	if err != nil || !waits {
		return err
	}
	keep = keep && (!Reserved(outbox) || state == SetAside)
	if _, err := t.exec(`UPDATE outbox SET state = ?1, head = 0, settled = ?2, code = ?3, text = NULL, body = CASE WHEN ?4 THEN body END WHERE id = ?5`,
		state, now, code, keep, id); err != nil {
		return err
	}
	return t.advance(outbox, l)
}

// line is what an item is in order with: what is about the same attendance, and
// if it is an alert, what is about the same patient.
type line struct{ attendance, patient []byte } // keys

// advance puts the first waiting items of the line at the head, unless they wait
// in another line too.
func (t *tx) advance(outbox string, l line) error {
	_, err := t.exec(`UPDATE outbox AS o SET head = 1 WHERE head = 0
		AND id IN ((SELECT MIN(id) FROM outbox WHERE attendance = ?1 AND outbox = ?2 AND state = 0), (SELECT MIN(id) FROM outbox WHERE patient = ?3 AND outbox = ?2 AND state = 0))
		AND `+isFirst, l.attendance, outbox, l.patient)
	return err
}

// isFirst tells whether a waiting item o has none before it.
const isFirst = `NOT EXISTS (SELECT 1 FROM outbox e WHERE e.attendance = o.attendance AND e.outbox = o.outbox AND e.state = 0 AND e.id < o.id)
	AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.patient = o.patient AND e.outbox = o.outbox AND e.state = 0 AND e.id < o.id)`

// Postpone makes the item due later, unless a later version took its place while
// it was tried. A try that counts brings it nearer to being set aside.
func (j *Journal) Postpone(ctx context.Context, id ItemID, code string, until time.Time, counts bool) error {
	err := j.writer.write(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE outbox AS o SET tries = tries + ?, code = ?, due = CASE WHEN `+superseded+` THEN 0 ELSE ? END WHERE id = ? AND state = 0`,
			counts, code, until.UnixMilli(), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("postpone item %d: %w", id, err)
	}
	return nil
}
