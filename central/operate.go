package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Operator is someone who may read the centre's configuration and keys: what
// they do goes to the store itself, so that it works before the first start, and
// needs no door in the network. Centres that run on the store follow it within
// seconds.
type Operator struct{ Config Config }

// OpenOperator reads the configuration file at path.
func OpenOperator(path string) (Operator, error) {
	c, err := Load(path)
	return Operator{c}, err
}

// with has do done with the store.
func (o Operator) with(ctx context.Context, do func(s store.Store, by audit.Who) error) (err error) {
	s, err := o.Config.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s, whoOperates())
}

// whoOperates is the operator as the operating system has it.
func whoOperates() audit.Who {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return audit.Who{Caller: "operator " + name + "@" + host}
}

// AddSite adds a site, or changes one that is there, whose stage stays.
func (o Operator) AddSite(ctx context.Context, site store.Site, out io.Writer) error {
	switch {
	case site.Name == "":
		return errors.New("site: no name, want the one that local authorities are to read")
	case len(site.Settings) == 0:
		return errors.New("site: no care setting, want at least one")
	}
	if cache := site.Policy.Cache(o.Config.Policy.cache()); !cache.Off {
		for _, kept := range []safeguard.Ages{cache.Held, cache.None} {
			if err := checkAges(kept); err != nil {
				return fmt.Errorf("site: %w", err)
			}
		}
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.PutSite(ctx, site, by); err != nil {
			return err
		}
		return o.sayStage(ctx, s, site.Organisation, site.Code, out)
	})
}

// StageSite moves a site to a stage.
func (o Operator) StageSite(ctx context.Context, organisation, site safeguard.ODSCode, stage store.Stage, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.StageSite(ctx, organisation, site, stage, by); err != nil {
			return err
		}
		return o.sayStage(ctx, s, organisation, site, out)
	})
}

func (o Operator) sayStage(ctx context.Context, s store.Store, organisation, site safeguard.ODSCode, out io.Writer) error {
	d, err := s.Directory(ctx, 0)
	if err != nil {
		return err
	}
	for _, have := range d.Sites {
		if have.Organisation == organisation && have.Code == site {
			_, err = fmt.Fprintf(out, "%s %s: %s, %s\n", organisation, site, have.Name, have.Stage)
		}
	}
	return err
}

// AddAuthority adds a local authority, or changes one that is there, whose stage
// stays.
func (o Operator) AddAuthority(ctx context.Context, a store.Authority, out io.Writer) error {
	switch {
	case a.Name == "":
		return errors.New("local authority: no name, want the one that clinicians are to read")
	case a.EmergencyDutyPhone == "":
		return errors.New("local authority: no emergency duty phone, want the number to call outside office hours")
	case !a.Closed.IsZero() && !a.Opened.IsZero() && !a.Opened.Before(a.Closed):
		return fmt.Errorf("local authority: closed %s, opened %s, want the later day for closed", a.Closed, a.Opened)
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.PutAuthority(ctx, a, by); err != nil {
			return err
		}
		return o.sayAuthority(ctx, s, a.Code, out)
	})
}

// StageAuthority moves a local authority to a stage.
func (o Operator) StageAuthority(ctx context.Context, code safeguard.ODSCode, stage store.Stage, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.StageAuthority(ctx, code, stage, by); err != nil {
			return err
		}
		return o.sayAuthority(ctx, s, code, out)
	})
}

func (o Operator) sayAuthority(ctx context.Context, s store.Store, code safeguard.ODSCode, out io.Writer) error {
	d, err := s.Directory(ctx, 0)
	if err != nil {
		return err
	}
	for _, have := range d.Authorities {
		if have.Code == code {
			_, err = fmt.Fprintf(out, "%s: %s, %s\n", code, have.Name, have.Stage)
		}
	}
	return err
}

// shownSite is a site as JSON shows it.
type shownSite struct {
	Organisation     safeguard.ODSCode       `json:"organisation"`
	OrganisationName string                  `json:"organisation_name,omitempty"`
	Site             safeguard.ODSCode       `json:"site"`
	Name             string                  `json:"name"`
	Region           string                  `json:"region,omitempty"`
	CareSettings     []safeguard.CareSetting `json:"care_settings"`
	Accountable      string                  `json:"accountable,omitempty"`
	Role             string                  `json:"role,omitempty"`
	Cache            bool                    `json:"cache"`
	HeldFresh        string                  `json:"held_fresh,omitempty"`
	HeldUsable       string                  `json:"held_usable,omitempty"`
	NoneFresh        string                  `json:"none_fresh,omitempty"`
	NoneUsable       string                  `json:"none_usable,omitempty"`
	History          bool                    `json:"history"`
	Declared         bool                    `json:"declared"`
	Stage            store.Stage             `json:"stage"`
	Configured       bool                    `json:"configured"`
	ChangedAt        time.Time               `json:"changed_at"`
}

// ListSites writes the sites.
func (o Operator) ListSites(ctx context.Context, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		d, err := s.Directory(ctx, 0)
		if err != nil {
			return err
		}
		list := []shownSite{}
		for _, s := range d.Sites {
			list = append(list, shownSite{
				s.Organisation, s.OrganisationName, s.Code, s.Name, s.Region, s.Settings, s.Accountable.Name, s.Accountable.Role,
				!s.Policy.NoCache, orEmpty(s.Policy.Held.Fresh), orEmpty(s.Policy.Held.Usable), orEmpty(s.Policy.None.Fresh),
				orEmpty(s.Policy.None.Usable), s.Policy.History, s.Policy.Declared, s.Stage, s.Configured, s.Changed,
			})
		}
		if asJSON {
			return writeJSON(out, list)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ORGANISATION\tSITE\tSTAGE\tNAME\tCARE SETTINGS\tACCOUNTABLE")
		for _, s := range list {
			var settings []string
			for _, c := range s.CareSettings {
				settings = append(settings, c.String())
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Organisation, s.Site, s.Stage, s.Name, strings.Join(settings, " "), s.Accountable)
		}
		return w.Flush()
	})
}

func orEmpty(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// shownAuthority is a local authority as JSON shows it.
type shownAuthority struct {
	Code               safeguard.ODSCode   `json:"code"`
	GSS                string              `json:"gss,omitempty"`
	Name               string              `json:"name"`
	EmergencyDutyPhone string              `json:"emergency_duty_phone"`
	OfficeHoursPhone   string              `json:"office_hours_phone,omitempty"`
	Opened             string              `json:"opened,omitempty"`
	Closed             string              `json:"closed,omitempty"`
	Successors         []safeguard.ODSCode `json:"successors,omitempty"`
	Stage              store.Stage         `json:"stage"`
	Configured         bool                `json:"configured"`
	ChangedAt          time.Time           `json:"changed_at"`
}

// ListAuthorities writes the local authorities.
func (o Operator) ListAuthorities(ctx context.Context, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		d, err := s.Directory(ctx, 0)
		if err != nil {
			return err
		}
		list := []shownAuthority{}
		for _, a := range d.Authorities {
			list = append(list, shownAuthority{
				a.Code, a.GSS, a.Name, a.EmergencyDutyPhone, a.OfficeHoursPhone, a.Opened.String(), a.Closed.String(),
				a.Successors, a.Stage, a.Configured, a.Changed,
			})
		}
		if asJSON {
			return writeJSON(out, list)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "CODE\tGSS\tSTAGE\tNAME\tEMERGENCY DUTY\tOFFICE HOURS\tVALID")
		for _, a := range list {
			valid := a.Opened + " to " + a.Closed
			if len(a.Successors) > 0 {
				valid += fmt.Sprintf(", then %v", a.Successors)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.Code, a.GSS, a.Stage, a.Name, a.EmergencyDutyPhone, a.OfficeHoursPhone, valid)
		}
		return w.Flush()
	})
}

// Verification says what is verified, and against what.
type Verification struct {
	JSON  bool
	Noted string // file with an earlier report in JSON, whose heads must still be there; or empty
}

// VerifyAudit verifies the audit in the store, and writes what it finds.
func (o Operator) VerifyAudit(ctx context.Context, how Verification, out io.Writer) (report audit.Report, err error) {
	noted, err := how.noted()
	if err != nil {
		return audit.Report{}, err
	}
	err = o.with(ctx, func(s store.Store, _ audit.Who) error {
		report, err = s.VerifyAudit(ctx, noted)
		return err
	})
	if err != nil {
		return audit.Report{}, err
	}
	return report, how.write(report, out)
}

// VerifyAuditExport verifies an export, which needs neither store nor keys.
func VerifyAuditExport(path string, how Verification, out io.Writer) (audit.Report, error) {
	noted, err := how.noted()
	if err != nil {
		return audit.Report{}, err
	}
	report, err := audit.VerifyFile(path, noted)
	if err != nil {
		return audit.Report{}, err
	}
	return report, how.write(report, out)
}

func (v Verification) noted() ([]audit.Head, error) {
	if v.Noted == "" {
		return nil, nil
	}
	text, err := os.ReadFile(v.Noted)
	if err != nil {
		return nil, fmt.Errorf("earlier report: %w", err)
	}
	var report audit.Report
	if err := json.Unmarshal(text, &report); err != nil || len(report.Heads) == 0 {
		return nil, fmt.Errorf("earlier report %s: no heads in it, want what audit verify --json wrote", v.Noted)
	}
	return report.Heads, nil
}

func (v Verification) write(r audit.Report, out io.Writer) error {
	if v.JSON {
		return writeJSON(out, r)
	}
	var b strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintln(&b, p)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(&b, "%d entries in %d chains verified\n", r.Entries, r.Chains)
	} else {
		fmt.Fprintf(&b, "%d entries in %d chains, %d problems\n", r.Entries, r.Chains, len(r.Problems))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// ExportAudit writes the audit as JSON lines.
func (o Operator) ExportAudit(ctx context.Context, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		_, err := s.ExportAudit(ctx, out, by)
		return err
	})
}

// Backup writes a backup of the store into a new file at path. It holds no key.
func (o Operator) Backup(ctx context.Context, path string, out io.Writer) (err error) {
	s, err := o.Config.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	begun := time.Now()
	if err := s.Backup(ctx, path, whoOperates()); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d bytes in %v. Without the keys, which are to be kept elsewhere, it is of no use to anyone.\n",
		path, info.Size(), time.Since(begun).Round(time.Millisecond))
	return err
}

// Restoring says what is restored.
type Restoring struct {
	From    string    // the backup
	Already bool      // it was restored by other means: only what follows from that is done
	AsOf    time.Time // what the store holds is of then; zero for its last entry
}

// Restore puts a backup in the place of the store, which must not be there, and has
// the keys that are here open it. The centre must not run.
func (o Operator) Restore(ctx context.Context, how Restoring, out io.Writer) error {
	c := o.Config
	keysFolder := filepath.Join(c.Data, "keys")
	if _, err := os.Stat(keysFolder); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: there are no keys in %s, want the folder and the master key of the centre that made the backup: it can not be read under others", keysFolder)
	}
	ring, err := c.openKeys()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	var r store.Restored
	switch by := whoOperates(); {
	case how.Already:
		s, openErr := c.openStoreWith(ctx, ring)
		if openErr != nil {
			return openErr
		}
		r, err = s.PutBack(ctx, how.AsOf, by)
		err = errors.Join(err, s.Close())
	case c.Store.Postgres.DSNFile == "":
		r, err = store.RestoreSQLite(ctx, how.From, c.databaseFile(), ring, by)
	default:
		dsn, readErr := c.dsn()
		if readErr != nil {
			return readErr
		}
		r, err = store.RestorePostgres(ctx, how.From, dsn, ring, by)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `The store is as it was on %s. What the centre was told since is lost here.
Agents tell it again by themselves, once it runs: lookups, and with them the notifications that they owe, and corrections.
Local authorities: ask for a snapshot of each, and for whatever they uploaded since. Notifications that they have taken over since come again, with the same ids.
%d enrolment tokens were withdrawn, and %d sessions ended, for they may have been used or ended since.
To be done by hand, if it was done since: revoke certificates, erase persons, change sites, authorities, operators and issuers.
Next: safeguard-central audit verify --config FILE --noted REPORT shows which entries are lost.
`, r.AsOf.Local().Format("2006-01-02 15:04:05"), r.Tokens, r.Sessions)
	return err
}
