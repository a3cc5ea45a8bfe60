package cdshooks

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is the service that an EPR asks when a record is opened.
type Config struct {
	Address   string        `yaml:"address"`           // to listen on: host and port
	TLS       *feed.TLS     `yaml:"tls"`               // only this host itself may come without
	PublicURL string        `yaml:"public_url"`        // under which EPRs know us, without /cds-services: what their tokens are for
	Clients   []Client      `yaml:"clients"`           // who may ask
	NHSSystem string        `yaml:"nhs_number_system"` // of Patient.identifier
	Timeout   time.Duration `yaml:"timeout"`           // for one request

	Delivery epr.Release `yaml:"delivery"` // what is shown, and about whom
}

// Client is an EPR that may ask.
type Client struct {
	Issuer   string `yaml:"issuer"`    // iss of its tokens
	KeysFile string `yaml:"keys_file"` // its JSON Web Key Set
}

// DefaultConfig lacks address, public URL and clients.
func DefaultConfig() Config {
	return Config{NHSSystem: "https://fhir.nhs.uk/Id/nhs-number", Timeout: 5 * time.Second}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address: %q, want host and port such as 10.1.2.3:8443", c.Address)
	}
	if c.TLS == nil {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return errors.New("tls: absent, want a certificate: what is asked and answered is about patients")
		}
	} else if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("public_url: %q, want the address by which EPRs call, such as https://safeguard.rx1.nhs.uk:8443", c.PublicURL)
	case len(c.Clients) == 0:
		return errors.New("clients: empty, want at least one EPR that may ask")
	case c.NHSSystem == "":
		return errors.New("nhs_number_system: empty, want the system of NHS numbers in Patient.identifier")
	case c.Timeout <= 0:
		return fmt.Errorf("timeout: %v, want more than 0", c.Timeout)
	}
	seen := map[string]bool{}
	for i, k := range c.Clients {
		if k.Issuer == "" || seen[k.Issuer] || k.KeysFile == "" {
			return fmt.Errorf("clients[%d]: want an issuer of its own and a keys_file", i)
		}
		seen[k.Issuer] = true
	}
	return nil
}
