package journal

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Seq numbers the entries in the order in which they were appended. No number is
// used twice.
type Seq int64

// State is where an entry or an outbox item stands.
type State int

// The states. Only what waits is owed.
const (
	Waiting State = iota
	Settled
	Ignored  // nothing follows from it
	SetAside // kept for a person
	Late     // an alert that was not delivered before the attendance was over
)

var states = [...]string{"waiting", "settled", "ignored", "set-aside", "late"}

func (s State) String() string {
	if s < Waiting || s > Late {
		return "unknown"
	}
	return states[s]
}

// Entry is one message in the journal.
type Entry struct {
	Seq        Seq
	Turn       Seq // where it stands among those that wait: Seq, unless it was replayed
	Feed       string
	Site       string // ODS code, where the transport tells it
	Peer       string
	Charset    string // the feed's override of MSH-18
	Processing string // the feed's override of MSH-11
	Received   time.Time
	Body       []byte
	Broken     error // why Body can not be read, if so
}

// maxBody is the largest message that is kept, far above what a feed takes.
const maxBody = 256 << 20

// Append puts m on disk. It is what a feed accepts with: when it returns without
// an error, m survives a power failure, and the acknowledgement it returns may
// be sent. A message with the origin (MSH-3, MSH-4, MSH-10) and body of an
// earlier one, or with its Source, is not appended again: the earlier
// acknowledgement is returned.
//
// While intake is stopped, it returns feed.ErrHold with the Fault.
func (j *Journal) Append(ctx context.Context, m feed.Message) (feed.Ack, error) {
	if len(m.Body) > maxBody {
		return nil, fmt.Errorf("append to journal: %w: %d bytes, kept are up to %d", feed.ErrRefuse, len(m.Body), maxBody)
	}
	if f := j.guard.intake(len(m.Body)); f != nil {
		return nil, fmt.Errorf("append to journal: %w: %w", feed.ErrHold, f)
	}
	a := j.arrival(m)
	began := time.Now()
	err := j.writer.write(ctx, a.write)
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil, fmt.Errorf("append to journal: %w", err)
	default:
		return nil, fmt.Errorf("append to journal: %w: %w", feed.ErrHold, err)
	}
	tracing.Accepted(ctx, int64(a.seq), m.Feed, began, a.repeat)
	j.log.DebugContext(logging.WithEntry(ctx, int64(a.seq)), "message taken", "feed", m.Feed, "repeats_one", a.repeat)
	if a.repeat {
		j.repeats.Add(1)
	} else {
		j.entries.set()
		if a.sender != nil {
			j.senders.Store(a.sender.name(), true)
		}
	}
	return a.ack, nil
}

// arrival is a message on its way into the journal.
type arrival struct {
	*Journal
	message feed.Message
	now     time.Time
	origin  *origin // nil where the message has none
	source  []byte  // nil where the transport has none
	digest  []byte
	sender  *sender // to be written down; nil where it is known

	ack    feed.Ack // what is answered
	seq    Seq      // of its entry, or of the one it repeats
	repeat bool     // it came before
}

func (j *Journal) arrival(m feed.Message) *arrival {
	a := &arrival{Journal: j, message: m, now: j.now(), digest: j.key("body", m.Body)}
	if m.Source != "" {
		a.source = j.key("source", []byte(m.Feed+"\x00"+m.Source))
	}
	h, err := hl7.ParseHeader(m.Body)
	if err != nil || len(h.Header().ControlID) == 0 {
		return a
	}
	s := senderOf(h.Header())
	key := j.origin(s, h.Header().ControlID)
	a.origin = &key
	if _, known := j.senders.Load(s.name()); !known {
		a.sender = &s
	}
	return a
}

// write appends the message, unless it came before.
func (a *arrival) write(t *tx) error {
	reused, err := a.earlier(t)
	if err != nil || a.repeat {
		return err
	}
	a.ack = a.message.Ack
	return a.insert(t, reused)
}

// earlier finds the acknowledgement of the same message, or whether its origin
// came with another body.
func (a *arrival) earlier(t *tx) (reused bool, err error) {
	a.ack, a.repeat = nil, false
	since := a.now.Add(-a.policy.Duplicates).UnixMilli()
	same := func([]byte) bool { return true }
	if a.source != nil {
		_, err := a.find(t, `SELECT seq, digest, ack FROM entries WHERE source = ? AND received >= ? ORDER BY seq DESC LIMIT 1`, same, a.source, since)
		if err != nil || a.repeat {
			return false, err
		}
	}
	if a.origin == nil {
		return false, nil
	}
	same = func(digest []byte) bool { return bytes.Equal(digest, a.digest) }
	for _, seq := range t.origins.recent[*a.origin] {
		found, err := a.find(t, `SELECT seq, digest, ack FROM entries WHERE seq = ? AND received >= ?`, same, seq, since)
		if err != nil || a.repeat {
			return false, err
		}
		reused = reused || found
	}
	if !t.origins.filter.mayHave(*a.origin) {
		return reused, nil
	}
	found, err := a.find(t, `SELECT e.seq, e.digest, e.ack FROM origins o CROSS JOIN entries e ON e.seq = o.seq
		WHERE o.origin = ? AND e.received >= ? ORDER BY o.seq DESC LIMIT 8`, same, *a.origin, since)
	return reused || found, err
}

// find looks among some entries for one that is the same.
func (a *arrival) find(t *tx, query string, same func(digest []byte) bool, args ...any) (found bool, err error) {
	err = t.each(query, args, func(rows *sql.Rows) error {
		var seq Seq
		var digest, sealed []byte
		if err := rows.Scan(&seq, &digest, &sealed); err != nil || a.repeat {
			return err
		}
		if found = true; !same(digest) {
			return nil
		}
		// An acknowledgement that rotted is not worth refusing the message for:
		// it is journalled again, and the pipeline knows its visit.
		if plain, err := a.ring.Open(sealed, entryIdentity("ack", seq)); err == nil {
			a.ack, a.seq, a.repeat = append(feed.Ack{}, plain...), seq, true
		}
		return nil
	})
	return found, err
}

func (a *arrival) insert(t *tx, reused bool) error {
	if err := t.number(); err != nil {
		return err
	}
	a.seq = t.seq
	t.received = max(t.received, min(a.message.Received.UnixMilli(), a.now.UnixMilli()))
	body, err := a.ring.Seal(a.message.Body, entryIdentity("body", t.seq))
	if err != nil {
		return err
	}
	ack, err := a.ring.Seal(a.message.Ack, entryIdentity("ack", t.seq))
	if err != nil {
		return err
	}
	m := a.message
	_, err = t.exec(`INSERT INTO entries (seq, turn, state, received, feed, site, peer, charset, process, reused, origin, source, digest, body, ack)
		VALUES (?1, ?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`,
		t.seq, t.received, m.Feed, m.Site, m.Peer, m.Charset, m.Processing, reused, a.origin, a.source, a.digest, body, ack)
	if err == nil && a.origin != nil {
		t.origins.add(originOf{*a.origin, t.seq})
	}
	if err == nil && a.sender != nil {
		err = a.putSender(t, *a.sender)
	}
	return err
}

// entryIdentity binds what is sealed to its row and column.
func entryIdentity(column string, seq Seq) []byte {
	return strconv.AppendInt([]byte("journal entry "+column+" "), int64(seq), 10)
}

// Unsettled reads the waiting entries after the given turn, in order, at most limit.
func (j *Journal) Unsettled(ctx context.Context, after Seq, limit int) ([]Entry, error) {
	var entries []Entry
	err := j.each(ctx, `SELECT seq, turn, feed, site, peer, charset, process, received, body FROM entries
		WHERE state = 0 AND turn > ? ORDER BY turn LIMIT ?`, []any{after, limit}, func(rows *sql.Rows) error {
		var e Entry
		var received int64
		var sealed []byte
		err := rows.Scan(&e.Seq, &e.Turn, &e.Feed, &e.Site, &e.Peer, &e.Charset, &e.Processing, &received, &sealed)
		if err != nil {
			return err
		}
		e.Received = time.UnixMilli(received)
		if e.Body, err = j.ring.Open(sealed, entryIdentity("body", e.Seq)); err != nil {
			e.Broken = fmt.Errorf("message does not open: %w: the disk changed it, ask the sender to send it again", err)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return entries, nil
}
