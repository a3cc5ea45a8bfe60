package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// ErrUnknown says that the directory has no such site or local authority.
var ErrUnknown = errors.New("not in the directory")

// Stage is how far a site or a local authority has come on its way to taking
// part. The zero value may do nothing yet.
type Stage int

// The stages.
const (
	Invited Stage = iota
	Testing
	Observing
	Live
)

var stages = []string{"invited", "testing", "observe", "live"}

func (s Stage) String() string {
	if s < 0 || int(s) >= len(stages) {
		return stages[0]
	}
	return stages[s]
}

// MarshalText writes invited, testing, observe or live.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads invited, testing, observe or live.
func (s *Stage) UnmarshalText(text []byte) error {
	i := slices.Index(stages, string(text))
	if i < 0 {
		return fmt.Errorf("stage %q: want one of %v", text, stages)
	}
	*s = Stage(i)
	return nil
}

// Directory is who takes part.
type Directory struct {
	Version     int64
	Sites       []Site      // by organisation and code
	Authorities []Authority // by code
}

// Site is a place that may ask, for its organisation and from its care settings.
type Site struct {
	Organisation     safeguard.ODSCode
	OrganisationName string // may be empty
	Code             safeguard.ODSCode
	Name             string
	Region           string // as operations group sites; may be empty
	Settings         []safeguard.CareSetting
	Accountable      safeguard.Accountable // answers for lookups that name nobody
	Policy           SitePolicy
	Stage            Stage
	Configured       bool // by the centre's configuration, not by an operator
	Changed          time.Time
}

// SitePolicy is what the centre decides for a site. Zero is the centre's default.
type SitePolicy struct {
	NoCache  bool           // the site may keep no answer
	Held     safeguard.Ages // of kept answers with flags
	None     safeguard.Ages // of kept answers without
	History  bool           // the site may see who accessed before
	Declared bool           // the site has declared that nobody else notifies for it: at the stage observe, its lookups notify
}

// Cache is what the site may keep, where byDefault says what the policy does not.
func (p SitePolicy) Cache(byDefault safeguard.CachePolicy) safeguard.CachePolicy {
	if p.NoCache || byDefault.Off {
		return safeguard.CachePolicy{Off: true}
	}
	return safeguard.CachePolicy{Held: ages(p.Held, byDefault.Held), None: ages(p.None, byDefault.None)}
}

func ages(own, byDefault safeguard.Ages) safeguard.Ages {
	out := safeguard.Ages{Fresh: cmp.Or(own.Fresh, byDefault.Fresh), Usable: cmp.Or(own.Usable, byDefault.Usable)}
	out.Fresh = min(out.Fresh, out.Usable)
	return out
}

// Authority is a local authority: whom to call, and since when and until when
// there is one.
type Authority struct {
	safeguard.Authority
	GSS        string         // code of the Government Statistical Service, such as E06000002
	Opened     safeguard.Date // zero when not known
	Closed     safeguard.Date // its first day of being no more; zero while it is
	Successors []safeguard.ODSCode
	Stage      Stage
	Configured bool
	Changed    time.Time
}

// OpenOn tells whether the authority exists on the day.
func (a Authority) OpenOn(day safeguard.Date) bool {
	return !day.Before(a.Opened) && (a.Closed.IsZero() || day.Before(a.Closed))
}

// Contact is whom to call on the day about a flag of the authority: the
// authority itself, or, once it is no more, the one that has followed it. Where
// several have, nobody can tell which: then the flag's own is given.
func (d Directory) Contact(code safeguard.ODSCode, day safeguard.Date) (safeguard.Authority, bool) {
	first, ok := d.Authority(code)
	if !ok {
		return safeguard.Authority{}, false
	}
	a := first
	for range d.Authorities { // bounds the way, should it go in a circle
		if a.OpenOn(day) || len(a.Successors) != 1 {
			break
		}
		next, ok := d.Authority(a.Successors[0])
		if !ok {
			break
		}
		a = next
	}
	out := a.Authority
	if a.Code != first.Code {
		out.Code, out.Name = first.Code, first.Name+", now "+a.Name
	}
	return out, true
}

// Authority gives the authority with the code.
func (d Directory) Authority(code safeguard.ODSCode) (Authority, bool) {
	i := slices.IndexFunc(d.Authorities, func(a Authority) bool { return a.Code == code })
	if i < 0 {
		return Authority{}, false
	}
	return d.Authorities[i], true
}

// Directory implements Store.
func (s *DB) Directory(ctx context.Context, known int64) (Directory, error) {
	var d Directory
	err := s.engine.snapshot(ctx, func(tx transaction) error {
		d = Directory{}
		err := tx.query(ctx, func(row scanner) error { return row.Scan(&d.Version) },
			stmt(`SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'directory'`))
		if err != nil || d.Version == known {
			return err
		}
		return d.read(ctx, tx)
	})
	if err != nil {
		return Directory{}, fmt.Errorf("read directory: %w", err)
	}
	return d, nil
}

func (d *Directory) read(ctx context.Context, tx transaction) error {
	err := tx.query(ctx, func(row scanner) error {
		site, err := scanSite(row)
		d.Sites = append(d.Sites, site)
		return err
	}, stmt(`SELECT s.organisation, o.name, s.code, s.name, s.region, s.settings, s.accountable_name, s.accountable_role, s.policy, s.stage, s.source, s.changed_at
		FROM sites s JOIN organisations o ON o.code = s.organisation ORDER BY s.organisation, s.code`))
	if err != nil {
		return err
	}
	return tx.query(ctx, func(row scanner) error {
		a, err := scanAuthority(row)
		d.Authorities = append(d.Authorities, a)
		return err
	}, stmt(`SELECT code, gss, name, emergency_duty_phone, office_hours_phone, opened, closed, successors, stage, source, changed_at
		FROM authorities ORDER BY code`))
}

const (
	fromConfiguration = "configuration"
	fromOperator      = "operator"
)

func source(configured bool) string {
	if configured {
		return fromConfiguration
	}
	return fromOperator
}

// sitePolicyJSON is a policy as the table has it.
type sitePolicyJSON struct {
	NoCache    bool   `json:"no_cache,omitempty"`
	HeldFresh  string `json:"held_fresh,omitempty"`
	HeldUsable string `json:"held_usable,omitempty"`
	NoneFresh  string `json:"none_fresh,omitempty"`
	NoneUsable string `json:"none_usable,omitempty"`
	History    bool   `json:"history,omitempty"`
	Declared   bool   `json:"declared,omitempty"`
}

func (p SitePolicy) text() string {
	word := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	text, _ := json.Marshal(sitePolicyJSON{ // of strings and bools
		p.NoCache, word(p.Held.Fresh), word(p.Held.Usable), word(p.None.Fresh), word(p.None.Usable), p.History, p.Declared,
	})
	return string(text)
}

func readSitePolicy(text string) (SitePolicy, error) {
	var in sitePolicyJSON
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return SitePolicy{}, fmt.Errorf("read policy: %w", err)
	}
	p := SitePolicy{NoCache: in.NoCache, History: in.History, Declared: in.Declared}
	for _, d := range []struct {
		text string
		into *time.Duration
	}{{in.HeldFresh, &p.Held.Fresh}, {in.HeldUsable, &p.Held.Usable}, {in.NoneFresh, &p.None.Fresh}, {in.NoneUsable, &p.None.Usable}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.into, err = time.ParseDuration(d.text); err != nil {
			return SitePolicy{}, fmt.Errorf("read policy: %w", err)
		}
	}
	return p, nil
}

// words and their reading, for lists in one column.
func words[T interface{ MarshalText() ([]byte, error) }](list []T) string {
	var out []string
	for _, v := range list {
		text, _ := v.MarshalText() // of codes and settings, which have a text
		out = append(out, string(text))
	}
	return strings.Join(out, ",")
}

func readWords[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](text string) ([]T, error) {
	var list []T
	for word := range strings.SplitSeq(text, ",") {
		if word == "" {
			continue
		}
		var v T
		if err := P(&v).UnmarshalText([]byte(word)); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func scanSite(row scanner) (s Site, err error) {
	var organisation, code, settings, policy, stage, from string
	var changed int64
	if err := row.Scan(&organisation, &s.OrganisationName, &code, &s.Name, &s.Region, &settings, &s.Accountable.Name, &s.Accountable.Role,
		&policy, &stage, &from, &changed); err != nil {
		return Site{}, err
	}
	s.Configured, s.Changed = from == fromConfiguration, fromMillis(changed)
	if s.Organisation, err = safeguard.ParseODSCode(organisation); err != nil {
		return Site{}, err
	}
	if s.Code, err = safeguard.ParseODSCode(code); err != nil {
		return Site{}, err
	}
	if s.Settings, err = readWords[safeguard.CareSetting](settings); err != nil {
		return Site{}, err
	}
	if s.Policy, err = readSitePolicy(policy); err != nil {
		return Site{}, err
	}
	return s, s.Stage.UnmarshalText([]byte(stage))
}

func scanAuthority(row scanner) (a Authority, err error) {
	var code, opened, closed, successors, stage, from string
	var changed int64
	if err := row.Scan(&code, &a.GSS, &a.Name, &a.EmergencyDutyPhone, &a.OfficeHoursPhone, &opened, &closed, &successors, &stage, &from, &changed); err != nil {
		return Authority{}, err
	}
	a.Configured, a.Changed = from == fromConfiguration, fromMillis(changed)
	if a.Code, err = safeguard.ParseODSCode(code); err != nil {
		return Authority{}, err
	}
	for _, d := range []struct {
		text string
		into *safeguard.Date
	}{{opened, &a.Opened}, {closed, &a.Closed}} {
		if d.text == "" {
			continue
		}
		if *d.into, err = safeguard.ParseDate(d.text); err != nil {
			return Authority{}, err
		}
	}
	if a.Successors, err = readWords[safeguard.ODSCode](successors); err != nil {
		return Authority{}, err
	}
	return a, a.Stage.UnmarshalText([]byte(stage))
}

// change has do change the directory, and moves its version when it did.
func (s *DB) change(ctx context.Context, do func(d *Directory) ([]statement, []audit.Entry, error)) error {
	return s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		if err := s.engine.lock(ctx, tx, "directory"); err != nil {
			return nil, err
		}
		var d Directory
		if err := d.read(ctx, tx); err != nil {
			return nil, err
		}
		statements, entries, err := do(&d)
		if err != nil || len(statements) == 0 {
			return nil, err
		}
		statements = append(statements, stmt(`INSERT INTO meta (name, value) VALUES ('directory', '1')
			ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS INTEGER) + 1 AS TEXT)`))
		_, err = tx.exec(ctx, statements...)
		return entries, err
	})
}
