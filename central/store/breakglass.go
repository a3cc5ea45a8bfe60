package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// BreakGlass is a view of somebody who had not attended at the viewer's
// organisation.
type BreakGlass struct {
	Position     int64
	Organisation safeguard.ODSCode
	Site         safeguard.ODSCode
	Look         safeguard.AttendanceID // names the view
	Number       safeguard.NHSNumber    // as it was typed
	Born         safeguard.Private[safeguard.Date]
	By           StaffMember
	Why          string                    // the reason that was chosen
	Words        safeguard.Private[string] // the reason in the viewer's words, which may name somebody
	Answer       string                    // what was said, such as "held"
	Notified     bool                      // whether local authorities were told
	At           time.Time

	Reviewed   time.Time // zero while it waits
	ReviewedBy string
	Review     Review
}

// StaffMember is who looked.
type StaffMember struct {
	Subject string `json:"subject"` // the provider's own name for the person
	Name    string `json:"name"`
	Role    string `json:"role"`
	Source  string `json:"source"`
	Address string `json:"address"` // of the network
}

// Review is what a privacy officer found.
type Review struct {
	Finding Finding
	Note    safeguard.Private[string] // may name somebody
}

// Finding is what a privacy officer says of a view.
type Finding string

// The findings.
const (
	Justified   Finding = "justified"
	Unjustified Finding = "not justified"
	LookedInto  Finding = "being looked into"
)

// Findings are all that there are.
var Findings = []Finding{Justified, LookedInto, Unjustified}

// What is sealed of a view by break-glass, as JSON.
type (
	sealedBreakGlass struct {
		Number   string         `json:"number"`
		Born     safeguard.Date `json:"born"`
		By       StaffMember    `json:"by"`
		Why      string         `json:"why"`
		Words    string         `json:"words"`
		Answer   string         `json:"answer"`
		Notified bool           `json:"notified"`
	}
	sealedReview struct {
		Finding Finding `json:"finding"`
		Note    string  `json:"note"`
	}
)

func breakGlassAD(what string, person []byte, organisation safeguard.ODSCode, look safeguard.AttendanceID) []byte {
	return key(what, organisation.String(), look.String(), string(person))
}

// breakGlass is the row of one; of a repeat, none.
func (k dataKey) breakGlass(person []byte, b BreakGlass) (statement, error) {
	content, err := k.sealJSON(sealedBreakGlass{b.Number.Reveal(), b.Born.Reveal(), b.By, b.Why, b.Words.Reveal(), b.Answer, b.Notified},
		breakGlassAD("break glass", person, b.Organisation, b.Look))
	return stmt(`INSERT INTO break_glass (organisation, site, look, person, content, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (organisation, look, person) DO NOTHING`,
		b.Organisation.String(), b.Site.String(), b.Look[:], person, content, millis(b.At)), err
}

const breakGlassColumns = `SELECT b.position, b.organisation, b.site, b.look, b.person, p.key, b.content, b.at, b.reviewed_at, b.reviewed_by, b.review
	FROM break_glass b JOIN persons p ON p.token = b.person WHERE b.organisation = ?`

func (s *DB) scanBreakGlass(row scanner) (b BreakGlass, person []byte, k dataKey, err error) {
	var organisation, site string
	var look, wrapped, content, review []byte
	var at int64
	var reviewed *int64
	var by *string
	if err = row.Scan(&b.Position, &organisation, &site, &look, &person, &wrapped, &content, &at, &reviewed, &by, &review); err != nil {
		return b, nil, k, err
	}
	b.At = fromMillis(at)
	copy(b.Look[:], look)
	if b.Organisation, err = safeguard.ParseODSCode(organisation); err != nil {
		return b, nil, k, err
	}
	if b.Site, err = safeguard.ParseODSCode(site); err != nil {
		return b, nil, k, err
	}
	if k, err = s.unwrap(person, wrapped); err != nil {
		return b, nil, k, err
	}
	var c sealedBreakGlass
	if err = k.openJSON(content, breakGlassAD("break glass", person, b.Organisation, b.Look), &c); err != nil {
		return b, nil, k, err
	}
	if b.Number, err = safeguard.ParseNHSNumber(c.Number); err != nil {
		return b, nil, k, fmt.Errorf("read sealed value: %w", err)
	}
	b.Born, b.By, b.Why, b.Words, b.Answer, b.Notified = safeguard.Hide(c.Born), c.By, c.Why, safeguard.Hide(c.Words), c.Answer, c.Notified
	if reviewed == nil {
		return b, person, k, nil
	}
	b.Reviewed, b.ReviewedBy = fromMillis(*reviewed), textOf(by)
	var r sealedReview
	err = k.openJSON(review, breakGlassAD("break glass review", person, b.Organisation, b.Look), &r)
	b.Review = Review{r.Finding, safeguard.Hide(r.Note)}
	return b, person, k, err
}

// BreakGlasses implements Staff.
func (s *DB) BreakGlasses(ctx context.Context, organisation safeguard.ODSCode, reviewed bool, limit int) (list []BreakGlass, err error) {
	which := ` AND b.reviewed_at IS NULL ORDER BY b.position LIMIT ?`
	if reviewed {
		which = ` AND b.reviewed_at IS NOT NULL ORDER BY b.reviewed_at DESC, b.position DESC LIMIT ?`
	}
	err = s.engine.query(ctx, func(row scanner) error {
		b, _, _, err := s.scanBreakGlass(row)
		list = append(list, b)
		return err
	}, stmt(breakGlassColumns+which, organisation.String(), int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read views by break-glass: %w", err)
	}
	return list, nil
}

// BreakGlass implements Staff.
func (s *DB) BreakGlass(ctx context.Context, organisation safeguard.ODSCode, position int64, by audit.Who) (found BreakGlass, err error) {
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		var err error
		if found, _, _, err = s.oneBreakGlass(ctx, tx, organisation, position); err != nil {
			return nil, err
		}
		return []audit.Entry{s.aboutBreakGlass(found, audit.BreakGlassSeen, by)}, nil
	})
	if err != nil {
		return BreakGlass{}, fmt.Errorf("read view by break-glass: %w", err)
	}
	return found, nil
}

func (s *DB) oneBreakGlass(ctx context.Context, tx transaction, organisation safeguard.ODSCode, position int64) (found BreakGlass, person []byte, k dataKey, err error) {
	err = tx.query(ctx, func(row scanner) (err error) {
		found, person, k, err = s.scanBreakGlass(row)
		return err
	}, stmt(breakGlassColumns+` AND b.position = ?`, organisation.String(), position))
	if err == nil && found.Position == 0 {
		err = ErrNoBreakGlass
	}
	return found, person, k, err
}

func (s *DB) aboutBreakGlass(b BreakGlass, act audit.Act, by audit.Who) audit.Entry {
	return audit.Entry{
		At: time.Now(), Act: act, Who: by, Where: &audit.Where{Organisation: b.Organisation.String(), Site: b.Site.String()},
		Details: map[string]string{"break_glass": strconv.FormatInt(b.Position, 10)}, Token: s.subject(b.Number.Reveal()),
	}
}

// ReviewBreakGlass implements Staff.
func (s *DB) ReviewBreakGlass(ctx context.Context, organisation safeguard.ODSCode, position int64, review Review, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		found, person, k, err := s.oneBreakGlass(ctx, tx, organisation, position)
		if err == nil && !found.Reviewed.IsZero() {
			err = ErrReviewed
		}
		if err != nil {
			return nil, err
		}
		sealed, err := k.sealJSON(sealedReview{review.Finding, review.Note.Reveal()}, breakGlassAD("break glass review", person, organisation, found.Look))
		if err != nil {
			return nil, err
		}
		// Another process may have been first.
		touched, err := tx.exec(ctx, stmt(`UPDATE break_glass SET reviewed_at = ?, reviewed_by = ?, review = ? WHERE position = ? AND reviewed_at IS NULL`,
			millis(time.Now()), by.Name, sealed, position))
		if err == nil && touched[0] == 0 {
			err = ErrReviewed
		}
		entry := s.aboutBreakGlass(found, audit.BreakGlassReviewed, by)
		entry.Answer = string(review.Finding)
		return []audit.Entry{entry}, err
	})
	if err != nil {
		return fmt.Errorf("review view by break-glass: %w", err)
	}
	return nil
}

// BreakGlassWaiting implements Staff.
func (s *DB) BreakGlassWaiting(ctx context.Context) (list []WaitingView, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		var v WaitingView
		var organisation, site string
		var at int64
		err := row.Scan(&v.Position, &organisation, &site, &at)
		if err == nil {
			v.At = fromMillis(at)
			v.Organisation, err = safeguard.ParseODSCode(organisation)
		}
		if err == nil {
			v.Site, err = safeguard.ParseODSCode(site)
		}
		list = append(list, v)
		return err
	}, stmt(`SELECT position, organisation, site, at FROM break_glass WHERE reviewed_at IS NULL ORDER BY position`))
	if err != nil {
		return nil, fmt.Errorf("read views by break-glass: %w", err)
	}
	return list, nil
}
