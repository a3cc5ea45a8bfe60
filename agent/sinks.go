package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/fhir"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
)

// Sink is one EPR that takes alerts: whom it is for, what is sent, and how it is
// carried, by one of the carriers.
type Sink struct {
	Name             string               `yaml:"name"`             // of its own: in logs, counters and the journal
	Delivery         epr.GuardConfig      `yaml:"delivery"`         // for whom, and how fast
	Message          epr.MessageConfig    `yaml:"message"`          // of mllp, folder and mqtt
	Acknowledgements epr.Acknowledgements `yaml:"acknowledgements"` // of mllp, where the EPR's mean something else
	TestPatient      *TestPatient         `yaml:"test_patient"`     // for "epr test", and for nothing else

	MLLP   *mllp.SenderConfig `yaml:"mllp"`   // messages to an EPR or engine that listens
	Folder *epr.FolderConfig  `yaml:"folder"` // messages as files
	MQTT   *epr.MQTTConfig    `yaml:"mqtt"`   // messages to a broker
	FHIR   *fhir.Config       `yaml:"fhir"`   // a FHIR R4 server
}

// TestPatient is the EPR's own test patient.
type TestPatient struct {
	NHSNumber               string         `yaml:"nhs_number"`                // this or hospital_number is wanted
	HospitalNumber          string         `yaml:"hospital_number"`           // PID-3.1
	HospitalNumberAuthority string         `yaml:"hospital_number_authority"` // PID-3.4
	HospitalNumberType      string         `yaml:"hospital_number_type"`      // PID-3.5
	Family                  string         `yaml:"family"`                    // PID-5.1
	Given                   string         `yaml:"given"`                     // PID-5.2
	Born                    safeguard.Date `yaml:"born"`                      // PID-7, as 2015-01-01
	VisitNumber             string         `yaml:"visit_number"`              // PV1-19.1
	VisitNumberAuthority    string         `yaml:"visit_number_authority"`    // PV1-19.4
}

// UnmarshalYAML reads a sink over the defaults of its carrier.
func (s *Sink) UnmarshalYAML(unmarshal func(any) error) error {
	s.Delivery, s.Message = epr.DefaultGuardConfig(), epr.DefaultMessageConfig()
	if err := s.carriers().preset(unmarshal); err != nil {
		return err
	}
	type plain Sink
	return unmarshal((*plain)(s))
}

func (s *Sink) carriers() sections {
	return sections{
		sectionOf("mllp", &s.MLLP, mllp.DefaultSenderConfig),
		sectionOf("folder", &s.Folder, epr.DefaultFolderConfig),
		sectionOf("mqtt", &s.MQTT, epr.DefaultMQTTConfig),
		sectionOf("fhir", &s.FHIR, fhir.DefaultConfig),
	}
}

// tls is what the sink's connections are secured with; nil for nothing.
func (s Sink) tls() *feed.TLS {
	switch {
	case s.MLLP != nil:
		return s.MLLP.TLS
	case s.MQTT != nil:
		return s.MQTT.Broker.TLS
	case s.FHIR != nil:
		return s.FHIR.TLS
	}
	return nil
}

// beside makes the sink's paths relative to the configuration file's folder.
func (s *Sink) beside(file string) {
	beside(file, &s.Message.Template)
	if s.MLLP != nil && s.MLLP.TLS != nil {
		beside(file, &s.MLLP.TLS.Cert, &s.MLLP.TLS.Key, &s.MLLP.TLS.CA)
	}
	if s.Folder != nil {
		beside(file, &s.Folder.Folder)
	}
	if s.MQTT != nil {
		beside(file, &s.MQTT.Broker.PasswordFile)
		if tls := s.MQTT.Broker.TLS; tls != nil {
			beside(file, &tls.Cert, &tls.Key, &tls.CA)
		}
	}
	if s.FHIR != nil {
		if tls := s.FHIR.TLS; tls != nil {
			beside(file, &tls.Cert, &tls.Key, &tls.CA)
		}
		if token := s.FHIR.Token; token != nil {
			beside(file, &token.SecretFile, &token.KeyFile)
		}
	}
}

func (s Sink) validate(names map[string]bool) error {
	if s.Name == "" || names[s.Name] || journal.Reserved(s.Name) {
		return fmt.Errorf("name %q: want a name of its own, other than those of the agent's outboxes, such as %q", s.Name, journal.Lookups)
	}
	names[s.Name] = true
	if err := s.Delivery.Validate(); err != nil {
		return fmt.Errorf("delivery: %w", err)
	}
	if err := s.Message.Validate(); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if err := s.Acknowledgements.Validate(); err != nil {
		return err
	}
	if s.TestPatient != nil {
		if err := s.TestPatient.validate(); err != nil {
			return fmt.Errorf("test_patient: %w", err)
		}
	}
	return s.carriers().validate()
}

// validate wants somebody whom the EPR can find. No error repeats who.
func (p TestPatient) validate() error {
	if p.NHSNumber == "" && p.HospitalNumber == "" {
		return errors.New("want nhs_number, hospital_number or both, of a patient that the EPR keeps for tests")
	}
	if p.NHSNumber != "" {
		if _, err := safeguard.ParseNHSNumber(p.NHSNumber); err != nil {
			return fmt.Errorf("nhs_number: %w", err)
		}
	}
	return nil
}

// Sinks are the open sinks of a configuration, in its order.
type Sinks []*epr.Guard

// CheckMessages tries what each sink would send, with a template where it has one.
func (c Config) CheckMessages() error {
	zone, err := c.Zone()
	if err != nil {
		return err
	}
	for _, s := range c.Sinks {
		if s.FHIR != nil {
			continue // which has a form of its own
		}
		if _, err := s.format(c.Wording, zone); err != nil {
			return fmt.Errorf("sink %s: %w", s.Name, err)
		}
	}
	return nil
}

// OpenSinks makes every sink, or none. None connects before it has something to
// send.
func (c Config) OpenSinks(log *slog.Logger) (Sinks, error) {
	zone, err := c.Zone()
	if err != nil {
		return nil, err
	}
	var sinks Sinks
	for _, s := range c.Sinks {
		guard, err := c.openSink(s, zone, log)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sink %s: %w", s.Name, err), sinks.Close())
		}
		sinks = append(sinks, guard)
	}
	return sinks, nil
}

// openSink makes one sink. Where the site observes, so does it.
func (c Config) openSink(s Sink, zone *time.Location, log *slog.Logger) (*epr.Guard, error) {
	s.Delivery.SiteObserves = c.Observe.Enabled
	sink, err := s.carrier(c.Wording, zone)
	if err != nil {
		return nil, err
	}
	return epr.NewGuard(sink, s.Delivery, log)
}

func (s Sink) carrier(w epr.Wording, zone *time.Location) (epr.Sink, error) {
	if s.FHIR != nil {
		return fhir.New(s.Name, *s.FHIR, w, zone)
	}
	format, err := s.format(w, zone)
	if err != nil {
		return nil, err
	}
	switch {
	case s.MLLP != nil:
		return epr.NewMLLP(format, *s.MLLP, s.Acknowledgements)
	case s.MQTT != nil:
		return epr.NewMQTT(format, *s.MQTT)
	}
	return epr.NewFolder(format, *s.Folder)
}

func (s Sink) format(w epr.Wording, zone *time.Location) (*epr.Format, error) {
	f, err := epr.NewFormat(s.Name, s.Message, w, zone)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	return f, nil
}

// Named finds a sink.
func (s Sinks) Named(name string) (*epr.Guard, error) {
	var names []string
	for _, g := range s {
		if g.Name() == name {
			return g, nil
		}
		names = append(names, g.Name())
	}
	return nil, fmt.Errorf("sink %q: want one of %s", name, strings.Join(names, ", "))
}

// Close closes all.
func (s Sinks) Close() error {
	var err error
	for _, g := range s {
		err = errors.Join(err, g.Close())
	}
	return err
}
