package central

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/alarm"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/webhook"
	"github.com/safeguard-edge/safeguard/configs"
)

// Fleet is how the agents are watched, and who is told.
type Fleet struct {
	AgentVersion string  `yaml:"agent_version"` // that agents are to have; empty for any
	TimeZone     string  `yaml:"time_zone"`     // of the hospitals' weeks, and of quiet hours
	Metrics      string  `yaml:"metrics"`       // host:port for Prometheus and the probes /healthz and /readyz, without authentication; empty for none
	Routes       []Route `yaml:"routes"`        // who is told of warnings, by webhook or mail
}

// Route is who is told of which warnings, and how.
type Route struct {
	Name     string             `yaml:"name"`     // keep it: what it was told of is kept under it
	Severity safeguard.Severity `yaml:"severity"` // notice, attention or critical: at least
	Warnings []string           `yaml:"warnings"` // only these, by code, such as break-glass-waiting; none for all
	Codes    []string           `yaml:"codes"`    // ODS codes of organisations, sites or local authorities; none for all
	Quiet    *QuietHours        `yaml:"quiet"`    // hours in which only what is critical is told
	Webhook  *FleetWebhook      `yaml:"webhook"`
	Mail     *Mail              `yaml:"mail"`
}

// QuietHours are hours in which only what is critical is told.
type QuietHours struct {
	From     string `yaml:"from"`     // such as 18:00
	Until    string `yaml:"until"`    // such as 08:00
	Weekends bool   `yaml:"weekends"` // all of Saturday and Sunday too
}

// FleetWebhook is where warnings are pushed, signed as notifications are.
type FleetWebhook struct {
	URL        string `yaml:"url"`         // https; http only for this machine
	SecretFile string `yaml:"secret_file"` // made by safeguard-central webhook secret
	CA         string `yaml:"ca"`          // PEM file of who vouches for the receiver; empty for whom the system trusts
}

// Mail is a mail server, which must offer STARTTLS, and to whom it is to send.
type Mail struct {
	Server       string   `yaml:"server"`        // host:port
	User         string   `yaml:"user"`          // empty for no authentication
	PasswordFile string   `yaml:"password_file"` // a file that holds the user's password
	From         string   `yaml:"from"`          // address that sends
	To           []string `yaml:"to"`            // addresses that are told
	CA           string   `yaml:"ca"`            // PEM file of who vouches for the server; empty for whom the system trusts
}

func defaultFleet() Fleet { return Fleet{TimeZone: "Europe/London"} }

// beside takes the paths from the folder of the configuration.
func (f *Fleet) beside(path string) {
	for _, r := range f.Routes {
		if r.Webhook != nil {
			r.Webhook.SecretFile, r.Webhook.CA = configs.Beside(path, r.Webhook.SecretFile), configs.Beside(path, r.Webhook.CA)
		}
		if r.Mail != nil {
			r.Mail.PasswordFile, r.Mail.CA = configs.Beside(path, r.Mail.PasswordFile), configs.Beside(path, r.Mail.CA)
		}
	}
}

// validate names the first key that can not work. Files are not read.
func (f Fleet) validate() error {
	zone, err := time.LoadLocation(f.TimeZone)
	if err != nil || f.TimeZone == "" {
		return fmt.Errorf("fleet.time_zone: %q, want a name such as Europe/London", f.TimeZone)
	}
	if _, port, err := net.SplitHostPort(f.Metrics); f.Metrics != "" && (err != nil || port == "") {
		return fmt.Errorf("fleet.metrics: %q, want host:port such as 127.0.0.1:9643", f.Metrics)
	}
	names := map[string]bool{}
	for i, r := range f.Routes {
		if err := r.validate(names, zone); err != nil {
			return fmt.Errorf("fleet.routes[%d].%w", i, err)
		}
		names[r.Name] = true
	}
	return nil
}

func (r Route) validate(names map[string]bool, zone *time.Location) error {
	switch {
	case r.Name == "" || names[r.Name] || strings.ContainsFunc(r.Name, func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-", c) }):
		return fmt.Errorf("name: %q, want one of its own, of small letters, digits and hyphens", r.Name)
	case r.Severity == safeguard.NoSeverity:
		return errors.New("severity: missing, want notice, attention or critical")
	case (r.Webhook == nil) == (r.Mail == nil):
		return errors.New("webhook, mail: want one of the two")
	}
	if _, err := r.codes(); err != nil {
		return err
	}
	if _, err := r.warnings(); err != nil {
		return err
	}
	if _, err := r.Quiet.hours(zone); err != nil {
		return err
	}
	if r.Mail != nil {
		m, err := r.Mail.carrier(false)
		if err == nil {
			err = m.Check()
		}
		if err != nil {
			return fmt.Errorf("mail.%w", err)
		}
	}
	return nil
}

// warnings are the codes of those that are told.
func (r Route) warnings() (codes []safeguard.WarningCode, err error) {
	for i, text := range r.Warnings {
		code := safeguard.WarningCode(text)
		if !slices.ContainsFunc(safeguard.AllDeclared(), func(d safeguard.Declared) bool { return d.Code == code }) {
			return nil, fmt.Errorf("warnings[%d]: %q, want the code of a warning, such as break-glass-waiting: the runbook has them all", i, text)
		}
		codes = append(codes, code)
	}
	return codes, nil
}

func (r Route) codes() (codes []safeguard.ODSCode, err error) {
	for i, text := range r.Codes {
		code, err := safeguard.ParseODSCode(text)
		if err != nil {
			return nil, fmt.Errorf("codes[%d]: %w", i, err)
		}
		codes = append(codes, code)
	}
	return codes, nil
}

func (q *QuietHours) hours(zone *time.Location) (alarm.Quiet, error) {
	out := alarm.Quiet{Zone: zone}
	if q == nil {
		return out, nil
	}
	out.Weekends = q.Weekends
	for _, f := range []struct {
		key, text string
		into      *time.Duration
	}{{"from", q.From, &out.From}, {"until", q.Until, &out.Until}} {
		if f.text == "" && q.From == "" && q.Until == "" && q.Weekends {
			continue
		}
		at, err := time.Parse("15:04", f.text)
		if err != nil {
			return out, fmt.Errorf("quiet.%s: %q, want a time such as 18:00", f.key, f.text)
		}
		*f.into = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
	return out, nil
}

// routes are the configured ones, with what their files hold.
func (f Fleet) routes() ([]alarm.Route, error) {
	zone, err := time.LoadLocation(f.TimeZone)
	if err != nil {
		return nil, err
	}
	var out []alarm.Route
	for i, r := range f.Routes {
		route := alarm.Route{Name: r.Name, Severity: r.Severity}
		route.Codes, err = r.codes()
		if err == nil {
			route.Warnings, err = r.warnings()
		}
		if err == nil {
			route.Quiet, err = r.Quiet.hours(zone)
		}
		if err == nil && r.Webhook != nil {
			route.Carrier, err = r.Webhook.carrier()
		} else if err == nil {
			route.Carrier, err = r.Mail.carrier(true)
		}
		if err != nil {
			return nil, fmt.Errorf("fleet.routes[%d].%w", i, err)
		}
		out = append(out, route)
	}
	return out, nil
}

func (w FleetWebhook) carrier() (alarm.Carrier, error) {
	t := webhook.Target{URL: w.URL}
	if err := withSecrets(&t, w.SecretFile, w.CA); err != nil {
		return nil, fmt.Errorf("webhook.%w", err)
	}
	return alarm.Hook{Target: t}, nil
}

func (m Mail) carrier(files bool) (out alarm.Mail, err error) {
	host, port, err := net.SplitHostPort(m.Server)
	if err != nil {
		return out, fmt.Errorf("server: %q, want host:port such as mail.example.nhs.uk:587", m.Server)
	}
	out = alarm.Mail{Host: host, User: m.User, From: m.From, To: m.To}
	if out.Port, err = strconv.Atoi(port); err != nil {
		return out, fmt.Errorf("server: %q, want host:port such as mail.example.nhs.uk:587", m.Server)
	}
	if (m.User == "") != (m.PasswordFile == "") {
		return out, errors.New("user, password_file: want both, or neither")
	}
	if !files {
		return out, nil
	}
	if m.PasswordFile != "" {
		text, err := os.ReadFile(m.PasswordFile)
		if err != nil {
			return out, fmt.Errorf("mail.password_file: %w", err)
		}
		out.Password = strings.TrimSpace(string(text))
	}
	out.CA, err = vouching(m.CA)
	if err != nil {
		return out, fmt.Errorf("mail.%w", err)
	}
	return out, nil
}

// vouching are the certificates in the file; nil for no file.
func vouching(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate, want PEM", file)
	}
	return pool, nil
}

// watcher finds what is missing.
func (c Config) watcher(s *store.DB, holder string, log *slog.Logger) (*fleet.Watcher, error) {
	zone, err := time.LoadLocation(c.Fleet.TimeZone)
	if err != nil {
		return nil, err
	}
	p := fleet.DefaultPolicy()
	p.Version, p.Zone, p.DataOverdue = c.Fleet.AgentVersion, zone, c.Policy.DataOverdue
	return &fleet.Watcher{Store: s, Holder: holder, Policy: p, Log: log}, nil
}
