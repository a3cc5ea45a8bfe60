// Package agent is the edge agent: it wires the feeds, the journal, the pipeline,
// the cache, the central link and the sinks together, and runs them.
package agent

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Config is the agent's configuration file.
type Config struct {
	Device           string              `yaml:"device"`            // names this agent as the author of lookups
	Organisation     safeguard.ODSCode   `yaml:"organisation"`      // ODS code
	Sites            []safeguard.ODSCode `yaml:"sites"`             // the organisation's sites that this agent serves
	Accountable      Accountable         `yaml:"accountable"`       // who answers for the lookups
	ProductionChecks bool                `yaml:"production_checks"` // take NHS numbers of the 999 range as tests
	TimeZone         string              `yaml:"time_zone"`         // of times that messages give without one
	Data             string              `yaml:"data"`              // folder of journal and cache
	MasterKey        string              `yaml:"master_key"`        // file, outside the data folder; a systemd credential comes first
	Central          Central             `yaml:"central"`
	Cache            Cache               `yaml:"cache"`
	Journal          journal.Policy      `yaml:"journal"` // how long and how much it keeps, and when it stops intake
	Rules            Rules               `yaml:"rules"`
	Observe          Observe             `yaml:"observe"`   // deliver nothing, and compare
	Feeds            []Feed              `yaml:"feeds"`     // how the hospital's messages come in: docs/feeds.md
	Wording          epr.Wording         `yaml:"wording"`   // what the clinician reads
	Sinks            []Sink              `yaml:"sinks"`     // the EPRs that take alerts: docs/epr.md
	CDSHooks         *CDSHooks           `yaml:"cds_hooks"` // nil where no EPR asks
	Status           statuspage.Config   `yaml:"status"`    // the page that shows how the agent is, and what monitoring asks: docs/status.md
	Remote           Remote              `yaml:"remote"`    // what central operations may ask the agent to do: docs/fleet.md
	Log              logging.Config      `yaml:"log"`       // where the agent logs, and how much: docs/logs.md
	Traces           tracing.Config      `yaml:"traces"`    // where spans are sent: docs/metrics.md

	Digest  string `yaml:"-"` // of the file, as configs.Digest gives it
	Version string `yaml:"-"` // of the program

	file  string // that it was read from
	text  []byte // what stood in it
	aside string // why the file was not taken, and what was kept of it was
}

// Accountable is the person who answers for the agent's lookups.
type Accountable struct {
	Name string `yaml:"name"` // as in the access history
	Role string `yaml:"role"` // in which they answer
}

// Central says how the centre is reached.
type Central struct {
	Address     string        `yaml:"address"`     // host:port
	Others      []string      `yaml:"others"`      // host:port of further processes of the same centre, tried in this order while those before do not answer
	Certificate string        `yaml:"certificate"` // PEM file
	Key         string        `yaml:"key"`         // PEM file
	CA          string        `yaml:"ca"`          // PEM file: who signed the centre's certificate
	Deadline    time.Duration `yaml:"deadline"`    // of one lookup
}

// Cache says whether answers are kept for the hours when the centre can not be
// reached.
type Cache struct {
	// Agreement names the data protection agreement of the controllers under
	// which answers may be kept here. Without it, none is.
	Agreement string `yaml:"agreement"`
}

// Rules are the policies of the site that differ from the defaults.
type Rules struct {
	UnansweredAfter   time.Duration `yaml:"unanswered_after"`   // then the EPR shows that the check was not completed, while the centre does not answer
	UnidentifiedAfter time.Duration `yaml:"unidentified_after"` // the same without an NHS number, or when identity is not confirmed
	WithdrawAtEnd     bool          `yaml:"withdraw_at_end"`    // take alerts away at discharge
	SayNone           bool          `yaml:"say_none"`           // tell the clinician that none is held; otherwise that is silent
}

// Observe is the mode in which the whole site delivers nothing, and what would have
// been shown is compared with what is.
type Observe struct {
	Enabled bool `yaml:"enabled"` // deliver nothing, whatever the sinks say
	// NobodyElseNotifies is who declared, and when, that nobody else notifies
	// local authorities of the site's attendances. While nobody is named, lookups
	// are silent and none stays owed.
	NobodyElseNotifies string `yaml:"nobody_else_notifies"`
}

// silent tells whether lookups neither notify nor stay owed.
func (o Observe) silent() bool { return o.Enabled && strings.TrimSpace(o.NobodyElseNotifies) == "" }

// DefaultConfig is what holds for keys that the file does not have.
func DefaultConfig() Config {
	rules := safeguard.DefaultRules()
	return Config{
		ProductionChecks: true,
		TimeZone:         "Europe/London",
		Central:          Central{Deadline: 800 * time.Millisecond},
		Journal:          journal.DefaultPolicy(),
		Rules:            Rules{UnansweredAfter: rules.UnansweredAfter, UnidentifiedAfter: rules.UnidentifiedAfter},
		Wording:          epr.DefaultWording(),
		Status:           statuspage.DefaultConfig(),
		Remote:           defaultRemote(),
		Log:              logging.DefaultConfig(),
		Traces:           tracing.DefaultConfig(),
	}
}

// LoadConfig reads and checks the file. Paths in it are relative to its folder.
func LoadConfig(file string) (Config, error) {
	text, err := configs.Read(file)
	if err != nil {
		return Config{}, err
	}
	return parseConfig(file, text)
}

// parseConfig reads text as if it stood in the file.
func parseConfig(file string, text []byte) (Config, error) {
	c := DefaultConfig()
	if err := configs.Parse(file, text, &c); err != nil {
		return Config{}, err
	}
	c.file, c.text = file, text
	beside(file, &c.Data, &c.MasterKey, &c.Central.Certificate, &c.Central.Key, &c.Central.CA, &c.Log.File.Path, &c.Traces.CA)
	for i := range c.Feeds {
		c.Feeds[i].beside(file, c.Data)
	}
	for i := range c.Sinks {
		c.Sinks[i].beside(file)
	}
	c.CDSHooks.beside(file)
	beside(file, &c.Status.Passwords, &c.Status.AddressFile)
	if t := c.Status.TLS; t != nil {
		beside(file, &t.Cert, &t.Key, &t.CA)
	}
	c.Wording = c.Wording.Completed()
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", file, err)
	}
	c.Digest = configs.Digest(text)
	return c, nil
}

// beside makes paths relative to the configuration file's folder.
func beside(file string, paths ...*string) {
	for _, path := range paths {
		*path = configs.Beside(file, *path)
	}
}

// Validate names the first key whose value can not work, and what would.
func (c Config) Validate() error {
	if _, err := c.Zone(); err != nil {
		return err
	}
	for _, need := range []struct {
		key    string
		absent bool
		want   string
	}{
		{"device", c.Device == "", "a name for this agent, such as rx1-ed-1"},
		{"organisation", c.Organisation.IsZero(), "the organisation's ODS code"},
		{"sites", len(c.Sites) == 0, "the ODS code of at least one site"},
		{"accountable.name", c.Accountable.Name == "", "the person who answers for the lookups"},
		{"accountable.role", c.Accountable.Role == "", "that person's role"},
		{"data", c.Data == "", "a folder"},
		{"master_key", c.MasterKey == "", "a file outside the data folder"},
		{"central.address", !hostPort(c.Central.Address), "host:port"},
		{"central.others", slices.ContainsFunc(c.Central.Others, func(a string) bool { return !hostPort(a) }), "host:port for each"},
		{"central.certificate", c.Central.Certificate == "", "a PEM file"},
		{"central.key", c.Central.Key == "", "a PEM file"},
		{"central.ca", c.Central.CA == "", "a PEM file"},
		{"central.deadline", c.Central.Deadline <= 0, "a duration such as 800ms"},
		{"rules.unanswered_after", c.Rules.UnansweredAfter < 0, "a duration such as 15s"},
		{"rules.unidentified_after", c.Rules.UnidentifiedAfter < 0, "a duration such as 5m"},
		{"feeds", len(c.Feeds) == 0, "at least one feed"},
		{"sinks", len(c.Sinks) == 0, "at least one sink"},
	} {
		if need.absent {
			return fmt.Errorf("%s: want %s", need.key, need.want)
		}
	}
	if err := c.Journal.Validate(); err != nil {
		return fmt.Errorf("journal.%w", err)
	}
	if rel, err := filepath.Rel(c.Data, c.MasterKey); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("master_key: %s is within data, want it outside: whoever copies one must not have the other", c.MasterKey)
	}
	if err := c.Remote.validate(); err != nil {
		return fmt.Errorf("remote.%w", err)
	}
	if err := c.Log.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	if err := c.Traces.Validate(); err != nil {
		return fmt.Errorf("traces.%w", err)
	}
	names := map[string]bool{}
	for i, f := range c.Feeds {
		if err := f.validate(c, names); err != nil {
			return fmt.Errorf("feeds[%d]: %w", i, err)
		}
	}
	if err := c.Wording.Validate(); err != nil {
		return fmt.Errorf("wording.%w", err)
	}
	if c.CDSHooks != nil {
		if err := c.CDSHooks.Validate(); err != nil {
			return fmt.Errorf("cds_hooks.%w", err)
		}
	}
	if err := c.Status.Validate(); err != nil {
		return fmt.Errorf("status.%w", err)
	}
	names = map[string]bool{}
	for i, s := range c.Sinks {
		if err := s.validate(names); err != nil {
			return fmt.Errorf("sinks[%d]: %w", i, err)
		}
	}
	return nil
}

func hostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	return err == nil && port != ""
}

// Zone is the hospital's time zone.
func (c Config) Zone() (*time.Location, error) {
	zone, err := time.LoadLocation(c.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time_zone %q: want a name such as Europe/London", c.TimeZone)
	}
	return zone, nil
}

// rules are the domain's, as the site wants them.
func (c Config) rules() safeguard.Rules {
	r := safeguard.DefaultRules()
	r.UnansweredAfter, r.UnidentifiedAfter = c.Rules.UnansweredAfter, c.Rules.UnidentifiedAfter
	r.SayNone, r.WithdrawAtEnd = c.Rules.SayNone, c.Rules.WithdrawAtEnd
	return r
}
