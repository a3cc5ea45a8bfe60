package mllp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Client is the feed for senders that wait to be called: it dials, and from
// then on takes messages as a Listener does.
type Client struct {
	config   Config
	counters feed.Counters
	log      *slog.Logger
}

// NewClient returns a feed that dials the address when it runs.
func NewClient(c Config, log *slog.Logger) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mllp client: %w", err)
	}
	return &Client{config: c, log: log.With("feed", c.Name)}, nil
}

// Stats tells what was counted so far.
func (c *Client) Stats() feed.Stats { return c.counters.Snapshot() }

// Run keeps a connection to the sender until ctx is done. It dials again after
// a pause that grows while the sender can not be reached, up to a limit and
// with jitter, so that many agents do not call at once.
func (c *Client) Run(ctx context.Context, accept feed.Accept) error {
	accept, undrain := feed.Drain(ctx, c.config.Drain, accept)
	defer undrain()
	intake := feed.NewIntake(c.config.Name, c.config.Policy, accept, &c.counters, c.log)
	limits := c.config.limits()
	pause, down := feed.Backoff{Min: c.config.RetryMin, Max: c.config.RetryMax}, false
	for ctx.Err() == nil {
		conn, err := dial(ctx, c.config.Address, c.config.TLS, c.config.KeepAlive)
		if err == nil {
			c.log.Info("connected", "peer", c.config.Address)
			down = false
			var worked bool
			if worked, err = c.serve(ctx, conn, intake, limits); worked {
				pause.Reset()
			}
		}
		if ctx.Err() != nil {
			break
		}
		if !down {
			c.log.Warn("not connected, dialling again", "peer", c.config.Address, "err", err)
			down = true
		}
		pause.Wait(ctx)
	}
	return nil
}

// serve is true when at least something came over the connection.
func (c *Client) serve(ctx context.Context, conn net.Conn, in *feed.Intake, limits limits) (bool, error) {
	c.counters.Opened()
	defer c.counters.Closed()
	s := newSession(conn, &c.config, limits, in, &c.counters)
	err := s.run(ctx)
	if err == nil {
		err = errors.New("stopped")
	}
	return s.reader.touched, err
}

const dialTimeout = 10 * time.Second

// dial connects, and shakes hands where files for TLS are given.
func dial(ctx context.Context, address string, files *feed.TLS, silence time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: keepAlive(silence), Control: giveUpAfter(3 * silence)}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil || files == nil {
		return conn, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		conn.Close()
		return nil, err
	}
	config, err := files.Dialling(host)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secured := tls.Client(conn, config)
	if err := handshake(ctx, secured); err != nil {
		conn.Close()
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	return secured, nil
}
