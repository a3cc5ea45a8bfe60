package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Removed is how much was removed.
type Removed struct {
	Persons       int
	Flags         int
	Accesses      int
	Notifications int
	Asked         int // notes that a site asked about somebody
	Changes       int // entries of the log of changes
	Reports       int // on uploads
	AuditEntries  int // that lead to nobody any more; none was removed
}

func (r Removed) details() map[string]string {
	return map[string]string{
		"persons":       strconv.Itoa(r.Persons),
		"flags":         strconv.Itoa(r.Flags),
		"accesses":      strconv.Itoa(r.Accesses),
		"notifications": strconv.Itoa(r.Notifications),
		"asked":         strconv.Itoa(r.Asked),
		"changes":       strconv.Itoa(r.Changes),
		"reports":       strconv.Itoa(r.Reports),
	}
}

// ofPersons are the tables with rows about a person, and how such a row is
// named. Whoever adds one adds it here. Of the log of changes retention leaves
// the last entry, so that it can be told where the log ended.
var ofPersons = []struct{ table, id, but string }{
	{"asked", "person, organisation, site", ""},
	{"notifications", "position", ""},
	{"lookups", "id", ""},
	{"flags", "id", ""},
	{"changes", "position", " AND position < (SELECT MAX(position) FROM changes)"},
	{"upload_changes", "position", ""}, // go with the upload's waiting, not by age
	{"inactive_numbers", "position", ""},
	{"break_glass", "position", ""}, // go by age once they are reviewed
}

// withoutRows removes those of the persons of whom nothing else is kept. That
// somebody asked keeps nobody.
func withoutRows(persons map[string]bool) []statement {
	text := `DELETE FROM persons WHERE token = ?`
	for _, t := range ofPersons {
		if t.table != "asked" {
			text += ` AND NOT EXISTS (SELECT 1 FROM ` + t.table + ` WHERE person = token)`
		}
	}
	var statements []statement
	for person := range persons {
		statements = append(statements, stmt(text, []byte(person)))
	}
	return statements
}

func (r *Removed) add(table string, n int) {
	switch table {
	case "notifications", "inactive_numbers":
		r.Notifications += n
	case "lookups", "break_glass":
		r.Accesses += n
	case "flags":
		r.Flags += n
	case "asked":
		r.Asked += n
	case "changes":
		r.Changes += n
	}
}

// Erase implements Store.
func (s *DB) Erase(ctx context.Context, number safeguard.NHSNumber, reason string, by audit.Who) (Removed, error) {
	person, err := s.person(number)
	if err != nil {
		return Removed{}, fmt.Errorf("erase person: %w", err)
	}
	about := auditedPerson{subject: s.subject(number.Reveal())}
	if err := s.engine.snapshot(ctx, func(tx transaction) error { return about.find(ctx, tx) }); err != nil {
		return Removed{}, fmt.Errorf("erase person: find in audit: %w", err)
	}
	var removed Removed
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		var entry audit.Entry
		var err error
		removed, entry, err = s.erase(ctx, tx, person, about)
		entry.Who, entry.Reason = by, reason
		return []audit.Entry{entry}, err
	})
	if err != nil {
		return Removed{}, fmt.Errorf("erase person: %w", err)
	}
	if err := s.engine.scrub(ctx); err != nil {
		return removed, fmt.Errorf("erase person: removed, but not yet from what the disk still holds: %w", err)
	}
	return removed, nil
}

func (s *DB) erase(ctx context.Context, tx transaction, person []byte, about auditedPerson) (Removed, audit.Entry, error) {
	var removed Removed
	for _, t := range ofPersons {
		forget := `DELETE FROM ` + t.table + ` WHERE person = ?`
		if t.table == "changes" {
			// The entry stays, about nobody: someone may go on from there.
			forget = `UPDATE changes SET person = NULL WHERE person = ?`
		}
		n, err := tx.exec(ctx, stmt(forget, person))
		if err != nil {
			return Removed{}, audit.Entry{}, err
		}
		removed.add(t.table, int(n[0]))
	}
	n, err := tx.exec(ctx, stmt(`DELETE FROM persons WHERE token = ?`, person), stmt(`DELETE FROM demographics WHERE token = ?`, person))
	if err != nil {
		return Removed{}, audit.Entry{}, err
	}
	removed.Persons = int(n[0])
	if err := about.findNew(ctx, tx); err != nil {
		return Removed{}, audit.Entry{}, err
	}
	forget := make([]statement, len(about.entries))
	for i, p := range about.entries {
		forget[i] = stmt(`UPDATE audit SET subject = NULL, salt = NULL WHERE chain = ? AND seq = ?`, p.Chain, int64(p.Seq))
	}
	if _, err := tx.exec(ctx, forget...); err != nil {
		return Removed{}, audit.Entry{}, err
	}
	removed.AuditEntries = len(about.entries)
	return removed, audit.Entry{At: time.Now(), Act: audit.Erased, Details: removed.details(), Erased: about.entries}, nil
}

// auditedPerson finds the entries that lead to a person. There is no index for
// them: every lookup would pay for it, and erasure is rare. So the whole audit is
// read first, while lookups go on, and in their turn only what is new since.
type auditedPerson struct {
	subject []byte
	entries []audit.Position
	read    []audit.Head // up to where
}

func (a *auditedPerson) find(ctx context.Context, tx transaction) (err error) {
	if a.read, err = heads(ctx, tx); err != nil {
		return err
	}
	return a.collect(ctx, tx, stmt(`SELECT chain, seq FROM audit WHERE subject = ? ORDER BY chain, seq`, a.subject))
}

func (a *auditedPerson) findNew(ctx context.Context, tx transaction) error {
	read := map[string]int64{}
	for _, h := range a.read {
		read[h.Chain] = int64(h.Seq)
	}
	now, err := heads(ctx, tx)
	if err != nil {
		return err
	}
	var grown []statement
	for _, h := range now {
		if was := read[h.Chain]; int64(h.Seq) > was {
			grown = append(grown, stmt(`SELECT chain, seq FROM audit WHERE chain = ? AND seq > ? AND subject = ? ORDER BY seq`, h.Chain, was, a.subject))
		}
	}
	return a.collect(ctx, tx, grown...)
}

func (a *auditedPerson) collect(ctx context.Context, tx transaction, statements ...statement) error {
	return tx.query(ctx, func(row scanner) error {
		var p audit.Position
		var seq int64
		err := row.Scan(&p.Chain, &seq)
		p.Seq = uint64(seq)
		a.entries = append(a.entries, p)
		return err
	}, statements...)
}

func heads(ctx context.Context, tx transaction) ([]audit.Head, error) {
	var heads []audit.Head
	err := tx.query(ctx, func(row scanner) error {
		h, err := scanHead(row)
		heads = append(heads, h)
		return err
	}, stmt(`SELECT chain, seq, hash FROM audit_heads`))
	return heads, err
}

// Retention is what is kept how long: what happened before these moments goes.
// The zero time keeps everything.
type Retention struct {
	ClosedFlags   time.Time // superseded or withdrawn before
	Accesses      time.Time // recorded before; views by break-glass, reviewed before
	Notifications time.Time // acknowledged before; notices of inactive numbers too
	Asked         time.Time // asked last before
	Changes       time.Time // changed before
	Reports       time.Time // of uploads received before: the verdicts on their rows
}

// retainTogether is how many rows go in one transaction: lookups wait for it.
const retainTogether = 500

// aged is what of a table goes: rows whose column is before a moment.
type aged struct {
	column string
	at     time.Time // zero for none
}

// before is what goes of which table.
func (rule Retention) before() map[string]aged {
	return map[string]aged{
		"flags":         {"closed_at", rule.ClosedFlags},
		"lookups":       {"recorded_at", rule.Accesses},
		"notifications": {"acknowledged_at", rule.Notifications},
		"asked":         {"at", rule.Asked},
		"changes":       {"at", rule.Changes},

		"inactive_numbers": {"acknowledged_at", rule.Notifications},
		"break_glass":      {"reviewed_at", rule.Accesses},
	}
}

// Retain implements Store. Persons of whom nothing is left go with the last row.
func (s *DB) Retain(ctx context.Context, rule Retention, by audit.Who) (Removed, error) {
	before := rule.before()
	var all Removed
	for _, t := range ofPersons {
		b := before[t.table]
		if b.at.IsZero() {
			continue
		}
		old := stmt(`DELETE FROM `+t.table+` WHERE (`+t.id+`) IN (SELECT `+t.id+` FROM `+t.table+` WHERE `+b.column+` < ?`+t.but+` ORDER BY `+t.id+` LIMIT `+
			strconv.Itoa(retainTogether)+`) RETURNING person`, millis(b.at))
		for {
			some, err := s.retain(ctx, t.table, old, by)
			if err != nil {
				return all, fmt.Errorf("apply retention: %w", err)
			}
			all.Persons += some.Persons
			all.Flags += some.Flags
			all.Accesses += some.Accesses
			all.Notifications += some.Notifications
			all.Asked += some.Asked
			all.Changes += some.Changes
			if some == (Removed{}) {
				break
			}
		}
	}
	if rule.Reports.IsZero() {
		return all, nil
	}
	var err error
	if all.Reports, err = s.retainReports(ctx, rule.Reports, by); err != nil {
		return all, fmt.Errorf("apply retention: %w", err)
	}
	return all, nil
}

// oldReports is where an upload was received before a moment, and does not wait.
const oldReports = `received_at < ? AND state <> ? AND verdicts IS NOT NULL`

// retainReports removes the verdicts on rows. That there was the upload, and what
// it did as a whole, stays: flags name it as their source.
func (s *DB) retainReports(ctx context.Context, before time.Time, by audit.Who) (n int, err error) {
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`UPDATE uploads SET verdicts = NULL, effects = NULL WHERE `+oldReports,
			millis(before), string(Waits)))
		if err != nil || touched[0] == 0 {
			return nil, err
		}
		n = int(touched[0])
		return []audit.Entry{{At: time.Now(), Act: audit.Retained, Who: by, Details: Removed{Reports: n}.details()}}, nil
	})
	return n, err
}

func (s *DB) retain(ctx context.Context, table string, old statement, by audit.Who) (Removed, error) {
	var removed Removed
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		removed = Removed{}
		n := 0
		persons := map[string]bool{}
		err := tx.query(ctx, func(row scanner) error {
			var person []byte
			n++
			err := row.Scan(&person)
			persons[string(person)] = true
			return err
		}, old)
		if err != nil || n == 0 {
			return nil, err
		}
		removed.add(table, n)
		touched, err := tx.exec(ctx, withoutRows(persons)...)
		for _, n := range touched {
			removed.Persons += int(n)
		}
		return []audit.Entry{{At: time.Now(), Act: audit.Retained, Who: by, Details: removed.details()}}, err
	})
	return removed, err
}
