package mqtt

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is one MQTT feed.
type Config struct {
	Name   string      `yaml:"-"` // of the feed
	Broker Broker      `yaml:"broker"`
	Policy feed.Policy `yaml:"policy"`

	// Topics are the filters to subscribe to. One level of each may be
	// {site}: what stands there in a message's topic is its site's ODS code.
	Topics []string `yaml:"topics"`
	// Reply is the topic to which acknowledgements are published; none where
	// empty. It may have {site}, where every one of Topics has it.
	Reply string `yaml:"reply"`

	MaxMessage int           `yaml:"max_message"` // bytes in one message
	Ahead      int           `yaml:"ahead"`       // messages taken from the broker and not yet kept
	AheadBytes int           `yaml:"ahead_bytes"` // bytes in them
	Drain      time.Duration `yaml:"drain"`       // for what is in hand at a stop
}

// Broker is how a broker is reached.
type Broker struct {
	Address string `yaml:"address"` // host and port
	// ClientID names the session that the broker keeps for us. No other
	// client may use it, nor it and -reply, which is that of the connection for
	// replies: the two would push each other out for ever.
	ClientID     string    `yaml:"client_id"`
	TLS          *feed.TLS `yaml:"tls"`           // nil for plain TCP
	User         string    `yaml:"user"`          // with a password file
	PasswordFile string    `yaml:"password_file"` // its first line; read again at each connection

	KeepAlive      time.Duration `yaml:"keep_alive"`      // silence before the broker is asked whether it is there; whole seconds
	ConnectTimeout time.Duration `yaml:"connect_timeout"` // for dialling, handshake and the broker's welcome
	WriteTimeout   time.Duration `yaml:"write_timeout"`   // for anything we send, and the broker's word on it
	RetryMin       time.Duration `yaml:"retry_min"`       // before connecting again
	RetryMax       time.Duration `yaml:"retry_max"`       // and at most
}

// DefaultConfig returns a feed that lacks its name, broker and topics.
func DefaultConfig() Config {
	return Config{
		Broker:     DefaultBroker(),
		MaxMessage: 32 << 20,
		Ahead:      64,
		AheadBytes: 64 << 20,
		Drain:      5 * time.Second,
	}
}

// DefaultBroker returns a broker that lacks its address and our client id.
func DefaultBroker() Broker {
	return Broker{
		KeepAlive:      30 * time.Second,
		ConnectTimeout: 10 * time.Second,
		WriteTimeout:   10 * time.Second,
		RetryMin:       time.Second,
		RetryMax:       time.Minute,
	}
}

// Validate names the first setting that is wrong.
func (c Config) Validate() error {
	if c.Name == "" {
		return errors.New("name: empty, want the name of the feed")
	}
	if err := c.Broker.Validate(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if err := c.Policy.Validate(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if c.Policy.Hold == feed.Nack && c.Reply == "" {
		return fmt.Errorf("policy: hold: %q without reply, want a topic on which the sender hears AE, or %q", feed.Nack, feed.Wait)
	}
	if err := c.validateTopics(); err != nil {
		return err
	}
	for _, n := range []struct {
		field    string
		got, low int
	}{
		{"max_message", c.MaxMessage, 1 << 10},
		{"ahead", c.Ahead, 1},
		{"ahead_bytes", c.AheadBytes, 1 << 10},
	} {
		if n.got < n.low {
			return fmt.Errorf("%s: %d, want %d or more", n.field, n.got, n.low)
		}
	}
	if c.MaxMessage > longestPacket-longestHead {
		return fmt.Errorf("max_message: %d, want %d or less, the most that MQTT carries", c.MaxMessage, longestPacket-longestHead)
	}
	if c.Drain < 0 {
		return fmt.Errorf("drain: %v, want 0 or more", c.Drain)
	}
	return nil
}

func (c Config) validateTopics() error {
	if len(c.Topics) == 0 {
		return errors.New("topics: empty, want at least one such as adt/{site}/#")
	}
	named := true
	for i, t := range c.Topics {
		f, err := parseFilter(t)
		if err != nil {
			return fmt.Errorf("topics: %q: %w", t, err)
		}
		named = named && f.site >= 0
		for _, before := range c.Topics[:i] {
			if b, _ := parseFilter(before); overlap(b.levels, f.levels) {
				return fmt.Errorf("topics: %q and %q overlap, want each message to come once", before, t)
			}
		}
	}
	if c.Reply == "" {
		return nil
	}
	r, err := parseFilter(c.Reply)
	if err == nil && strings.ContainsAny(c.Reply, "+#") {
		err = errors.New("a wildcard, want a topic to publish to")
	}
	if err == nil && r.site >= 0 && !named {
		err = fmt.Errorf("has %s, want it in each of topics too", siteLevel)
	}
	if err != nil {
		return fmt.Errorf("reply: %q: %w", c.Reply, err)
	}
	for _, t := range c.Topics {
		if f, _ := parseFilter(t); overlap(f.levels, r.levels) {
			return fmt.Errorf("reply: %q is among topics (%q), want one that we do not hear ourselves", c.Reply, t)
		}
	}
	return nil
}

// Validate names the first setting that is wrong.
func (b Broker) Validate() error {
	host, port, err := net.SplitHostPort(b.Address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address: %q, want host and port such as broker.example.nhs.uk:8883", b.Address)
	}
	if b.ClientID == "" || len(b.ClientID) > 200 || strings.ContainsAny(b.ClientID, "\x00/+#") {
		return fmt.Errorf("client_id: %q, want a name that no other client of the broker has, such as safeguard-rx1-pas", b.ClientID)
	}
	if b.TLS != nil {
		if err := b.TLS.Validate(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if (b.User == "") != (b.PasswordFile == "") {
		return errors.New("user and password_file: one is empty, want both or none")
	}
	for _, d := range []struct {
		field string
		got   time.Duration
	}{
		{"connect_timeout", b.ConnectTimeout},
		{"write_timeout", b.WriteTimeout},
		{"retry_min", b.RetryMin},
		{"retry_max", b.RetryMax},
	} {
		if d.got <= 0 {
			return fmt.Errorf("%s: %v, want more than 0", d.field, d.got)
		}
	}
	if b.KeepAlive < time.Second || b.KeepAlive > 18*time.Hour || b.KeepAlive%time.Second != 0 {
		return fmt.Errorf("keep_alive: %v, want whole seconds, from 1s to 18h", b.KeepAlive)
	}
	if b.RetryMax < b.RetryMin {
		return fmt.Errorf("retry_max: %v, want retry_min (%v) or more", b.RetryMax, b.RetryMin)
	}
	return nil
}

// password reads the file anew, so that a change needs no restart.
func (b Broker) password() (string, error) {
	if b.PasswordFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(b.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read password: nothing in the first line of %s", b.PasswordFile)
	}
	return line, nil
}
