package mqtt

import (
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

func TestValidate(t *testing.T) {
	if err := testConfig("127.0.0.1:1883").Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		spoil      func(*Config)
	}{
		{"no name", "name: empty", func(c *Config) { c.Name = "" }},
		{"no address", `broker: address: "", want host and port`, func(c *Config) { c.Broker.Address = "" }},
		{"a URL", `broker: address: "tcp://mq:1883"`, func(c *Config) { c.Broker.Address = "tcp://mq:1883" }},
		{"no client id", "broker: client_id", func(c *Config) { c.Broker.ClientID = "" }},
		{"a user alone", "user and password_file", func(c *Config) { c.Broker.User = "feed" }},
		{"half a certificate", "broker: tls: cert and key", func(c *Config) { c.Broker.TLS = &feed.TLS{Cert: "a"} }},
		{"half a second", "broker: keep_alive: 1.5s", func(c *Config) { c.Broker.KeepAlive = 1500 * time.Millisecond }},
		{"no write timeout", "broker: write_timeout: 0s", func(c *Config) { c.Broker.WriteTimeout = 0 }},
		{"pauses that shrink", "broker: retry_max", func(c *Config) { c.Broker.RetryMin, c.Broker.RetryMax = 2, 1 }},
		{"no topics", "topics: empty", func(c *Config) { c.Topics = nil }},
		{"an empty topic", "topics: \"\": empty", func(c *Config) { c.Topics = []string{""} }},
		{"a shared subscription", "begins with $", func(c *Config) { c.Topics = []string{"$share/a/adt"} }},
		{"two sites", "two sites", func(c *Config) { c.Topics = []string{"{site}/{site}"} }},
		{"a wildcard in a level", "a wildcard is not a level", func(c *Config) { c.Topics = []string{"adt+/x"} }},
		{"a site in a level", "a wildcard is not a level", func(c *Config) { c.Topics = []string{"adt-{site}"} }},
		{"# in the middle", "# is not at the end", func(c *Config) { c.Topics = []string{"adt/#/x"} }},
		{"topics that overlap", "overlap", func(c *Config) { c.Topics = []string{"adt/+", "adt/RZZ01"} }},
		{"a topic and below it", "overlap", func(c *Config) { c.Topics = []string{"adt", "adt/#"} }},
		{"a reply that we hear", "is among topics", func(c *Config) { c.Reply = "adt/ack" }},
		{"a reply to many", "a wildcard", func(c *Config) { c.Reply = "ack/#" }},
		{"a site in the reply only", "want it in each of topics", func(c *Config) { c.Topics, c.Reply = []string{"adt"}, "ack/{site}" }},
		{"nack that nobody hears", "want a topic on which the sender hears AE", func(c *Config) { c.Policy.Hold = feed.Nack }},
		{"tiny messages", "max_message: 10", func(c *Config) { c.MaxMessage = 10 }},
		{"more than MQTT carries", "the most that MQTT carries", func(c *Config) { c.MaxMessage = 1 << 28 }},
		{"nothing ahead", "ahead: 0", func(c *Config) { c.Ahead = 0 }},
		{"a bad policy", "policy: other", func(c *Config) { c.Policy.Other = "shred" }},
		{"time before now", "drain: -1s", func(c *Config) { c.Drain = -time.Second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig("127.0.0.1:1883")
			c.spoil(&config)
			err := config.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
			if _, err := New(config, quiet); err == nil {
				t.Error("taken all the same")
			}
		})
	}
}

func TestSiteOfATopic(t *testing.T) {
	for _, c := range []struct {
		filter, topic, site string
		matches             bool
	}{
		{"adt/{site}/#", "adt/RZZ01/a04", "RZZ01", true},
		{"adt/{site}/#", "adt/RZZ01", "RZZ01", true},
		{"adt/{site}/#", "adt/RZZ01/a/b/c", "RZZ01", true},
		{"adt/{site}/#", "adt", "", false},
		{"adt/{site}/#", "oru/RZZ01", "", false},
		{"{site}/+/adt", "RZZ01/pas/adt", "RZZ01", true},
		{"{site}/+/adt", "RZZ01/adt", "", false},
		{"adt/{site}", "adt/robin marlowe", "", true}, // no code, and never passed on
		{"adt/{site}", "adt/", "", true},
		{"adt/{site}", "adt/RZ", "", true},
		{"adt/{site}", "adt/RZZ01RZZ01RZZ", "", true},
		{"adt/+", "adt/RZZ01", "", true},
		{"adt", "adt", "", true},
		{"#", "adt/RZZ01", "", true},
	} {
		f, err := parseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if site, ok := f.match(c.topic); site != c.site || ok != c.matches {
			t.Errorf("%s of %s: got %q, %v, want %q, %v", c.topic, c.filter, site, ok, c.site, c.matches)
		}
	}
}
