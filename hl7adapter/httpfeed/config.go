// Package httpfeed takes HL7 v2 over HTTP: each POST carries one message, and
// the reply carries its acknowledgement.
//
// # What the sender sees
//
//	200  the acknowledgement, whatever it says; nothing where MSH-15 and MSH-16 ask for none
//	400  no message in the request, or only a part of one
//	403  the request comes from a page in a browser
//	404  no feed at this path
//	405  not a POST
//	408  the message did not arrive in time
//	413  the message is longer than the feed takes
//	415  not a content type of HL7 v2, or a compressed body
//	503  not kept: send it again after Retry-After
//
// Only a 200 says that the feed has done with the message. Other replies than
// acknowledgements are text for a person, and hold nothing of the request.
package httpfeed

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is one HTTP feed.
type Config struct {
	Name    string      `yaml:"-"`       // of the feed
	Address string      `yaml:"address"` // to listen on: host and port
	Path    string      `yaml:"path"`    // where messages are posted
	Policy  feed.Policy `yaml:"policy"`

	TLS   *feed.TLS      `yaml:"tls"`   // nil for plain HTTP
	Allow feed.AllowList `yaml:"allow"` // who may connect; empty for anyone

	MaxConnections int `yaml:"max_connections"` // more are refused, and counted
	MaxMessage     int `yaml:"max_message"`     // bytes in one message
	MaxLarge       int `yaml:"max_large"`       // messages over 1 MiB held at once; further ones wait

	Idle          time.Duration `yaml:"idle"`           // longest silence between requests
	HeaderTimeout time.Duration `yaml:"header_timeout"` // for the handshake, and for the head of a request
	BodyIdle      time.Duration `yaml:"body_idle"`      // longest silence inside a message
	BodyTimeout   time.Duration `yaml:"body_timeout"`   // longest time one message may take
	WriteTimeout  time.Duration `yaml:"write_timeout"`  // for one reply
	KeepAlive     time.Duration `yaml:"keep_alive"`     // silence before TCP asks whether the peer lives
	HoldTimeout   time.Duration `yaml:"hold_timeout"`   // how long a request waits while intake is on hold
	RetryAfter    time.Duration `yaml:"retry_after"`    // what a 503 tells the sender
	Drain         time.Duration `yaml:"drain"`          // for what is in hand at a stop
}

// DefaultConfig returns a feed that lacks only its name and address.
func DefaultConfig() Config {
	return Config{
		Path:           "/",
		MaxConnections: 256,
		MaxMessage:     32 << 20,
		MaxLarge:       8,
		Idle:           5 * time.Minute,
		HeaderTimeout:  10 * time.Second,
		BodyIdle:       30 * time.Second,
		BodyTimeout:    5 * time.Minute,
		WriteTimeout:   30 * time.Second,
		KeepAlive:      30 * time.Second,
		HoldTimeout:    20 * time.Second, // less than clients wait for a reply
		RetryAfter:     5 * time.Second,
		Drain:          5 * time.Second,
	}
}

// Validate names the first setting that is wrong.
func (c Config) Validate() error {
	if c.Name == "" {
		return errors.New("name: empty, want the name of the feed")
	}
	if err := validAddress(c.Address); err != nil {
		return err
	}
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, "?# ") {
		return fmt.Errorf("path: %q, want one such as /adt", c.Path)
	}
	if err := c.Policy.Validate(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if c.Policy.Acknowledge == feed.TwoPhase {
		return fmt.Errorf("policy: acknowledge: %q, want %q or %q, since a request has one reply", feed.TwoPhase, feed.AsAsked, feed.Original)
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if err := c.Allow.Validate(); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	for _, n := range []struct {
		field    string
		got, low int
	}{
		{"max_connections", c.MaxConnections, 1},
		{"max_message", c.MaxMessage, 1 << 10},
		{"max_large", c.MaxLarge, 1},
	} {
		if n.got < n.low {
			return fmt.Errorf("%s: %d, want %d or more", n.field, n.got, n.low)
		}
	}
	for _, d := range []struct {
		field string
		got   time.Duration
		zero  bool
	}{
		{"idle", c.Idle, false},
		{"header_timeout", c.HeaderTimeout, false},
		{"body_idle", c.BodyIdle, false},
		{"body_timeout", c.BodyTimeout, false},
		{"write_timeout", c.WriteTimeout, false},
		{"keep_alive", c.KeepAlive, false},
		{"hold_timeout", c.HoldTimeout, false},
		{"retry_after", c.RetryAfter, false},
		{"drain", c.Drain, true},
	} {
		if d.got < 0 || d.got == 0 && !d.zero {
			return fmt.Errorf("%s: %v, want more than 0", d.field, d.got)
		}
	}
	return nil
}

// validAddress wants the host to be said: who listens on every interface must
// mean it.
func validAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return fmt.Errorf("address: %q, want host and port such as 10.1.2.3:8443", address)
	}
	if host == "" {
		return fmt.Errorf("address: %q has no host, want one such as 10.1.2.3%s, or 0.0.0.0%s for every interface", address, address, address)
	}
	return nil
}

// shares says whether two feeds may be reached at one address: they agree on
// all that is the address's.
func (c Config) shares(with Config) error {
	if c.Name == with.Name {
		return fmt.Errorf("name: %q twice, want a name for each feed", c.Name)
	}
	if c.Path == with.Path {
		return fmt.Errorf("path: %q twice, want a path for each feed of an address", c.Path)
	}
	a, b := c.ofAddress(), with.ofAddress()
	for i := range reflect.TypeFor[Config]().NumField() {
		if !reflect.DeepEqual(reflect.ValueOf(a).Field(i).Interface(), reflect.ValueOf(b).Field(i).Interface()) {
			return fmt.Errorf("%s: differs from that of feed %q, want the same for all feeds of an address",
				reflect.TypeFor[Config]().Field(i).Tag.Get("yaml"), c.Name)
		}
	}
	return nil
}

// ofAddress leaves out what may differ between the feeds of an address.
func (c Config) ofAddress() Config {
	c.Name, c.Path, c.Policy = "", "", feed.Policy{}
	c.MaxMessage, c.MaxLarge, c.BodyIdle, c.BodyTimeout, c.HoldTimeout, c.RetryAfter = 0, 0, 0, 0, 0, 0
	return c
}

func (c Config) keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: c.KeepAlive, Interval: max(c.KeepAlive/3, time.Second), Count: 3}
}
