package central

import (
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Config is what the centre is told when it starts. Paths in a file are taken
// from the folder that the file is in.
type Config struct {
	Listen        string   `yaml:"listen"`         // host:port; port 0 is any free one
	PublicAddress string   `yaml:"public_address"` // host:port that callers dial; in enrolment tokens
	PublicOthers  []string `yaml:"public_others"`  // further ones, such as a standby's; in enrolment tokens too
	AddressFile   string   `yaml:"address_file"`   // where the address is written once the centre listens; empty for nowhere
	Data          string   `yaml:"data"`           // folder of the store and of its wrapped keys
	MasterKey     string   `yaml:"master_key"`     // file of the key that wraps them, outside Data; made when there is none
	TLS           TLS      `yaml:"tls"`
	Store         Store    `yaml:"store"`

	Certificates Certificates `yaml:"certificates"`

	Uploads Uploads `yaml:"uploads"`

	// ProductionChecks refuses test numbers (999). Off for demonstrations and
	// tests, and for nothing else.
	ProductionChecks bool `yaml:"production_checks"`

	Policy Policy `yaml:"policy"`

	Retention Retention `yaml:"retention"` // how long is kept what nobody works with any more

	Fleet Fleet `yaml:"fleet"` // how agents are watched, and who is told of what is wrong

	Log logging.Config `yaml:"log"` // where the centre logs, and how much: docs/logs.md

	Traces tracing.Config `yaml:"traces"` // where spans of what agents ask are sent: docs/metrics.md

	Web Web `yaml:"web"` // the pages that operators see the fleet on

	Staff Staff `yaml:"staff"` // the pages that members of staff view flags on

	// Webhooks are for local authorities that want notifications pushed. Others
	// pull.
	Webhooks []Webhook `yaml:"webhooks"`

	// Who takes part, besides whom an operator has put into the store. What is
	// listed is imported at each start: it adds and changes, and never removes or
	// moves to another stage.
	Sites       []Site      `yaml:"sites"`
	Authorities []Authority `yaml:"authorities"` // the local authorities that may upload flags, and are notified

	file string // that it was read from
}

// Uploads is what the centre decides about local authorities' uploads.
type Uploads struct {
	// SnapshotShare is how much of an authority's current flags its snapshot may
	// end or withdraw without a person, from 0 to 1.
	SnapshotShare float64 `yaml:"snapshot_share"`

	// Folder is looked into for files, in one folder for each authority, named by
	// its code. Empty for none.
	Folder string        `yaml:"folder"`
	Poll   time.Duration `yaml:"poll"`   // how often
	Settle time.Duration `yaml:"settle"` // how long a file must have stayed as it is before it is taken
}

// Store is where the centre keeps what it must not lose: a file in the data
// folder, or a database.
type Store struct {
	Postgres Postgres `yaml:"postgres"`
}

// Postgres is a database that many centres may share, all with the same keys and
// master key.
type Postgres struct {
	DSNFile string `yaml:"dsn_file"` // holds the connection string, which is a secret; empty: the file in the data folder is used
}

// TLS are the PEM files of the centre.
type TLS struct {
	Certificate string `yaml:"certificate"` // its own, with the intermediate ones
	Key         string `yaml:"key"`         // of certificate
	ClientsCA   string `yaml:"clients_ca"`  // authorities that are trusted besides the centre's own; empty for none
}

// Certificates is what the centre decides about those of its callers.
type Certificates struct {
	Life        time.Duration `yaml:"life"`         // of those that it issues
	RenewLapsed time.Duration `yaml:"renew_lapsed"` // after one has expired, it may be renewed for so long

	// Named says who holds certificates that another authority issues under names
	// of its own.
	Named []NamedCertificate `yaml:"named"`
}

// NamedCertificate is one of them.
type NamedCertificate struct {
	Name string            `yaml:"name"` // its one DNS name, or where it has none its common name
	Is   identity.Identity `yaml:"is"`   // such as spiffe://safeguard/agent/RX1/ed1
}

// Site is a place that may ask.
type Site struct {
	Organisation string      `yaml:"organisation"`  // ODS code, as in its agents' certificates
	Site         string      `yaml:"site"`          // ODS code
	Name         string      `yaml:"name"`          // as local authorities are to read it
	Region       string      `yaml:"region"`        // as operations group sites; may be empty
	CareSettings []string    `yaml:"care_settings"` // the types of care that it gives
	Accountable  Accountable `yaml:"accountable"`   // answers for lookups that name nobody
}

// Accountable is a person and the role in which they answer.
type Accountable struct {
	Name string `yaml:"name"` // as in the access history
	Role string `yaml:"role"` // in which they answer
}

// Authority is a local authority that may upload flags.
type Authority struct {
	Code               string `yaml:"code"`                 // three digits, as in the national list
	Name               string `yaml:"name"`                 // as clinicians are to read it
	EmergencyDutyPhone string `yaml:"emergency_duty_phone"` // outside office hours; clinicians read it
	OfficeHoursPhone   string `yaml:"office_hours_phone"`   // may be empty
}

// DefaultConfig listens on the port of the service, with production checks. It
// names no files and nobody who may call.
func DefaultConfig() Config {
	policy := server.DefaultPolicy()
	return Config{Listen: ":7443", ProductionChecks: true, Certificates: Certificates{Life: policy.CertificateLife, RenewLapsed: policy.RenewLapsed}, Uploads: Uploads{SnapshotShare: upload.DefaultShare, Poll: 10 * time.Second, Settle: 20 * time.Second}, Policy: defaultPolicy(), Retention: defaultRetention(), Fleet: defaultFleet(), Web: defaultWeb(), Staff: defaultStaff(), Log: logging.DefaultConfig(), Traces: tracing.DefaultConfig()}
}

// Load reads the file at path over the defaults, and checks what comes of it.
func Load(path string) (Config, error) {
	c := DefaultConfig()
	c.file = path
	if err := configs.Load(path, &c); err != nil {
		return Config{}, err
	}
	for _, p := range []*string{&c.AddressFile, &c.Data, &c.MasterKey, &c.TLS.Certificate, &c.TLS.Key, &c.TLS.ClientsCA, &c.Store.Postgres.DSNFile, &c.Uploads.Folder, &c.Log.File.Path, &c.Traces.CA} {
		*p = configs.Beside(path, *p)
	}
	c.Fleet.beside(path)
	c.Web.beside(path)
	c.Staff.beside(path)
	for i := range c.Webhooks {
		c.Webhooks[i].beside(path)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Validate tells the first thing that is wrong: the field, its value, and what
// would be right.
func (c Config) Validate() error {
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		return fmt.Errorf("listen: %q, want host:port such as 0.0.0.0:7443", c.Listen)
	}
	for _, f := range []struct{ field, value, want string }{
		{"data", c.Data, "a folder for the store"},
		{"master_key", c.MasterKey, "a file outside the data folder for the master key"},
		{"tls.certificate", c.TLS.Certificate, "the PEM file of the centre's certificate"},
		{"tls.key", c.TLS.Key, "the PEM file of its key"},
	} {
		if f.value == "" {
			return fmt.Errorf("%s: missing, want %s", f.field, f.want)
		}
	}
	if !isHostPort(c.PublicAddress) && c.PublicAddress != "" {
		return fmt.Errorf("public_address: %q, want host:port such as central.example:7443", c.PublicAddress)
	}
	for i, address := range c.PublicOthers {
		if !isHostPort(address) || c.PublicAddress == "" {
			return fmt.Errorf("public_others[%d]: %q, want host:port such as standby.example:7443, and public_address before", i, address)
		}
	}
	if err := c.Certificates.validate(); err != nil {
		return fmt.Errorf("certificates.%w", err)
	}
	if s := c.Uploads.SnapshotShare; s < 0 || s > 1 || math.IsNaN(s) {
		return fmt.Errorf("uploads.snapshot_share: %v, want a share of the flags from 0 to 1, such as 0.2", s)
	}
	if c.Uploads.Folder != "" && (c.Uploads.Poll <= 0 || c.Uploads.Settle < 0) {
		return fmt.Errorf("uploads.poll, uploads.settle: %v, %v, want how often the folder is looked into, such as 10s, and how long a file must not have changed, such as 20s", c.Uploads.Poll, c.Uploads.Settle)
	}
	if inside(c.Data, c.MasterKey) {
		return fmt.Errorf("master_key: %s is within data, want it outside: whoever copies one must not have the other", c.MasterKey)
	}
	if err := c.Policy.validate(); err != nil {
		return err
	}
	if err := c.Retention.validate(); err != nil {
		return err
	}
	if err := c.Fleet.validate(); err != nil {
		return err
	}
	if err := c.Web.validate(); err != nil {
		return err
	}
	if err := c.Staff.validate(); err != nil {
		return err
	}
	if err := c.Log.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	if err := c.Traces.Validate(); err != nil {
		return fmt.Errorf("traces.%w", err)
	}
	_, _, err := c.participants()
	return err
}

func isHostPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && host != "" && port != ""
}

func (c Certificates) validate() error {
	if c.Life < 5*time.Second {
		return fmt.Errorf("life: %v, want how long a certificate is valid, such as 2160h", c.Life)
	}
	if c.RenewLapsed < 0 {
		return fmt.Errorf("renew_lapsed: %v, want for how long after its end a certificate may be renewed, such as 720h", c.RenewLapsed)
	}
	seen := map[string]bool{}
	for i, n := range c.Named {
		switch {
		case n.Name == "" || seen[n.Name]:
			return fmt.Errorf("named[%d].name: %q, want each name once", i, n.Name)
		case n.Is.Kind == identity.NoKind || n.Is.Kind == identity.Centre:
			return fmt.Errorf("named[%d].is: want an identity such as spiffe://safeguard/agent/RX1/ed1", i)
		}
		seen[n.Name] = true
	}
	return nil
}

func (c Certificates) named() map[string]identity.Identity {
	names := map[string]identity.Identity{}
	for _, n := range c.Named {
		names[n.Name] = n.Is
	}
	return names
}

func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// participants are the sites and authorities that are listed. Whoever is new
// among them takes part at once.
func (c Config) participants() (sites []store.Site, authorities []store.Authority, err error) {
	seen := map[string]string{}
	for i, s := range c.Sites {
		field := fmt.Sprintf("sites[%d]", i)
		site, err := s.parse(field)
		if err != nil {
			return nil, nil, err
		}
		key := site.Organisation.String() + " " + site.Code.String()
		if first, ok := seen[key]; ok {
			return nil, nil, fmt.Errorf("%s: site %s is at %s already, want each once", field, key, first)
		}
		seen[key] = field
		sites = append(sites, site)
	}
	for i, a := range c.Authorities {
		field := fmt.Sprintf("authorities[%d]", i)
		authority, err := a.parse(field)
		if err != nil {
			return nil, nil, err
		}
		key := authority.Code.String()
		if first, ok := seen[key]; ok {
			return nil, nil, fmt.Errorf("%s: local authority %s is at %s already, want each once", field, key, first)
		}
		seen[key] = field
		authorities = append(authorities, authority)
	}
	return sites, authorities, nil
}

func (s Site) parse(field string) (store.Site, error) {
	site := store.Site{Name: s.Name, Region: s.Region, Accountable: safeguard.Accountable{Name: s.Accountable.Name, Role: s.Accountable.Role}, Stage: store.Live}
	var err error
	if site.Organisation, err = safeguard.ParseODSCode(s.Organisation); err != nil {
		return site, fmt.Errorf("%s.organisation: %w", field, err)
	}
	if site.Code, err = safeguard.ParseODSCode(s.Site); err != nil {
		return site, fmt.Errorf("%s.site: %w", field, err)
	}
	if s.Name == "" {
		return site, fmt.Errorf("%s.name: missing, want the name that local authorities are to read", field)
	}
	if len(s.CareSettings) == 0 {
		return site, fmt.Errorf("%s.care_settings: missing, want a list such as [emergency-department]", field)
	}
	for i, word := range s.CareSettings {
		var setting safeguard.CareSetting
		if err := setting.UnmarshalText([]byte(word)); err != nil {
			return site, fmt.Errorf("%s.care_settings[%d]: %w", field, i, err)
		}
		site.Settings = append(site.Settings, setting)
	}
	return site, nil
}

func (a Authority) parse(field string) (store.Authority, error) {
	out := store.Authority{Stage: store.Live}
	var err error
	if out.Code, err = safeguard.ParseODSCode(a.Code); err != nil {
		return out, fmt.Errorf("%s.code: %w", field, err)
	}
	if a.Name == "" {
		return out, fmt.Errorf("%s.name: missing, want the name that clinicians are to read", field)
	}
	if a.EmergencyDutyPhone == "" {
		return out, fmt.Errorf("%s.emergency_duty_phone: missing, want the number to call outside office hours", field)
	}
	out.Name, out.EmergencyDutyPhone, out.OfficeHoursPhone = a.Name, a.EmergencyDutyPhone, a.OfficeHoursPhone
	return out, nil
}

func (t TLS) files() identity.Files {
	return identity.Files{Certificate: t.Certificate, Key: t.Key, CA: t.ClientsCA}
}
