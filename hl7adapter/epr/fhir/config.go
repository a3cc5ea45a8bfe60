package fhir

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is an EPR that takes FHIR R4 over HTTPS.
type Config struct {
	Base    string        `yaml:"base"`    // such as https://epr.example.nhs.uk/fhir/R4
	TLS     *feed.TLS     `yaml:"tls"`     // whom to trust, and our own certificate where the EPR wants one
	Token   *Token        `yaml:"token"`   // OAuth 2; nil for none
	Timeout time.Duration `yaml:"timeout"` // for one alert, with all its requests
	Shape   string        `yaml:"shape"`   // uk-core or england

	NHSSystem string `yaml:"nhs_number_system"`      // of Patient.identifier
	MRNSystem string `yaml:"hospital_number_system"` // empty: patients are not found by it
	ShowPlan  bool   `yaml:"show_plan"`              // say in the code's display which plan it is; by default lists stay neutral
	Security  string `yaml:"security"`               // meta.security, of v3-Confidentiality
}

// Token says how an access token is had: by a secret, or by a key (SMART backend
// services, private_key_jwt).
type Token struct {
	URL        string `yaml:"url"`         // of the token endpoint
	ClientID   string `yaml:"client_id"`   // as the EPR registered this agent
	Scope      string `yaml:"scope"`       // what is asked for
	SecretFile string `yaml:"secret_file"` // its first line
	KeyFile    string `yaml:"key_file"`    // PEM, RSA or EC P-384
	KeyID      string `yaml:"key_id"`      // kid, as registered
}

// The shapes of what is written.
const (
	UKCore  = "uk-core" // a Flag
	England = "england" // Flag, CarePlan and CareTeam, as in NHS England's patient flags
)

// DefaultConfig lacks the base.
func DefaultConfig() Config {
	return Config{Timeout: 30 * time.Second, Shape: UKCore, NHSSystem: "https://fhir.nhs.uk/Id/nhs-number", Security: "R"}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	if err := secure(c.Base); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	switch {
	case c.Timeout <= 0:
		return fmt.Errorf("timeout: %v, want more than 0", c.Timeout)
	case c.Shape != UKCore && c.Shape != England:
		return fmt.Errorf("shape: %q, want %s or %s", c.Shape, UKCore, England)
	case c.NHSSystem == "" && c.MRNSystem == "":
		return errors.New("nhs_number_system and hospital_number_system: both empty, want one to find the patient by")
	case !slices.Contains([]string{"", "N", "R", "V"}, c.Security):
		return fmt.Errorf("security: %q, want N, R, V or nothing (v3-Confidentiality)", c.Security)
	}
	if c.Token == nil {
		return nil
	}
	if err := secure(c.Token.URL); err != nil {
		return fmt.Errorf("token.url: %w", err)
	}
	switch t := c.Token; {
	case t.ClientID == "":
		return errors.New("token.client_id: empty, want the name by which the EPR knows us")
	case (t.SecretFile == "") == (t.KeyFile == ""):
		return errors.New("token.secret_file and token.key_file: want one of them")
	}
	return nil
}

// secure wants HTTPS; only this host itself may be reached without.
func secure(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("want an address such as https://epr.example.nhs.uk/fhir/R4")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost") {
		return nil
	}
	return errors.New("want https: patient data are in what is sent")
}
