package mllp

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is one MLLP feed: a Listener, or a Client that dials the sender.
type Config struct {
	Name    string      `yaml:"-"`       // of the feed
	Address string      `yaml:"address"` // to listen on, or to dial: host and port
	Policy  feed.Policy `yaml:"policy"`

	TLS   *feed.TLS      `yaml:"tls"`   // nil for plain TCP
	Allow feed.AllowList `yaml:"allow"` // who may connect; empty for anyone

	MaxConnections int `yaml:"max_connections"` // more are refused, and counted
	MaxFrame       int `yaml:"max_frame"`       // bytes in one message
	MaxLarge       int `yaml:"max_large"`       // messages over 1 MiB held at once; further ones wait

	Idle         time.Duration `yaml:"idle"`          // longest silence between frames; 0 for any
	FrameIdle    time.Duration `yaml:"frame_idle"`    // longest silence inside a frame
	FrameTimeout time.Duration `yaml:"frame_timeout"` // longest time one frame may take
	WriteTimeout time.Duration `yaml:"write_timeout"` // for one acknowledgement
	KeepAlive    time.Duration `yaml:"keep_alive"`    // silence before TCP asks whether the peer lives
	Drain        time.Duration `yaml:"drain"`         // for what is in hand at a stop

	// Release2 sends the commit blocks of MLLP release 2 before each
	// acknowledgement. They are understood, and not required, either way.
	Release2 bool `yaml:"release2"`

	RetryMin time.Duration `yaml:"retry_min"` // of mllp_client, before it dials again
	RetryMax time.Duration `yaml:"retry_max"` // and at most
}

// DefaultConfig returns a feed that lacks only its name and address.
func DefaultConfig() Config {
	return Config{
		MaxConnections: 256,
		MaxFrame:       32 << 20,
		MaxLarge:       8,
		Idle:           24 * time.Hour,
		FrameIdle:      30 * time.Second,
		FrameTimeout:   5 * time.Minute,
		WriteTimeout:   30 * time.Second,
		KeepAlive:      30 * time.Second,
		Drain:          5 * time.Second,
		RetryMin:       time.Second,
		RetryMax:       time.Minute,
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
	if err := c.Policy.Validate(); err != nil {
		return fmt.Errorf("policy: %w", err)
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
		{"max_frame", c.MaxFrame, 1 << 10},
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
		{"idle", c.Idle, true},
		{"frame_idle", c.FrameIdle, false},
		{"frame_timeout", c.FrameTimeout, false},
		{"write_timeout", c.WriteTimeout, false},
		{"keep_alive", c.KeepAlive, false},
		{"drain", c.Drain, true},
		{"retry_min", c.RetryMin, false},
		{"retry_max", c.RetryMax, false},
	} {
		if d.got < 0 || d.got == 0 && !d.zero {
			return fmt.Errorf("%s: %v, want more than 0", d.field, d.got)
		}
	}
	if c.RetryMax < c.RetryMin {
		return fmt.Errorf("retry_max: %v, want retry_min (%v) or more", c.RetryMax, c.RetryMin)
	}
	return nil
}

// validAddress wants the host to be said: who listens on every interface must
// mean it.
func validAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return fmt.Errorf("address: %q, want host and port such as 10.1.2.3:6661", address)
	}
	if host == "" {
		return fmt.Errorf("address: %q has no host, want one such as 10.1.2.3%s, or 0.0.0.0%s for every interface", address, address, address)
	}
	return nil
}

// endWait is how long a silence after FS ends a frame whose last CR is missing
// twice: behind its last segment and behind FS.
const endWait = 250 * time.Millisecond

// watchAfter is how long a message may wait before its sender is watched.
const watchAfter = time.Second

func (c Config) limits() limits {
	return limits{
		frame: c.MaxFrame, idle: c.Idle, frameIdle: c.FrameIdle, frameTimeout: c.FrameTimeout,
		endWait: endWait, watch: watchAfter, large: make(chan struct{}, c.MaxLarge),
	}
}

// keepAlive asks a silent peer after so long whether it lives, three times.
func keepAlive(d time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: d, Interval: max(d/3, time.Second), Count: 3}
}
