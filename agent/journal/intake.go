package journal

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Seq numbers the entries in the order in which they were appended.
type Seq int64

// State is where an entry or an outbox item stands.
type State int

// The states. Only what waits is owed.
const (
	Waiting State = iota
	Settled
	Ignored  // nothing follows from it
	SetAside // kept for a person
)

// Entry is one message in the journal.
type Entry struct {
	Seq        Seq
	Feed       string
	Charset    string // the feed's override of MSH-18
	Processing string // the feed's override of MSH-11
	Received   time.Time
	Body       []byte
	Broken     error // why Body can not be read, if so
}

// Append puts m on disk. It is what a feed accepts with: when it returns without
// an error, m survives a power failure, and the acknowledgement it returns may
// be sent. A message with the origin (MSH-3, MSH-4, MSH-10) and body of an
// earlier one is not appended again: the earlier acknowledgement is returned.
func (j *Journal) Append(ctx context.Context, m feed.Message) (feed.Ack, error) {
	origin := j.origin(m.Body)
	digest := j.ring.Token("journal body", m.Body)
	var ack feed.Ack
	err := j.writer.write(ctx, func(t *tx) error {
		earlier, reused, err := j.earlier(t, origin, digest)
		if err != nil {
			return err
		}
		if ack = earlier; ack != nil {
			return nil
		}
		ack = m.Ack
		return j.insert(t, m, origin, digest, reused)
	})
	if err != nil {
		return nil, fmt.Errorf("append to journal: %w", err)
	}
	j.entries.set()
	return ack, nil
}

// origin is the keyed hash of what names a message; nil where it can not be read.
func (j *Journal) origin(body []byte) []byte {
	m, err := hl7.Parse(body)
	if err != nil {
		return nil
	}
	h := m.Header()
	if len(h.ControlID) == 0 {
		return nil
	}
	return j.ring.Token("journal origin", bytes.Join([][]byte{h.Application.Raw(), h.Facility.Raw(), h.ControlID}, []byte{0}))
}

// earlier finds the acknowledgement of the same message, or whether the origin
// came with another body.
func (j *Journal) earlier(t *tx, origin, digest []byte) (ack feed.Ack, reused bool, err error) {
	if origin == nil {
		return nil, false, nil
	}
	var seq Seq
	var sealed []byte
	same, err := t.get(`SELECT seq, ack FROM entries WHERE origin = ? AND digest = ? ORDER BY seq DESC LIMIT 1`, []any{origin, digest}, &seq, &sealed)
	if err != nil || !same {
		if err == nil {
			reused, err = t.get(`SELECT seq FROM entries WHERE origin = ? LIMIT 1`, []any{origin}, &seq)
		}
		return nil, reused, err
	}
	plain, err := j.ring.Open(sealed, entryIdentity("ack", seq))
	if err != nil {
		return nil, false, fmt.Errorf("open acknowledgement of entry %d: %w", seq, err)
	}
	return append(feed.Ack{}, plain...), false, nil
}

func (j *Journal) insert(t *tx, m feed.Message, origin, digest []byte, reused bool) error {
	var last Seq
	if _, err := t.get(`SELECT COALESCE(MAX(seq), 0) FROM entries`, nil, &last); err != nil {
		return err
	}
	seq := last + 1
	body, err := j.ring.Seal(m.Body, entryIdentity("body", seq))
	if err != nil {
		return err
	}
	ack, err := j.ring.Seal(m.Ack, entryIdentity("ack", seq))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO entries (seq, state, received, feed, charset, process, origin, digest, reused, body, ack)
		VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, seq, m.Received.UnixMilli(), m.Feed, m.Charset, m.Processing, origin, digest, reused, body, ack)
	return err
}

// entryIdentity binds what is sealed to its row and column.
func entryIdentity(column string, seq Seq) []byte {
	return strconv.AppendInt([]byte("journal entry "+column+" "), int64(seq), 10)
}

// Unsettled reads the waiting entries after the given one, in order, at most limit.
func (j *Journal) Unsettled(ctx context.Context, after Seq, limit int) ([]Entry, error) {
	rows, err := j.reader.QueryContext(ctx, `SELECT seq, feed, charset, process, received, body FROM entries
		WHERE state = 0 AND seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer rows.Close()
	var entries []Entry
	for rows.Next() {
		var e Entry
		var received int64
		var sealed []byte
		if err := rows.Scan(&e.Seq, &e.Feed, &e.Charset, &e.Processing, &received, &sealed); err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		e.Received = time.UnixMilli(received)
		e.Body, e.Broken = j.ring.Open(sealed, entryIdentity("body", e.Seq))
		entries = append(entries, e)
	}
	return entries, rows.Err()
}
