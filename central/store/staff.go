package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Staff keeps what members of staff with the right to view flags need: who of them
// is signed in, who attended where they work, and which views are for a privacy
// officer to review. It is a part of Store.
type Staff interface {
	// OpenStaffSession keeps a session.
	OpenStaffSession(ctx context.Context, session StaffSession, by audit.Who) error

	// StaffSession gives a session. One that is not there is ErrNoSession.
	StaffSession(ctx context.Context, id []byte) (StaffSession, error)

	// StaffSessions gives all of them, the latest first.
	StaffSessions(ctx context.Context) ([]StaffSession, error)

	// SeenStaffSession notes when a session was last used.
	SeenStaffSession(ctx context.Context, id []byte, at time.Time) error

	// EndStaffSession ends a session. One that is not there is ErrNoSession.
	EndStaffSession(ctx context.Context, id []byte, by audit.Who) error

	// RetainStaffSessions removes sessions that were opened, or last used, before
	// then.
	RetainStaffSessions(ctx context.Context, opened, seen time.Time) error

	// Attended gives when a person with that number and that date of birth last
	// attended at a site of the organisation, as a lookup said that was made with
	// both; the zero time where that was not from then on, and up to until.
	Attended(ctx context.Context, organisation safeguard.ODSCode, number safeguard.NHSNumber, born safeguard.Date, from, until time.Time) (time.Time, error)

	// NoteAbout writes an entry about a person into the audit.
	NoteAbout(ctx context.Context, entry audit.Entry, number safeguard.NHSNumber) error

	// BreakGlasses gives the views by break-glass of an organisation: those that wait
	// for a review, the first of them first, or else those that were reviewed, the
	// latest first, at most limit.
	BreakGlasses(ctx context.Context, organisation safeguard.ODSCode, reviewed bool, limit int) ([]BreakGlass, error)

	// BreakGlass gives one of an organisation's. It is in the audit, as about the
	// person, before it is given. One that is not there is ErrNoBreakGlass.
	BreakGlass(ctx context.Context, organisation safeguard.ODSCode, position int64, by audit.Who) (BreakGlass, error)

	// ReviewBreakGlass keeps what a privacy officer has found. One that was reviewed
	// before stays as it is, and is ErrReviewed.
	ReviewBreakGlass(ctx context.Context, organisation safeguard.ODSCode, position int64, review Review, by audit.Who) error

	// BreakGlassWaiting gives the views of all organisations that wait for a review,
	// the first of them first, and nothing about whom.
	BreakGlassWaiting(ctx context.Context) ([]WaitingView, error)
}

// WaitingView is a view by break-glass that waits for a review.
type WaitingView struct {
	Position           int64
	Organisation, Site safeguard.ODSCode
	At                 time.Time
}

// Rights are what a member of staff may do. The zero value is nothing.
type Rights uint

// The rights.
const (
	ViewAndNotify Rights = 1 << iota // view flags; the local authority is told (activity B0107)
	ViewSilently                     // view flags; nobody is told (activity B0170)
	ReviewViews                      // review the organisation's views by break-glass, as its privacy officer
	OwnAccesses                      // see who accessed the flags of the local authority that the organisation is
	ViewFlags     = ViewAndNotify | ViewSilently
	rightsInWords = "view-and-notify view-silently review-views own-accesses"
)

// Has tells whether any of these is among them.
func (r Rights) Has(any Rights) bool { return r&any != 0 }

func (r Rights) String() string {
	var list []string
	for i, word := range strings.Fields(rightsInWords) {
		if r.Has(1 << i) {
			list = append(list, word)
		}
	}
	return strings.Join(list, " ")
}

func parseRights(text string) (r Rights, err error) {
	for _, word := range strings.Fields(text) {
		i := slices.Index(strings.Fields(rightsInWords), word)
		if i < 0 {
			return 0, fmt.Errorf("right %q: want one of %s", word, rightsInWords)
		}
		r |= 1 << i
	}
	return r, nil
}

// StaffSession is a member of staff who is signed in.
type StaffSession struct {
	ID           []byte // hash of what the browser holds
	Subject      string // the provider's own name for the person
	Name         string
	Role         string // in words
	Source       string // the provider that vouches
	Organisation safeguard.ODSCode
	Rights       Rights
	Opened       time.Time
	Seen         time.Time
}

// OpenStaffSession implements Staff.
func (s *DB) OpenStaffSession(ctx context.Context, n StaffSession, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		_, err := tx.exec(ctx, stmt(`INSERT INTO staff_sessions (id, subject, name, role, source, organisation, rights, opened, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			n.ID, n.Subject, n.Name, n.Role, n.Source, n.Organisation.String(), n.Rights.String(), millis(n.Opened), millis(n.Seen)))
		return []audit.Entry{{
			At: n.Opened, Act: audit.SignedIn, Who: by, Where: &audit.Where{Organisation: n.Organisation.String()},
			Details: map[string]string{"source": n.Source, "rights": n.Rights.String()},
		}}, err
	})
	if err != nil {
		return fmt.Errorf("open session of staff: %w", err)
	}
	return nil
}

const staffColumns = `SELECT id, subject, name, role, source, organisation, rights, opened, seen FROM staff_sessions`

func scanStaff(row scanner) (n StaffSession, err error) {
	var organisation, rights string
	var opened, seen int64
	if err = row.Scan(&n.ID, &n.Subject, &n.Name, &n.Role, &n.Source, &organisation, &rights, &opened, &seen); err != nil {
		return n, err
	}
	n.Opened, n.Seen = fromMillis(opened), fromMillis(seen)
	if n.Organisation, err = safeguard.ParseODSCode(organisation); err != nil {
		return n, err
	}
	n.Rights, err = parseRights(rights)
	return n, err
}

// StaffSession implements Staff.
func (s *DB) StaffSession(ctx context.Context, id []byte) (found StaffSession, err error) {
	list, err := s.staffSessions(ctx, stmt(staffColumns+` WHERE id = ?`, id))
	if err == nil && len(list) == 0 {
		err = ErrNoSession
	}
	if err != nil {
		return StaffSession{}, fmt.Errorf("read session of staff: %w", err)
	}
	return list[0], nil
}

// StaffSessions implements Staff.
func (s *DB) StaffSessions(ctx context.Context) ([]StaffSession, error) {
	list, err := s.staffSessions(ctx, stmt(staffColumns+` ORDER BY opened DESC`))
	if err != nil {
		return nil, fmt.Errorf("read sessions of staff: %w", err)
	}
	return list, nil
}

func (s *DB) staffSessions(ctx context.Context, query statement) (list []StaffSession, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		n, err := scanStaff(row)
		list = append(list, n)
		return err
	}, query)
	return list, err
}

// SeenStaffSession implements Staff.
func (s *DB) SeenStaffSession(ctx context.Context, id []byte, at time.Time) error {
	if err := s.engine.atomically(ctx, stmt(`UPDATE staff_sessions SET seen = ? WHERE id = ? AND seen < ?`, millis(at), id, millis(at))); err != nil {
		return fmt.Errorf("note use of session of staff: %w", err)
	}
	return nil
}

// EndStaffSession implements Staff.
func (s *DB) EndStaffSession(ctx context.Context, id []byte, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		var ended *StaffSession
		err := tx.query(ctx, func(row scanner) error {
			n, err := scanStaff(row)
			ended = &n
			return err
		}, stmt(staffColumns+` WHERE id = ?`, id))
		if err == nil && ended == nil {
			err = ErrNoSession
		}
		if err != nil {
			return nil, err
		}
		_, err = tx.exec(ctx, stmt(`DELETE FROM staff_sessions WHERE id = ?`, id))
		return []audit.Entry{{
			At: time.Now(), Act: audit.SessionEnded, Who: by, Where: &audit.Where{Organisation: ended.Organisation.String()},
			Details: map[string]string{"staff": ended.Subject, "source": ended.Source},
		}}, err
	})
	if err != nil {
		return fmt.Errorf("end session of staff: %w", err)
	}
	return nil
}

// RetainStaffSessions implements Staff.
func (s *DB) RetainStaffSessions(ctx context.Context, opened, seen time.Time) error {
	if err := s.engine.atomically(ctx, stmt(`DELETE FROM staff_sessions WHERE opened < ? OR seen < ?`, millis(opened), millis(seen))); err != nil {
		return fmt.Errorf("retain sessions of staff: %w", err)
	}
	return nil
}

// attendedAs is the keyed hash of a number with a date of birth.
func (v vault) attendedAs(number safeguard.NHSNumber, born safeguard.Date) []byte {
	return v.ring.Token("central attended", key(number.Reveal(), born.String()))
}

// aheadOfTime is how much later than now an attendance may be said to be: clocks
// differ. One that is further ahead is an appointment, and has not come to be.
const aheadOfTime = 15 * time.Minute

// attendance is what a look says of the person's being there; nothing where it
// says nothing of that.
func (v vault) attendance(look Look) (at *int64, as []byte) {
	real := look.Purpose == safeguard.Unscheduled || look.Purpose == safeguard.Scheduled
	if !real || look.Born.IsZero() || look.At.After(look.Recorded.Add(aheadOfTime)) {
		return nil, nil
	}
	ms := millis(look.At)
	return &ms, v.attendedAs(look.Number, look.Born.Reveal())
}

// Attended implements Staff.
func (s *DB) Attended(ctx context.Context, organisation safeguard.ODSCode, number safeguard.NHSNumber, born safeguard.Date, from, until time.Time) (at time.Time, err error) {
	person, err := s.person(number)
	if err == nil {
		err = s.engine.query(ctx, func(row scanner) error {
			var ms int64
			err := row.Scan(&ms)
			at = fromMillis(ms)
			return err
		}, stmt(`SELECT attended_at FROM asked WHERE person = ? AND organisation = ? AND attended_as = ? AND attended_at >= ? AND attended_at <= ? ORDER BY attended_at DESC LIMIT 1`,
			person, organisation.String(), s.attendedAs(number, born), millis(from), millis(until)))
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read attendances: %w", err)
	}
	return at, nil
}

// NoteAbout implements Staff.
func (s *DB) NoteAbout(ctx context.Context, entry audit.Entry, number safeguard.NHSNumber) error {
	entry.Token = s.subject(number.Reveal())
	err := s.sameKeys()
	if err == nil {
		err = s.audited(ctx, entry)
	}
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}

// Why there is nothing to review.
var (
	ErrNoBreakGlass = errors.New("there is no such view by break-glass")
	ErrReviewed     = errors.New("it has been reviewed")
)
