package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/dropfolder"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/httpfeed"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
	"github.com/safeguard-edge/safeguard/hl7adapter/mqtt"
)

// Feed is one of the hospital's feeds: how its messages come, by one of the
// transports, and how they are understood.
type Feed struct {
	Name        string                `yaml:"name"`         // of its own: in logs, counters and the journal
	Site        safeguard.ODSCode     `yaml:"site"`         // where PV1-3.4 names no other
	CareSetting safeguard.CareSetting `yaml:"care_setting"` // where neither rule nor location says another
	ADT         adt.Config            `yaml:"adt"`          // how its messages are understood: docs/hl7/rules.md

	MLLP       *mllp.Config       `yaml:"mllp"`        // senders connect to the agent
	MLLPClient *mllp.Config       `yaml:"mllp_client"` // the agent connects to the sender
	HTTP       *httpfeed.Config   `yaml:"http"`        // senders post to the agent
	Folder     *dropfolder.Config `yaml:"folder"`      // senders drop files
	MQTT       *mqtt.Config       `yaml:"mqtt"`        // senders publish to a broker
}

// transport is a feed that is ready to run.
type transport interface {
	Run(ctx context.Context, accept feed.Accept) error
	Stats() feed.Stats
}

// UnmarshalYAML reads a feed over the defaults of its transport and messages.
func (f *Feed) UnmarshalYAML(unmarshal func(any) error) error {
	f.ADT = adt.DefaultConfig()
	if err := f.transports().preset(unmarshal); err != nil {
		return err
	}
	type plain Feed
	err := unmarshal((*plain)(f))
	f.each(func(name *string, _ *feed.TLS) { *name = f.Name })
	return err
}

func (f *Feed) transports() sections {
	return sections{
		sectionOf("mllp", &f.MLLP, mllp.DefaultConfig),
		sectionOf("mllp_client", &f.MLLPClient, mllp.DefaultConfig),
		sectionOf("http", &f.HTTP, httpfeed.DefaultConfig),
		sectionOf("folder", &f.Folder, dropfolder.DefaultConfig),
		sectionOf("mqtt", &f.MQTT, mqtt.DefaultConfig),
	}
}

// each visits the sections that are there.
func (f *Feed) each(visit func(name *string, tls *feed.TLS)) {
	if f.MLLP != nil {
		visit(&f.MLLP.Name, f.MLLP.TLS)
	}
	if f.MLLPClient != nil {
		visit(&f.MLLPClient.Name, f.MLLPClient.TLS)
	}
	if f.HTTP != nil {
		visit(&f.HTTP.Name, f.HTTP.TLS)
	}
	if f.Folder != nil {
		visit(&f.Folder.Name, nil)
	}
	if f.MQTT != nil {
		visit(&f.MQTT.Name, f.MQTT.Broker.TLS)
	}
}

// tls is what the feed's connections are secured with; nil for nothing.
func (f Feed) tls() (found *feed.TLS) {
	f.each(func(_ *string, tls *feed.TLS) { found = tls })
	return found
}

// beside makes the feed's paths relative to the configuration file's folder, and
// gives a dropped folder its memory in the data folder.
func (f *Feed) beside(file, data string) {
	f.each(func(_ *string, tls *feed.TLS) {
		if tls != nil {
			beside(file, &tls.Cert, &tls.Key, &tls.CA)
		}
	})
	if f.Folder != nil {
		beside(file, &f.Folder.Folder)
		if f.Folder.Progress == "" {
			f.Folder.Progress = filepath.Join(data, "feeds", f.Name)
		}
	}
	if f.MQTT != nil {
		beside(file, &f.MQTT.Broker.PasswordFile)
	}
}

func (f Feed) validate(c Config, names map[string]bool) error {
	switch {
	case f.Name == "" || names[f.Name] || strings.ContainsAny(f.Name, `/\`):
		return fmt.Errorf("name %q: want a name of its own", f.Name)
	case !slices.Contains(c.Sites, f.Site):
		return fmt.Errorf("site %q: want one of sites", f.Site)
	case f.CareSetting == safeguard.UnknownSetting:
		return errors.New("care_setting: want the type of care given where neither rule nor location says another")
	}
	names[f.Name] = true
	if err := f.ADT.Validate(); err != nil {
		return fmt.Errorf("adt: %w", err)
	}
	if err := f.transports().validate(); err != nil {
		return err
	}
	return c.ownSession(f)
}

// ownSession refuses two feeds that would push each other out of their broker.
func (c Config) ownSession(f Feed) error {
	if f.MQTT == nil {
		return nil
	}
	own := f.MQTT.Broker
	for _, other := range c.Feeds {
		if other.MQTT != nil && other.Name != f.Name && other.MQTT.Broker.Address == own.Address && other.MQTT.Broker.ClientID == own.ClientID {
			return fmt.Errorf("mqtt: broker: client_id: %q is that of feed %s too, want one for each", own.ClientID, other.Name)
		}
	}
	return nil
}

// open binds the feed's address or folder.
func (f Feed) open(log *slog.Logger) (transport, error) {
	t, err := f.bind(log)
	if err != nil {
		return nil, fmt.Errorf("feed %s: %w", f.Name, err) // and no transport that is a nil of its type
	}
	return t, nil
}

func (f Feed) bind(log *slog.Logger) (transport, error) {
	switch {
	case f.MLLP != nil:
		return mllp.Listen(*f.MLLP, log)
	case f.MLLPClient != nil:
		return mllp.NewClient(*f.MLLPClient, log)
	case f.HTTP != nil:
		return httpfeed.Listen(*f.HTTP, log)
	case f.MQTT != nil:
		return mqtt.New(*f.MQTT, log)
	}
	return dropfolder.New(*f.Folder, log)
}

// site is what the feed says about its messages.
func (f Feed) site(c Config, zone *time.Location) adt.Site {
	return adt.Site{
		Organisation: c.Organisation,
		Default:      f.Site,
		Sites:        c.Sites,
		Setting:      f.CareSetting,
		Production:   c.ProductionChecks,
		Zone:         zone,
		Config:       f.ADT,
	}
}

// Understanding is how the messages of one feed are read.
type Understanding struct {
	Parser     adt.Parser
	Charset    string // instead of MSH-18; empty for none
	Processing string // instead of MSH-11; empty for none
}

// Understood is how the agent reads the messages of the named feed, so that
// others can read them as it does. The name may be empty where there is one feed.
func (c Config) Understood(name string) (Understanding, error) {
	var names []string
	for _, f := range c.Feeds {
		names = append(names, f.Name)
		if f.Name != name && (name != "" || len(c.Feeds) > 1) {
			continue
		}
		zone, err := c.Zone()
		if err != nil {
			return Understanding{}, err
		}
		policy := f.policy()
		return Understanding{adt.Parser{Site: f.site(c, zone)}, policy.Charset, policy.Processing}, nil
	}
	return Understanding{}, fmt.Errorf("feed %q: want one of %s", name, strings.Join(names, ", "))
}

// policy is that of the feed's transport.
func (f Feed) policy() feed.Policy {
	switch {
	case f.MLLP != nil:
		return f.MLLP.Policy
	case f.MLLPClient != nil:
		return f.MLLPClient.Policy
	case f.HTTP != nil:
		return f.HTTP.Policy
	case f.Folder != nil:
		return f.Folder.Policy
	case f.MQTT != nil:
		return f.MQTT.Policy
	}
	return feed.Policy{}
}
