package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// Operators keeps who operates the centre: the accounts that are the centre's
// own, and who is signed in to its pages. It is a part of Store.
type Operators interface {
	// PutOperator adds an account, or puts it in the place of the one with its name.
	// Its sessions end.
	PutOperator(ctx context.Context, account OperatorAccount, by audit.Who) error

	// RemoveOperator removes an account and ends its sessions. One that is not there
	// is ErrNoOperator.
	RemoveOperator(ctx context.Context, name string, by audit.Who) error

	// Operators gives the accounts, by name.
	Operators(ctx context.Context) ([]OperatorAccount, error)

	// UseCode notes that an account's code of a time step was used, and tells whether
	// it is the first use of that step or a later one.
	UseCode(ctx context.Context, name string, step int64) (bool, error)

	// Attempt notes an attempt to sign in for each subject, and tells whether one of
	// them has had more than it may since then. What is noted counts until Succeeded.
	Attempt(ctx context.Context, limits []AttemptLimit, since time.Time) (within bool, err error)

	// Succeeded forgets the attempts on a subject.
	Succeeded(ctx context.Context, subject string) error

	// OpenSession keeps a session.
	OpenSession(ctx context.Context, session Session, by audit.Who) error

	// Session gives a session. One that is not there is ErrNoSession.
	Session(ctx context.Context, id []byte) (Session, error)

	// Sessions gives all of them, the latest first.
	Sessions(ctx context.Context) ([]Session, error)

	// SeenSession notes when a session was last used.
	SeenSession(ctx context.Context, id []byte, at time.Time) error

	// EndSession ends a session. One that is not there is ErrNoSession.
	EndSession(ctx context.Context, id []byte, by audit.Who) error

	// RetainSessions removes sessions that were opened, or last used, before then,
	// and attempts of before.
	RetainSessions(ctx context.Context, opened, seen, attempts time.Time) error

	// Audit writes an entry that belongs to no change of the store.
	Audit(ctx context.Context, entry audit.Entry) error
}

// Role is what an operator may do. Each may do what those before it may. The zero
// value may do nothing.
type Role int

// The roles.
const (
	NoRole        Role = iota
	Viewer             // look
	Operating          // acknowledge warnings, write notes, ask agents
	Administering      // see who is signed in, and end their sessions
)

var roles = []string{"none", "viewer", "operator", "administrator"}

func (r Role) String() string { return roles[max(0, min(int(r), len(roles)-1))] }

// MarshalText writes viewer, operator or administrator.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads viewer, operator or administrator.
func (r *Role) UnmarshalText(text []byte) error {
	i := slices.Index(roles, string(text))
	if i < 1 {
		return fmt.Errorf("role %q: want %s", text, strings.Join(roles[1:], ", "))
	}
	*r = Role(i)
	return nil
}

// OperatorAccount is an account at the centre itself.
type OperatorAccount struct {
	Name     string
	Role     Role
	Password string // its hash
	Factor   []byte // secret of the one-time codes
	Added    time.Time
	AddedBy  string
}

// LocalAccount is the source of a session whose operator has an account here.
const LocalAccount = "local"

// Session is somebody who is signed in.
type Session struct {
	ID     []byte // hash of what the browser holds
	Name   string
	Source string // LocalAccount, or the provider that vouches
	Role   Role
	Opened time.Time
	Seen   time.Time
}

// AttemptLimit is how often something may be tried.
type AttemptLimit struct {
	Subject string
	Most    int
}

// Why an operator may not.
var (
	ErrNoOperator = errors.New("there is no such operator")
	ErrNoSession  = errors.New("there is no such session")
)

func factorAD(name string) []byte { return key("operator factor", name) }

// PutOperator implements Operators.
func (s *DB) PutOperator(ctx context.Context, a OperatorAccount, by audit.Who) error {
	sealed, err := s.ring.Seal(a.Factor, factorAD(a.Name))
	if err == nil {
		err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
			now := time.Now()
			_, err := tx.exec(ctx, stmt(`INSERT INTO operators (name, role, password, factor, added, added_by) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password, factor = excluded.factor, step = 0, added = excluded.added, added_by = excluded.added_by`,
				a.Name, a.Role.String(), a.Password, sealed, millis(now), by.Caller), endSessionsOf(a.Name))
			return []audit.Entry{{At: now, Act: audit.OperatorChanged, Who: by, Details: map[string]string{"operator": a.Name, "role": a.Role.String()}}}, err
		})
	}
	if err != nil {
		return fmt.Errorf("put operator %s: %w", a.Name, err)
	}
	return nil
}

func endSessionsOf(name string) statement {
	return stmt(`DELETE FROM operator_sessions WHERE name = ? AND source = ?`, name, LocalAccount)
}

// RemoveOperator implements Operators.
func (s *DB) RemoveOperator(ctx context.Context, name string, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`DELETE FROM operators WHERE name = ?`, name), endSessionsOf(name))
		if err == nil && touched[0] == 0 {
			err = ErrNoOperator
		}
		return []audit.Entry{{At: time.Now(), Act: audit.OperatorRemoved, Who: by, Details: map[string]string{"operator": name}}}, err
	})
	if err != nil {
		return fmt.Errorf("remove operator %s: %w", name, err)
	}
	return nil
}

// Operators implements Operators.
func (s *DB) Operators(ctx context.Context) ([]OperatorAccount, error) {
	var list []OperatorAccount
	err := s.engine.query(ctx, func(row scanner) error {
		var a OperatorAccount
		var role string
		var sealed []byte
		var added int64
		err := row.Scan(&a.Name, &role, &a.Password, &sealed, &added, &a.AddedBy)
		if err == nil {
			a.Added = fromMillis(added)
			err = a.Role.UnmarshalText([]byte(role))
		}
		if err == nil {
			a.Factor, err = s.ring.Open(sealed, factorAD(a.Name))
		}
		list = append(list, a)
		return err
	}, stmt(`SELECT name, role, password, factor, added, added_by FROM operators ORDER BY name`))
	if err != nil {
		return nil, fmt.Errorf("read operators: %w", err)
	}
	return list, nil
}

// UseCode implements Operators.
func (s *DB) UseCode(ctx context.Context, name string, step int64) (first bool, err error) {
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`UPDATE operators SET step = ? WHERE name = ? AND step < ?`, step, name, step))
		first = err == nil && touched[0] == 1
		return nil, err
	})
	if err != nil {
		return false, fmt.Errorf("use code: %w", err)
	}
	return first, nil
}

// Attempt implements Operators.
func (s *DB) Attempt(ctx context.Context, limits []AttemptLimit, since time.Time) (within bool, err error) {
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		within = true
		for _, l := range limits {
			// Only what may still be tried is noted: nobody is kept out for longer by trying.
			touched, err := tx.exec(ctx, stmt(`INSERT INTO operator_attempts (subject, at) SELECT ?, ?
				WHERE (SELECT COUNT(*) FROM operator_attempts WHERE subject = ? AND at >= ?) < ?`, l.Subject, millis(time.Now()), l.Subject, millis(since), int64(l.Most)))
			if err != nil {
				return nil, err
			}
			within = within && touched[0] == 1
		}
		return nil, nil
	})
	if err != nil {
		return false, fmt.Errorf("note attempt to sign in: %w", err)
	}
	return within, nil
}

// Succeeded implements Operators.
func (s *DB) Succeeded(ctx context.Context, subject string) error {
	if err := s.engine.atomically(ctx, stmt(`DELETE FROM operator_attempts WHERE subject = ?`, subject)); err != nil {
		return fmt.Errorf("forget attempts to sign in: %w", err)
	}
	return nil
}

// OpenSession implements Operators.
func (s *DB) OpenSession(ctx context.Context, n Session, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		_, err := tx.exec(ctx, stmt(`INSERT INTO operator_sessions (id, name, source, role, opened, seen) VALUES (?, ?, ?, ?, ?, ?)`,
			n.ID, n.Name, n.Source, n.Role.String(), millis(n.Opened), millis(n.Seen)))
		return []audit.Entry{{At: n.Opened, Act: audit.SignedIn, Who: by, Details: map[string]string{"source": n.Source}}}, err
	})
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	return nil
}

const sessionColumns = `SELECT id, name, source, role, opened, seen FROM operator_sessions`

func scanSession(row scanner) (n Session, err error) {
	var role string
	var opened, seen int64
	if err = row.Scan(&n.ID, &n.Name, &n.Source, &role, &opened, &seen); err != nil {
		return n, err
	}
	n.Opened, n.Seen = fromMillis(opened), fromMillis(seen)
	return n, n.Role.UnmarshalText([]byte(role))
}

// Session implements Operators.
func (s *DB) Session(ctx context.Context, id []byte) (found Session, err error) {
	err = s.engine.query(ctx, func(row scanner) (err error) {
		found, err = scanSession(row)
		return err
	}, stmt(sessionColumns+` WHERE id = ?`, id))
	if err == nil && found.ID == nil {
		err = ErrNoSession
	}
	if err != nil {
		return Session{}, fmt.Errorf("read session: %w", err)
	}
	return found, nil
}

// Sessions implements Operators.
func (s *DB) Sessions(ctx context.Context) (list []Session, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		n, err := scanSession(row)
		list = append(list, n)
		return err
	}, stmt(sessionColumns+` ORDER BY opened DESC`))
	if err != nil {
		return nil, fmt.Errorf("read sessions: %w", err)
	}
	return list, nil
}

// SeenSession implements Operators.
func (s *DB) SeenSession(ctx context.Context, id []byte, at time.Time) error {
	if err := s.engine.atomically(ctx, stmt(`UPDATE operator_sessions SET seen = ? WHERE id = ? AND seen < ?`, millis(at), id, millis(at))); err != nil {
		return fmt.Errorf("note use of session: %w", err)
	}
	return nil
}

// EndSession implements Operators.
func (s *DB) EndSession(ctx context.Context, id []byte, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		var ended Session
		err := tx.query(ctx, func(row scanner) (err error) {
			ended, err = scanSession(row)
			return err
		}, stmt(sessionColumns+` WHERE id = ?`, id))
		if err == nil && ended.ID == nil {
			err = ErrNoSession
		}
		if err == nil {
			_, err = tx.exec(ctx, stmt(`DELETE FROM operator_sessions WHERE id = ?`, id))
		}
		return []audit.Entry{{At: time.Now(), Act: audit.SessionEnded, Who: by, Details: map[string]string{"operator": ended.Name, "source": ended.Source}}}, err
	})
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// RetainSessions implements Operators.
func (s *DB) RetainSessions(ctx context.Context, opened, seen, attempts time.Time) error {
	err := s.engine.atomically(ctx,
		stmt(`DELETE FROM operator_sessions WHERE opened < ? OR seen < ?`, millis(opened), millis(seen)),
		stmt(`DELETE FROM operator_attempts WHERE at < ?`, millis(attempts)))
	if err != nil {
		return fmt.Errorf("retain sessions: %w", err)
	}
	return nil
}

// Audit implements Operators.
func (s *DB) Audit(ctx context.Context, entry audit.Entry) error {
	if err := s.audited(ctx, entry); err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}
