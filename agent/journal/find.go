package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// selection is a filter in the terms of the tables.
type selection struct {
	items   bool // else entries
	where   []string
	args    []any
	after   int64  // the number read last; 0 before the first
	control string // of a message: its entries are still to be found
}

func (s *selection) add(where string, args ...any) {
	s.where = append(s.where, where)
	s.args = append(s.args, args...)
}

// selects reads the filter, and says what is wrong with it.
func (j *Journal) selects(f Filter) (s selection, err error) {
	entries, items, err := numbered(f.IDs)
	if err != nil {
		return s, err
	}
	s.items = f.Sink != "" || len(items) > 0
	switch {
	case len(items) > 0 && len(entries) > 0:
		return s, fmt.Errorf("ids of entries and of items: ask for one kind at a time")
	case len(items) > 0:
		s.add("id IN (SELECT value FROM json_each(?))", list(items))
	case len(entries) > 0 && s.items: // what follows from the entries
		s.add("entry IN (SELECT value FROM json_each(?))", list(entries))
	case len(entries) > 0:
		s.add("seq IN (SELECT value FROM json_each(?))", list(entries))
	}
	if f.Sink != "" && f.Sink != "any" {
		s.add("outbox = ?", f.Sink)
	}
	if f.State != "" {
		state := slices.Index(states[:], f.State)
		if state < 0 {
			return s, fmt.Errorf("state %q: want one of %s", f.State, strings.Join(states[:], ", "))
		}
		s.add("state = ?", state)
		if state != int(Waiting) {
			s.add("state <> 0") // what the indexes of the ended say
		}
	}
	if f.Feed != "" {
		if s.items {
			return s, fmt.Errorf("feed %q: items of a sink have none", f.Feed)
		}
		s.add("feed = ?", f.Feed)
	}
	if f.Attendance != "" {
		id, err := safeguard.ParseAttendanceID(f.Attendance)
		if err != nil {
			return s, err
		}
		s.add("attendance = ?", j.attendanceKey(id))
	}
	if f.ControlID != "" && s.items {
		s.add("control = ?", j.controlKey(f.ControlID))
	} else {
		s.control = f.ControlID
	}
	at := map[bool]string{false: "received", true: "queued"}[s.items]
	if !f.Since.IsZero() {
		s.add(at+" >= ?", f.Since.UnixMilli())
	}
	if !f.Until.IsZero() {
		s.add(at+" < ?", f.Until.UnixMilli())
	}
	return s, nil
}

// numbered tells the ids of entries from those of items.
func numbered(ids []string) (entries, items []int64, err error) {
	for _, id := range ids {
		number, item := strings.CutPrefix(id, "i")
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil || n <= 0:
			return nil, nil, fmt.Errorf("id %q: want a number such as 17 for an entry, or i17 for an item", id)
		case item:
			items = append(items, n)
		default:
			entries = append(entries, n)
		}
	}
	return entries, items, nil
}

func list(numbers []int64) string {
	text, _ := json.Marshal(numbers) // numbers always can
	return string(text)
}

// found is an entry or item as it was read.
type found struct {
	item        bool
	id          int64
	state       State
	at          int64 // received or queued
	settled     sql.NullInt64
	name        string // of the feed or outbox
	peer        string
	entry       Seq
	due         int64
	tries       int
	version     int
	code        string
	label, body []byte // sealed
	text        []byte // sealed; of an item that was refused
}

func (f found) ID() string {
	if f.item {
		return "i" + strconv.FormatInt(f.id, 10)
	}
	return strconv.FormatInt(f.id, 10)
}

// ids lists the rows, those in succession as a range.
func ids(rows []found) string {
	if len(rows) == 0 {
		return "none"
	}
	var all []string
	for i := 0; i < len(rows); {
		k := i + 1
		for k < len(rows) && rows[k].id-rows[k-1].id == rows[i+1].id-rows[i].id && abs(rows[i+1].id-rows[i].id) == 1 {
			k++
		}
		text := rows[i].ID()
		if k-i > 1 {
			text += "-" + rows[k-1].ID()
		}
		all = append(all, text)
		i = k
	}
	return strings.Join(all, " ")
}

func abs(n int64) int64 { return max(n, -n) }

const (
	findEntries = `SELECT seq, state, received, settled, feed, peer, 0, 0, 0, 0, '', label, body, NULL FROM entries`
	findItems   = `SELECT id, state, queued, settled, outbox, '', entry, due, tries, version, code, label, body, text FROM outbox`
)

// find reads the next rows that are selected.
func (j *Journal) find(ctx context.Context, s *selection, newest bool, most int) (rows []found, err error) {
	if s.control != "" {
		seqs, err := j.controlled(ctx, s.control)
		if err != nil {
			return nil, err
		}
		s.add("seq IN (SELECT value FROM json_each(?))", list(seqs))
		s.control = ""
	}
	query, number := findEntries, "seq"
	if s.items {
		query, number = findItems, "id"
	}
	where, args := slices.Clone(s.where), slices.Clone(s.args)
	order := number
	if newest {
		order += " DESC"
	}
	if s.after != 0 {
		where = append(where, number+map[bool]string{false: " > ?", true: " < ?"}[newest])
		args = append(args, s.after)
	}
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	err = j.each(ctx, query+" ORDER BY "+order+" LIMIT ?", append(args, most), func(r *sql.Rows) error {
		f := found{item: s.items}
		err := r.Scan(&f.id, &f.state, &f.at, &f.settled, &f.name, &f.peer, &f.entry, &f.due, &f.tries, &f.version, &f.code, &f.label, &f.body, &f.text)
		rows = append(rows, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if n := len(rows); n > 0 {
		// The caller asks for one more than it takes, to know whether there is more.
		s.after = rows[min(n, most-1)-1].id
	}
	return rows, nil
}

// controlled are the entries of messages with the control id.
func (j *Journal) controlled(ctx context.Context, control string) (seqs []int64, err error) {
	origins, err := j.origins(ctx, control)
	if err != nil {
		return nil, err
	}
	err = j.writer.write(ctx, func(t *tx) error {
		seqs = []int64{}
		for _, o := range origins {
			for _, seq := range t.origins.recent[o] {
				seqs = append(seqs, int64(seq))
			}
			err := t.each(`SELECT seq FROM origins WHERE origin = ?`, []any{o}, func(rows *sql.Rows) error {
				var seq int64
				err := rows.Scan(&seq)
				seqs = append(seqs, seq)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return seqs, err
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
