package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// PutSite implements Store.
func (s *DB) PutSite(ctx context.Context, site Site, by audit.Who) error {
	err := s.change(ctx, func(d *Directory) ([]statement, []audit.Entry, error) {
		if before, ok := d.site(site.Organisation, site.Code); ok {
			site.Stage = before.Stage
		}
		statements, entry := site.put(by)
		return statements, []audit.Entry{entry}, nil
	})
	if err != nil {
		return fmt.Errorf("put site %s %s: %w", site.Organisation, site.Code, err)
	}
	return nil
}

// PutAuthority implements Store.
func (s *DB) PutAuthority(ctx context.Context, authority Authority, by audit.Who) error {
	err := s.change(ctx, func(d *Directory) ([]statement, []audit.Entry, error) {
		if before, ok := d.Authority(authority.Code); ok {
			authority.Stage = before.Stage
		}
		statements, entry := authority.put(by)
		return statements, []audit.Entry{entry}, nil
	})
	if err != nil {
		return fmt.Errorf("put local authority %s: %w", authority.Code, err)
	}
	return nil
}

// StageSite implements Store.
func (s *DB) StageSite(ctx context.Context, organisation, code safeguard.ODSCode, stage Stage, by audit.Who) error {
	err := s.change(ctx, func(d *Directory) ([]statement, []audit.Entry, error) {
		site, ok := d.site(organisation, code)
		if !ok {
			return nil, nil, ErrUnknown
		}
		site.Stage = stage
		statements, entry := site.put(by)
		return statements, []audit.Entry{entry}, nil
	})
	if err != nil {
		return fmt.Errorf("stage site %s %s: %w", organisation, code, err)
	}
	return nil
}

// StageAuthority implements Store.
func (s *DB) StageAuthority(ctx context.Context, code safeguard.ODSCode, stage Stage, by audit.Who) error {
	err := s.change(ctx, func(d *Directory) ([]statement, []audit.Entry, error) {
		a, ok := d.Authority(code)
		if !ok {
			return nil, nil, ErrUnknown
		}
		a.Stage = stage
		statements, entry := a.put(by)
		return statements, []audit.Entry{entry}, nil
	})
	if err != nil {
		return fmt.Errorf("stage local authority %s: %w", code, err)
	}
	return nil
}

// Import implements Store.
func (s *DB) Import(ctx context.Context, sites []Site, authorities []Authority, by audit.Who) error {
	err := s.change(ctx, func(d *Directory) ([]statement, []audit.Entry, error) {
		var statements []statement
		var entries []audit.Entry
		for _, site := range sites {
			site.Configured = true
			before, ok := d.site(site.Organisation, site.Code)
			if ok {
				site.Stage, site.Changed = before.Stage, before.Changed
				site.Policy = before.Policy
				if site.OrganisationName == "" {
					site.OrganisationName = before.OrganisationName
				}
			}
			if ok && (!before.Configured || before.same(site)) {
				continue
			}
			own, entry := site.put(by)
			statements, entries = append(statements, own...), append(entries, entry)
		}
		for _, a := range authorities {
			a.Configured = true
			before, ok := d.Authority(a.Code)
			if ok {
				// What a configuration does not say stays.
				a.Stage, a.Changed, a.GSS = before.Stage, before.Changed, before.GSS
				a.Opened, a.Closed, a.Successors = before.Opened, before.Closed, before.Successors
			}
			if ok && (!before.Configured || before.Authority == a.Authority) {
				continue
			}
			own, entry := a.put(by)
			statements, entries = append(statements, own...), append(entries, entry)
		}
		return statements, entries, nil
	})
	if err != nil {
		return fmt.Errorf("import directory: %w", err)
	}
	return nil
}

func (d *Directory) site(organisation, code safeguard.ODSCode) (Site, bool) {
	i := slices.IndexFunc(d.Sites, func(s Site) bool { return s.Organisation == organisation && s.Code == code })
	if i < 0 {
		return Site{}, false
	}
	return d.Sites[i], true
}

func (s Site) same(t Site) bool {
	return s.Name == t.Name && s.OrganisationName == t.OrganisationName && s.Region == t.Region && slices.Equal(s.Settings, t.Settings) &&
		s.Accountable == t.Accountable && s.Policy == t.Policy && s.Stage == t.Stage && s.Configured == t.Configured
}

// put gives what writes the site, and what the audit says of it.
func (s Site) put(by audit.Who) ([]statement, audit.Entry) {
	now := time.Now()
	organisation, settings, policy := s.Organisation.String(), words(s.Settings), s.Policy.text()
	details := map[string]string{
		"name": s.Name, "region": s.Region, "settings": settings, "policy": policy, "stage": s.Stage.String(),
		"accountable_name": s.Accountable.Name, "accountable_role": s.Accountable.Role, "source": source(s.Configured),
	}
	return []statement{
			stmt(`INSERT INTO organisations (code, name) VALUES (?, ?)
				ON CONFLICT (code) DO UPDATE SET name = CASE WHEN excluded.name = '' THEN organisations.name ELSE excluded.name END`,
				organisation, s.OrganisationName),
			stmt(`INSERT INTO sites (organisation, code, name, region, settings, accountable_name, accountable_role, policy, stage, source, changed_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (organisation, code) DO UPDATE SET name = excluded.name, region = excluded.region, settings = excluded.settings,
				accountable_name = excluded.accountable_name, accountable_role = excluded.accountable_role, policy = excluded.policy,
				stage = excluded.stage, source = excluded.source, changed_at = excluded.changed_at`,
				organisation, s.Code.String(), s.Name, s.Region, settings, s.Accountable.Name, s.Accountable.Role, policy,
				s.Stage.String(), source(s.Configured), millis(now)),
		}, audit.Entry{
			At: now, Act: audit.SiteChanged, Who: by, Details: details,
			Where: &audit.Where{Organisation: organisation, Site: s.Code.String()},
		}
}

// put gives what writes the authority, and what the audit says of it.
func (a Authority) put(by audit.Who) ([]statement, audit.Entry) {
	now := time.Now()
	code, successors := a.Code.String(), words(a.Successors)
	details := map[string]string{
		"code": code, "gss": a.GSS, "name": a.Name, "emergency_duty_phone": a.EmergencyDutyPhone, "office_hours_phone": a.OfficeHoursPhone,
		"opened": a.Opened.String(), "closed": a.Closed.String(), "successors": successors, "stage": a.Stage.String(), "source": source(a.Configured),
	}
	return []statement{stmt(`INSERT INTO authorities (code, gss, name, emergency_duty_phone, office_hours_phone, opened, closed, successors, stage, source, changed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (code) DO UPDATE SET gss = excluded.gss, name = excluded.name, emergency_duty_phone = excluded.emergency_duty_phone,
			office_hours_phone = excluded.office_hours_phone, opened = excluded.opened, closed = excluded.closed,
			successors = excluded.successors, stage = excluded.stage, source = excluded.source, changed_at = excluded.changed_at`,
			code, a.GSS, a.Name, a.EmergencyDutyPhone, a.OfficeHoursPhone, a.Opened.String(), a.Closed.String(), successors,
			a.Stage.String(), source(a.Configured), millis(now))},
		audit.Entry{At: now, Act: audit.AuthorityChanged, Who: by, Details: details}
}
