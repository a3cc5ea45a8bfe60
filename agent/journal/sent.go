package journal

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Sent is one version of an alert for one sink, and what became of it.
type Sent struct {
	Item    ItemID
	Sink    string
	Alert   safeguard.AlertID
	Version int
	Action  safeguard.Action
	Kind    safeguard.Kind // what it says, or withdraws; Nothing where that was not kept
	Queued  time.Time
	Settled time.Time // zero while it waits
	State   State
	Code    string // of the last receipt
	Kept    bool   // it can be sent again as it was
}

// sent reads the alerts of one attendance, without opening what they say.
func (j *Journal) sent(ctx context.Context, attendance []byte) (all []Sent, err error) {
	err = j.each(ctx, `SELECT id, outbox, version, state, queued, settled, code, label, body IS NOT NULL
		FROM outbox WHERE attendance = ? AND alert IS NOT NULL ORDER BY id`, []any{attendance}, func(r *sql.Rows) error {
		var s Sent
		var queued int64
		var settled sql.NullInt64
		var sealed []byte
		if err := r.Scan(&s.Item, &s.Sink, &s.Version, &s.State, &queued, &settled, &s.Code, &sealed, &s.Kept); err != nil {
			return err
		}
		s.Queued, s.Settled = time.UnixMilli(queued), moment(settled.Int64)
		// One that the disk has changed is left with what is not sealed.
		if plain, err := j.ring.Open(sealed, itemIdentity("label", s.Item)); err == nil {
			if l, err := decodeLabel(plain); err == nil {
				s.Alert, s.Action, s.Kind = l.alert, l.action, l.kind
			}
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	return all, nil
}

// Sent reads what became of the alerts of one attendance.
func (j *Journal) Sent(ctx context.Context, attendance safeguard.AttendanceID) ([]Sent, error) {
	return j.sent(ctx, j.attendanceKey(attendance))
}

// Alert reads an alert as it was sent, and whether it is still kept.
func (j *Journal) Alert(ctx context.Context, s Sent) (a safeguard.Alert, kept bool, err error) {
	var label, body []byte
	found, err := j.one(ctx, `SELECT label, body FROM outbox WHERE id = ? AND alert IS NOT NULL`, []any{s.Item}, &label, &body)
	if err != nil || !found || body == nil {
		return safeguard.Alert{}, false, err
	}
	item := Item{ID: s.Item, Outbox: s.Sink}
	if err := j.openItem(&item, label, body); err != nil {
		return safeguard.Alert{}, false, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return item.Alert, true, nil
}

// WasCoded tells whether any alert was settled with the receipt's code.
func (j *Journal) WasCoded(ctx context.Context, code string) (bool, error) {
	return j.one(ctx, `SELECT 1 FROM outbox WHERE state = 1 AND alert IS NOT NULL AND code = ? LIMIT 1`, []any{code}, new(int))
}

// SendAgain lets an alert wait again as it was. It says why not, where it can not:
// it waits already, a later version took its place, its time is over.
func (j *Journal) SendAgain(ctx context.Context, s Sent) (skipped string, err error) {
	err = j.writer.write(ctx, func(t *tx) (err error) {
		skipped, err = (&operation{Journal: j, Request: Request{Do: Replay}}).applyItem(t, found{item: true, id: int64(s.Item), name: s.Sink})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("send again: %w", err)
	}
	j.queued(s.Sink).set()
	return skipped, nil
}

// SendAnew queues a version of an alert that is no longer kept, made from the
// record. It returns ErrConflict where the attendance changed since it was read.
func (j *Journal) SendAnew(ctx context.Context, r Record, a Addressed) error {
	err := j.writer.write(ctx, func(t *tx) error {
		var rev int64
		if _, err := t.get(`SELECT rev FROM attendances WHERE key = ?`, []any{j.attendanceKey(r.Attendance.ID)}, &rev); err != nil {
			return err
		}
		if rev != r.rev {
			return ErrConflict
		}
		return j.queueAlert(t, 0, a, t.stamp(j.now()))
	})
	if err != nil {
		return fmt.Errorf("send anew: %w", err)
	}
	j.queued(a.Sink).set()
	return nil
}
