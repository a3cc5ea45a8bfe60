package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Upload is what one authority sends at one time.
type Upload struct {
	ID        string // unique
	Once      bool   // one with this id that is there already is this one
	Authority safeguard.ODSCode
	By        string // the identity that sent it
	Received  time.Time
	Sequence  int64  // the authority's running number of its uploads; 0 for none
	Digest    []byte // of its content; a repeat is known by it and the sequence
	File      []byte // SHA-256 of the file that it was read from; may be empty
	Rows      int    // of the whole upload, with those that no change could be made of
	Changes   iter.Seq[Change]
	Snapshot  *Snapshot // nil where flags that are not named stay as they are
	Verdicts  []byte    // what is to be kept of the verdicts on its rows, as given

	// Progress, if there is one, is told how many changes are applied. It must
	// not wait.
	Progress func(changes int)
}

// Snapshot says that the changes are all flags that the authority has.
type Snapshot struct {
	// Day is that of the snapshot. A flag that is current then, which is without
	// an end or with a later one, and that no change names, is ended on it; one
	// that has not begun is withdrawn.
	Day safeguard.Date

	// Share is how much of the current flags the snapshot may end or withdraw,
	// from 0 to 1. One that would do more changes nothing, and waits.
	Share float64

	// Whoever may be meant by a row that could not be read is not missing: who
	// has one of these numbers, or was born on one of these days, or, where that
	// could not be read either, everyone.
	Numbers  []safeguard.NHSNumber
	Born     []safeguard.Date
	Everyone bool
}

// Change adds a flag, or puts it in the place of the one with the same plan and
// start, or withdraws that one.
type Change struct {
	Number   safeguard.NHSNumber
	Flag     Flag // of the upload's authority
	Withdraw bool
}

// Effect is what a change did.
type Effect uint8

// The effects. They are kept as they are.
const (
	NoEffect  Effect = iota // the upload waited, and the person was erased meanwhile
	Added                   // a flag that was not there
	Replaced                // the flag says something else than before
	Unchanged               // the flag said so already, or was withdrawn already
	Withdrawn
	NotHeld // there is no such flag to withdraw
	Later   // the upload waited, and a later one has said something of the flag
)

// UploadState is how far an upload has come.
type UploadState string

// The states.
const (
	Applied   UploadState = "applied"
	Waits     UploadState = "waiting"   // for a person; nothing is changed
	Rejected  UploadState = "rejected"  // by a person; nothing is changed
	Overtaken UploadState = "overtaken" // it waited until a later snapshot came; nothing is changed
)

// Kept is an upload as it is kept.
type Kept struct {
	ID        string
	Authority safeguard.ODSCode
	By        string
	Received  time.Time
	Snapshot  bool
	Sequence  int64
	Digest    []byte
	File      []byte
	State     UploadState
	Decided   time.Time // when a person did
	DecidedBy string
	Reason    string

	Rows      int
	Loaded    int   // rows
	Current   int   // flags that were, before a snapshot
	Closing   int   // of these, how many it ends or withdraws, or would
	Ended     int   // flags that the snapshot does not name, and has ended
	Withdrawn int   // flags that it does not name, and has withdrawn
	GapFrom   int64 // first and last of the sequence numbers that never came
	GapTo     int64 // before its own; 0 for none
	Repeated  bool  // it came before, and is as it was

	// Of one upload only, not in lists:
	Verdicts []byte   // nil once retention has removed them
	Effects  []Effect // one for each change; none while nothing is changed
}

// SequenceError refuses an upload for its number.
type SequenceError struct {
	Sequence, Highest int64
	Used              time.Time // when an upload with this number and other content came; zero where none did
}

func (e *SequenceError) Error() string {
	if e.Used.IsZero() {
		return fmt.Sprintf("sequence number %d never came, and %d has: it may say less than is held by now; send what still holds as %d", e.Sequence, e.Highest, e.Highest+1)
	}
	return fmt.Sprintf("sequence number %d was used on %s with other content; the next is %d", e.Sequence, e.Used.UTC().Format("2006-01-02 15:04 UTC"), e.Highest+1)
}

// ErrNoUpload says that there is no such upload.
var ErrNoUpload = errors.New("no such upload")

// NotWaiting says that there is nothing to decide about an upload.
type NotWaiting struct{ State UploadState }

func (e *NotWaiting) Error() string { return "the upload does not wait: it is " + string(e.State) }

const keptColumns = `id, authority, sent_by, received_at, kind, sequence, digest, file_digest, state, decided_at, decided_by, reason,
	row_count, loaded, current_flags, closing, ended, withdrawn, gap_from, gap_to`

// kindOf is an upload as the tables have it.
func kindOf(snapshot bool) string {
	if snapshot {
		return "snapshot"
	}
	return "changes"
}

func scanKept(row scanner, more ...any) (Kept, error) {
	var k Kept
	var authority, kind, state string
	var received int64
	var decided *int64
	into := []any{&k.ID, &authority, &k.By, &received, &kind, &k.Sequence, &k.Digest, &k.File, &state, &decided, &k.DecidedBy, &k.Reason,
		&k.Rows, &k.Loaded, &k.Current, &k.Closing, &k.Ended, &k.Withdrawn, &k.GapFrom, &k.GapTo}
	if err := row.Scan(append(into, more...)...); err != nil {
		return Kept{}, err
	}
	k.Received, k.Snapshot, k.State = fromMillis(received), kind == kindOf(true), UploadState(state)
	if decided != nil {
		k.Decided = fromMillis(*decided)
	}
	var err error
	k.Authority, err = safeguard.ParseODSCode(authority)
	return k, err
}

// Uploads implements Store.
func (s *DB) Uploads(ctx context.Context, which UploadFilter) ([]Kept, error) {
	text, args := `SELECT `+keptColumns+` FROM uploads WHERE received_at >= ?`, []any{millis(which.Since)}
	if !which.Authority.IsZero() {
		text, args = text+` AND authority = ?`, append(args, which.Authority.String())
	}
	if which.State != "" {
		text, args = text+` AND state = ?`, append(args, string(which.State))
	}
	limit := which.Limit
	if limit <= 0 {
		limit = 1 << 30
	}
	var list []Kept
	err := s.engine.query(ctx, func(row scanner) error {
		k, err := scanKept(row)
		list = append(list, k)
		return err
	}, stmt(text+` ORDER BY received_at DESC, id LIMIT ?`, append(args, int64(limit))...))
	if err != nil {
		return nil, fmt.Errorf("read uploads: %w", err)
	}
	return list, nil
}

// UploadFilter says which uploads are wanted. The zero value is all.
type UploadFilter struct {
	Authority safeguard.ODSCode
	State     UploadState
	Since     time.Time
	Limit     int
}

// Upload implements Store.
func (s *DB) Upload(ctx context.Context, authority safeguard.ODSCode, id string, sequence int64) (Kept, error) {
	var k Kept
	var err error
	if id != "" {
		k, err = s.kept(ctx, s.engine, `id = ?`, id)
	} else {
		k, err = s.kept(ctx, s.engine, `authority = ? AND sequence = ? AND sequence > 0`, authority.String(), sequence)
	}
	if err == nil && !authority.IsZero() && k.Authority != authority {
		err = ErrNoUpload
	}
	if err != nil {
		return Kept{}, fmt.Errorf("read upload: %w", err)
	}
	return k, nil
}

// kept gives the one upload for which where holds, with its verdicts.
func (s *DB) kept(ctx context.Context, tx transaction, where string, args ...any) (Kept, error) {
	var k Kept
	found := false
	err := tx.query(ctx, func(row scanner) (err error) {
		var effects []byte
		var verdicts []byte
		if k, err = scanKept(row, &verdicts, &effects); err != nil {
			return err
		}
		found = true
		k.Verdicts = verdicts
		k.Effects, err = unpackEffects(effects)
		return err
	}, stmt(`SELECT `+keptColumns+`, verdicts, effects FROM uploads WHERE `+where, args...))
	if err == nil && !found {
		err = ErrNoUpload
	}
	return k, err
}

// admit gives the upload that this one repeats, if it does, and what is missing
// before it, or refuses its number.
func (a *applying) admit(ctx context.Context, tx transaction) (repeated bool, err error) {
	u, k := a.upload, &a.kept
	if u.Once {
		same, err := a.DB.kept(ctx, tx, `id = ? AND authority = ?`, u.ID, u.Authority.String())
		if err == nil {
			*k = same
			k.Repeated = true
			return true, nil
		}
		if !errors.Is(err, ErrNoUpload) {
			return false, err
		}
	}
	if u.Sequence == 0 {
		return false, nil
	}
	var highest int64
	err = tx.query(ctx, func(row scanner) error { return row.Scan(&highest) },
		stmt(`SELECT coalesce(max(sequence), 0) FROM uploads WHERE authority = ?`, u.Authority.String()))
	if err != nil {
		return false, err
	}
	same, err := a.DB.kept(ctx, tx, `authority = ? AND sequence = ?`, u.Authority.String(), u.Sequence)
	switch {
	case err == nil && slices.Equal(same.Digest, u.Digest) && same.Snapshot == (u.Snapshot != nil):
		*k = same
		k.Repeated = true
		return true, nil
	case err == nil:
		return false, &SequenceError{u.Sequence, highest, same.Received}
	case !errors.Is(err, ErrNoUpload):
		return false, err
	case u.Sequence < highest:
		return false, &SequenceError{Sequence: u.Sequence, Highest: highest}
	}
	if highest > 0 && u.Sequence > highest+1 {
		k.GapFrom, k.GapTo = highest+1, u.Sequence-1
	}
	return false, nil
}

// Release implements Store.
func (s *DB) Release(ctx context.Context, id, reason string, by audit.Who) (Kept, error) {
	k, err := s.decide(ctx, id)
	if err != nil {
		return Kept{}, fmt.Errorf("release upload: %w", err)
	}
	// Before it is done: whatever becomes of it, who wanted it is written down.
	entry := decision(audit.UploadReleased, k, reason, by)
	if err := s.audited(ctx, entry); err != nil {
		return Kept{}, fmt.Errorf("release upload: %w", err)
	}
	a := &applying{DB: s, released: true, kept: k, upload: Upload{
		ID: k.ID, Authority: k.Authority, By: k.By, Received: k.Received, Rows: k.Rows, Sequence: k.Sequence,
	}}
	err = s.beside(ctx, func(ctx context.Context, tx transaction) error {
		if err := s.engine.lock(ctx, tx, "flags of "+k.Authority.String()); err != nil {
			return err
		}
		a.reset()
		// Another may have decided meanwhile.
		now, err := s.kept(ctx, tx, `id = ?`, id)
		if err != nil {
			return err
		}
		if now.State != Waits {
			return &NotWaiting{now.State}
		}
		if err := a.unstage(ctx, tx); err != nil {
			return err
		}
		if err := a.all(ctx, tx); err != nil {
			return err
		}
		k := &a.kept
		k.State, k.Decided, k.DecidedBy, k.Reason = Applied, fromMillis(millis(time.Now())), by.Caller, reason
		return a.finish(ctx, tx, stmt(`UPDATE uploads SET state = ?, decided_at = ?, decided_by = ?, reason = ?, spared = NULL WHERE id = ?`,
			string(k.State), millis(k.Decided), k.DecidedBy, k.Reason, k.ID), forget(k.ID))
	})
	if err != nil {
		return Kept{}, fmt.Errorf("release upload: %w", err)
	}
	return a.kept, nil
}

// Reject implements Store.
func (s *DB) Reject(ctx context.Context, id, reason string, by audit.Who) (Kept, error) {
	k, err := s.decide(ctx, id)
	if err != nil {
		return Kept{}, fmt.Errorf("reject upload: %w", err)
	}
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		if err := s.engine.lock(ctx, tx, "flags of "+k.Authority.String()); err != nil {
			return nil, err
		}
		k.State, k.Decided, k.DecidedBy, k.Reason = Rejected, fromMillis(millis(time.Now())), by.Caller, reason
		touched, err := tx.exec(ctx, stmt(`UPDATE uploads SET state = ?, decided_at = ?, decided_by = ?, reason = ?, spared = NULL WHERE id = ? AND state = ?`,
			string(k.State), millis(k.Decided), k.DecidedBy, k.Reason, id, string(Waits)))
		if err == nil && touched[0] == 0 {
			err = &NotWaiting{"decided meanwhile"}
		}
		if err == nil {
			err = s.dropStaged(ctx, tx, id)
		}
		return []audit.Entry{decision(audit.UploadRejected, k, reason, by)}, err
	})
	if err != nil {
		return Kept{}, fmt.Errorf("reject upload: %w", err)
	}
	return k, nil
}

// decide gives an upload that waits.
func (s *DB) decide(ctx context.Context, id string) (Kept, error) {
	k, err := s.kept(ctx, s.engine, `id = ?`, id)
	if err == nil && k.State != Waits {
		err = &NotWaiting{k.State}
	}
	return k, err
}

func decision(act audit.Act, k Kept, reason string, by audit.Who) audit.Entry {
	return audit.Entry{At: time.Now(), Act: act, Who: by, Reason: reason, Details: map[string]string{
		"upload": k.ID, "authority": k.Authority.String(), "sequence": fmt.Sprint(k.Sequence),
		"current": fmt.Sprint(k.Current), "closing": fmt.Sprint(k.Closing),
	}}
}
