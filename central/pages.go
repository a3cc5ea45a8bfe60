package central

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/web"
	"github.com/safeguard-edge/safeguard/configs"
)

// Web is the pages that operators see the fleet on.
type Web struct {
	Listen      string        `yaml:"listen"`       // host:port; empty for no pages
	AddressFile string        `yaml:"address_file"` // where the address is written once it listens; empty for nowhere
	Certificate string        `yaml:"certificate"`  // PEM file of one that browsers trust, with the intermediate ones; empty for the centre's own
	Key         string        `yaml:"key"`          // PEM file of its key
	Idle        time.Duration `yaml:"idle"`         // after so long without use an operator is signed out
	Absolute    time.Duration `yaml:"absolute"`     // and after so long in any case
	Runbook     string        `yaml:"runbook"`      // address of the runbook, which has a section for each warning
	OIDC        *OIDC         `yaml:"oidc"`         // whom operators sign in with; without it by accounts at the centre alone
}

// OIDC is a provider of OpenID Connect, and what the centre is to it.
type OIDC struct {
	Name             string    `yaml:"name"`               // as operators are to read it
	Issuer           string    `yaml:"issuer"`             // https; http only for this machine
	ClientID         string    `yaml:"client_id"`          // of the centre, as it is registered there
	ClientSecretFile string    `yaml:"client_secret_file"` // a file that holds the client's secret; empty for a public client
	Origin           string    `yaml:"origin"`             // of the pages, as browsers call them; register it with /sign-in/returned behind it
	Scopes           []string  `yaml:"scopes"`             // besides openid
	NameClaim        string    `yaml:"name_claim"`         // whose value is the operator's name
	RoleClaim        string    `yaml:"role_claim"`         // whose value, or one of whose values, gives the role; realm_access.roles is roles within realm_access
	Roles            OIDCRoles `yaml:"roles"`              // which values give which role; the highest counts
}

// OIDCRoles are the values of the claim that give each role.
type OIDCRoles struct {
	Viewer        []string `yaml:"viewer"`        // may look
	Operator      []string `yaml:"operator"`      // may take on warnings and write notes too
	Administrator []string `yaml:"administrator"` // may see and end the sessions of others too
}

func (r OIDCRoles) byValue() map[string]store.Role {
	all := map[string]store.Role{}
	for _, of := range []struct {
		role   store.Role
		values []string
	}{{store.Viewer, r.Viewer}, {store.Operating, r.Operator}, {store.Administering, r.Administrator}} {
		for _, value := range of.values {
			all[value] = of.role
		}
	}
	return all
}

func defaultWeb() Web {
	return Web{Idle: 30 * time.Minute, Absolute: 12 * time.Hour, Runbook: "https://github.com/safeguard-edge/safeguard/blob/main/docs/runbook.md"}
}

// beside takes the paths from the folder of the configuration.
func (w *Web) beside(path string) {
	w.AddressFile, w.Certificate, w.Key = configs.Beside(path, w.AddressFile), configs.Beside(path, w.Certificate), configs.Beside(path, w.Key)
	if w.OIDC != nil {
		w.OIDC.ClientSecretFile = configs.Beside(path, w.OIDC.ClientSecretFile)
	}
}

// validate names the first key that can not work. Files are not read.
func (w Web) validate() error {
	if err := checkPages(w.Listen, w.Certificate, w.Key, w.Idle, w.Absolute); err != nil {
		return fmt.Errorf("web.%w", err)
	}
	if w.OIDC != nil {
		if err := w.OIDC.validate(); err != nil {
			return fmt.Errorf("web.oidc.%w", err)
		}
	}
	return nil
}

// checkPages tells what is wrong with how pages are served, if so.
func checkPages(listen, certificate, key string, idle, absolute time.Duration) error {
	if _, port, err := net.SplitHostPort(listen); listen != "" && (err != nil || port == "") {
		return fmt.Errorf("listen: %q, want host:port such as 0.0.0.0:7444", listen)
	}
	switch {
	case (certificate == "") != (key == ""):
		return errors.New("certificate, key: want both, or neither for the centre's own")
	case idle < time.Minute || absolute < idle:
		return fmt.Errorf("idle, absolute: %v, %v, want at least a minute, and not less than that", idle, absolute)
	}
	return nil
}

func (o OIDC) validate() error {
	if err := checkProvider(o.Name, o.ClientID, o.Issuer, o.Origin); err != nil {
		return err
	}
	if o.RoleClaim == "" {
		return errors.New("role_claim: missing, want the claim that gives the role, such as groups")
	}
	if len(o.Roles.byValue()) == 0 {
		return errors.New("roles: missing, want the values that give viewer, operator or administrator")
	}
	return nil
}

// checkProvider tells what is wrong with what every provider needs, if so.
func checkProvider(name, clientID, issuer, origin string) error {
	for _, f := range []struct{ field, value, want string }{
		{"name", name, "what people are to read on the button"},
		{"client_id", clientID, "what the centre is registered as"},
	} {
		if f.value == "" {
			return fmt.Errorf("%s: missing, want %s", f.field, f.want)
		}
	}
	for _, f := range []struct{ field, value string }{{"issuer", issuer}, {"origin", origin}} {
		u, err := url.Parse(f.value)
		local := err == nil && u.Scheme == "http" && f.field == "issuer" && net.ParseIP(u.Hostname()).IsLoopback()
		if err != nil || u.Host == "" || u.Scheme != "https" && !local {
			return fmt.Errorf("%s: %q, want an address such as https://%s.example", f.field, f.value, f.field)
		}
	}
	if strings.HasSuffix(origin, "/") {
		return fmt.Errorf("origin: %q, want it without the last /", origin)
	}
	return nil
}

// pages listens for operators, where there is no certificate of their own with that
// of the entrance; nil where there are to be no pages.
func (c Config) pages(held store.Store, entrance *identity.Entrance, log *slog.Logger) (*web.Server, error) {
	if c.Web.Listen == "" {
		return nil, nil
	}
	secured, zone, err := c.securePages("web", entrance, c.Web.Certificate, c.Web.Key)
	if err != nil {
		return nil, err
	}
	config := web.Config{
		Listen: c.Web.Listen, Store: held, Zone: zone, Runbook: c.Web.Runbook, Log: log,
		Desk:  signin.Desk{Store: held, Limits: signin.Limits{Idle: c.Web.Idle, Absolute: c.Web.Absolute}},
		Staff: signin.Limits{Idle: c.Staff.Idle, Absolute: c.Staff.Absolute},
		TLS:   secured,
	}
	if o := c.Web.OIDC; o != nil {
		if config.Provider, err = o.provider(); err != nil {
			return nil, err
		}
	}
	return web.Listen(config)
}

// securePages is how pages are secured, where there is no certificate of their own
// with that of the entrance, and the zone that they show times in.
func (c Config) securePages(section string, entrance *identity.Entrance, file, key string) (*tls.Config, *time.Location, error) {
	zone, err := time.LoadLocation(c.Fleet.TimeZone)
	if err != nil {
		return nil, nil, fmt.Errorf("fleet.time_zone: %w", err)
	}
	certificate := entrance.Certificate
	if file != "" {
		certificate = (&pair{certificate: file, key: key}).current
		if _, err := certificate(); err != nil {
			return nil, nil, fmt.Errorf("%s.certificate: %w", section, err)
		}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() }}, zone, nil
}

func (o OIDC) provider() (*signin.Operators, error) {
	p, err := provided("web", o.ClientSecretFile, &signin.Provider{Name: o.Name, Issuer: o.Issuer, ClientID: o.ClientID, Origin: o.Origin, Scopes: o.Scopes})
	return &signin.Operators{Provider: p, NameClaim: o.NameClaim, RoleClaim: o.RoleClaim, Roles: o.Roles.byValue()}, err
}

// provided is the provider with the client's secret.
func provided(section, secretFile string, p *signin.Provider) (*signin.Provider, error) {
	if secretFile == "" {
		return p, nil
	}
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return nil, fmt.Errorf("%s.oidc.client_secret_file: %w", section, err)
	}
	p.ClientSecret = strings.TrimSpace(string(secret))
	return p, nil
}

// servePages has the pages served until ctx ends.
func (c Config) servePages(ctx context.Context, pages *web.Server) error {
	return serveAt(ctx, c.Web.AddressFile, pages)
}

// serveAt serves pages, once it has written where they are.
func serveAt(ctx context.Context, file string, pages interface {
	Addr() net.Addr
	Run(ctx context.Context) error
}) error {
	if file != "" {
		if err := writeWhole(file, pages.Addr().String()+"\n"); err != nil {
			return err
		}
	}
	return pages.Run(ctx)
}

// pair is a certificate and its key, read again when the certificate changes, so
// that a renewed one needs no restart.
type pair struct {
	certificate, key string

	mu   sync.Mutex // guards the fields below
	last *tls.Certificate
	of   time.Time // modification
}

// current keeps the last one while a new one can not be read: a renewal may be
// half way.
func (p *pair) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.certificate)
	if err == nil && (p.last == nil || !info.ModTime().Equal(p.of)) {
		var read tls.Certificate
		if read, err = tls.LoadX509KeyPair(p.certificate, p.key); err == nil {
			p.last, p.of = &read, info.ModTime()
		}
	}
	if p.last != nil {
		return p.last, nil
	}
	return nil, err
}
