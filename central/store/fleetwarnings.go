package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Subject is whom a warning is about.
type Subject struct {
	Kind SubjectKind `json:"kind"`
	Name string      `json:"name"` // an agent RX1/a1, a site RX1/RX101, a local authority 906
}

// SubjectKind is one of agent, site and authority.
type SubjectKind string

// The kinds.
const (
	AboutAgent     SubjectKind = "agent"
	AboutSite      SubjectKind = "site"
	AboutAuthority SubjectKind = "authority"
)

func (s Subject) String() string { return string(s.Kind) + " " + s.Name }

// FleetWarning is a warning as it is kept.
type FleetWarning struct {
	ID      int64   `json:"id"`
	Subject Subject `json:"subject"`
	safeguard.Warning
	Opened         time.Time `json:"opened"`
	Closed         time.Time `json:"closed,omitzero"`
	Acknowledged   time.Time `json:"acknowledged,omitzero"`
	AcknowledgedBy string    `json:"acknowledged_by,omitempty"`
	Notes          []Note    `json:"notes,omitempty"`
}

// Note is what a person says of a warning.
type Note struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Text string    `json:"text"`
}

// WarningFilter says which warnings are wanted. The zero value is all.
type WarningFilter struct {
	ID      int64
	Open    bool
	Subject Subject
	Since   time.Time // open then, or later
	Limit   int
}

// ChangeWarnings implements Fleet.
func (s *DB) ChangeWarnings(ctx context.Context, at time.Time, open []FleetWarning, closed []int64) error {
	if len(open)+len(closed) == 0 {
		return nil
	}
	err := s.beside(ctx, func(ctx context.Context, tx transaction) error {
		var statements []statement
		for _, w := range open {
			statements = append(statements, stmt(`INSERT INTO fleet_warnings (kind, subject, code, part, since, detail, opened) VALUES (?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (kind, subject, code, part) WHERE closed IS NULL DO UPDATE SET detail = excluded.detail`,
				string(w.Subject.Kind), w.Subject.Name, string(w.Code), w.Part, millis(w.Since), w.Detail, millis(at)))
		}
		for _, id := range closed {
			statements = append(statements, stmt(`UPDATE fleet_warnings SET closed = ? WHERE id = ? AND closed IS NULL`, millis(at), id))
		}
		_, err := tx.exec(ctx, statements...)
		return err
	})
	if err != nil {
		return fmt.Errorf("change warnings: %w", err)
	}
	return nil
}

const warningColumns = `w.id, w.kind, w.subject, w.code, w.part, w.since, w.detail, w.opened, w.closed, w.acknowledged, w.acknowledged_by`

func scanWarning(row scanner) (FleetWarning, error) {
	var w FleetWarning
	var kind, code string
	var since, opened int64
	var closed, acknowledged *int64
	err := row.Scan(&w.ID, &kind, &w.Subject.Name, &code, &w.Part, &since, &w.Detail, &opened, &closed, &acknowledged, &w.AcknowledgedBy)
	w.Subject.Kind, w.Code, w.Since, w.Opened = SubjectKind(kind), safeguard.WarningCode(code), fromMillis(since), fromMillis(opened)
	if closed != nil {
		w.Closed = fromMillis(*closed)
	}
	if acknowledged != nil {
		w.Acknowledged = fromMillis(*acknowledged)
	}
	return w, err
}

// FleetWarnings implements Fleet.
func (s *DB) FleetWarnings(ctx context.Context, which WarningFilter) ([]FleetWarning, error) {
	text, args := ` FROM fleet_warnings w WHERE (w.closed IS NULL OR w.closed >= ?)`, []any{millis(which.Since)}
	if which.Open {
		text, args = ` FROM fleet_warnings w WHERE w.closed IS NULL`, nil
	}
	if which.ID != 0 {
		text, args = text+` AND w.id = ?`, append(args, which.ID)
	}
	if which.Subject != (Subject{}) {
		text, args = text+` AND w.kind = ? AND w.subject = ?`, append(args, string(which.Subject.Kind), which.Subject.Name)
	}
	text += ` ORDER BY w.opened DESC, w.id DESC`
	if which.Limit > 0 {
		text, args = text+` LIMIT ?`, append(args, int64(which.Limit))
	}
	list, err := s.warnings(ctx, stmt(`SELECT `+warningColumns+text, args...))
	if err != nil {
		return nil, fmt.Errorf("read warnings: %w", err)
	}
	return list, s.withNotes(ctx, list)
}

func (s *DB) warnings(ctx context.Context, query statement) (list []FleetWarning, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		w, err := scanWarning(row)
		list = append(list, w)
		return err
	}, query)
	return list, err
}

func (s *DB) withNotes(ctx context.Context, list []FleetWarning) error {
	var queries []statement
	at := map[int64]int{}
	for i, w := range list {
		at[w.ID] = i
	}
	for some := range slices.Chunk(list, 500) {
		marks, args := "", []any{}
		for i, w := range some {
			if i > 0 {
				marks += ", "
			}
			marks, args = marks+"?", append(args, w.ID)
		}
		queries = append(queries, stmt(`SELECT warning, at, by, text FROM fleet_notes WHERE warning IN (`+marks+`) ORDER BY id`, args...))
	}
	err := s.engine.query(ctx, func(row scanner) error {
		var id, when int64
		var n Note
		if err := row.Scan(&id, &when, &n.By, &n.Text); err != nil {
			return err
		}
		n.At = fromMillis(when)
		list[at[id]].Notes = append(list[at[id]].Notes, n)
		return nil
	}, queries...)
	if err != nil {
		return fmt.Errorf("read notes: %w", err)
	}
	return nil
}

// AcknowledgeWarning implements Fleet.
func (s *DB) AcknowledgeWarning(ctx context.Context, id int64, by audit.Who) error {
	return s.aboutWarning(ctx, id, audit.WarningAcknowledged, "", by,
		stmt(`UPDATE fleet_warnings SET acknowledged = ?, acknowledged_by = ? WHERE id = ? AND acknowledged IS NULL`, millis(time.Now()), by.Caller, id))
}

// NoteWarning implements Fleet.
func (s *DB) NoteWarning(ctx context.Context, id int64, text string, by audit.Who) error {
	return s.aboutWarning(ctx, id, audit.WarningNoted, text, by,
		stmt(`INSERT INTO fleet_notes (warning, at, by, text) VALUES (?, ?, ?, ?)`, id, millis(time.Now()), by.Caller, text))
}

// aboutWarning does what a person decides of a warning that is there.
func (s *DB) aboutWarning(ctx context.Context, id int64, act audit.Act, text string, by audit.Who, do statement) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		var found FleetWarning
		err := tx.query(ctx, func(row scanner) (err error) {
			found, err = scanWarning(row)
			return err
		}, stmt(`SELECT `+warningColumns+` FROM fleet_warnings w WHERE w.id = ?`, id))
		if err == nil && found.ID == 0 {
			err = ErrUnknown
		}
		if err != nil {
			return nil, err
		}
		_, err = tx.exec(ctx, do)
		return []audit.Entry{{
			At: time.Now(), Act: act, Who: by, Reason: text,
			Details: map[string]string{"warning": strconv.FormatInt(id, 10), "subject": found.Subject.String(), "code": string(found.Code), "part": found.Part},
		}}, err
	})
	if err != nil {
		return fmt.Errorf("%s %d: %w", act, id, err)
	}
	return nil
}

// Untold implements Fleet.
func (s *DB) Untold(ctx context.Context, route string, since time.Time) ([]FleetWarning, error) {
	// What closed before the route was told of it is nothing to tell.
	list, err := s.warnings(ctx, stmt(`SELECT `+warningColumns+` FROM fleet_warnings w LEFT JOIN fleet_told t ON t.warning = w.id AND t.route = ?
		WHERE w.closed IS NULL AND t.warning IS NULL AND w.opened >= ? OR w.closed IS NOT NULL AND t.warning IS NOT NULL AND t.closed IS NULL
		ORDER BY w.opened, w.id LIMIT 1000`, route, millis(since)))
	if err != nil {
		return nil, fmt.Errorf("read what route %s was not told of: %w", route, err)
	}
	return list, s.withNotes(ctx, list)
}

// Told implements Fleet.
func (s *DB) Told(ctx context.Context, route string, warnings []FleetWarning, at time.Time) error {
	var statements []statement
	for _, w := range warnings {
		if w.Closed.IsZero() {
			statements = append(statements, stmt(`INSERT INTO fleet_told (route, warning, opened) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, route, w.ID, millis(at)))
		} else {
			statements = append(statements, stmt(`UPDATE fleet_told SET closed = ? WHERE route = ? AND warning = ?`, millis(at), route, w.ID))
		}
	}
	if err := s.engine.atomically(ctx, statements...); err != nil {
		return fmt.Errorf("note what route %s was told: %w", route, err)
	}
	return nil
}
