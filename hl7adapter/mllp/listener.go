package mllp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Listener is the feed that senders connect to.
type Listener struct {
	config   Config
	listener net.Listener
	tls      *tls.Config // nil for plain TCP
	counters feed.Counters
	log      *slog.Logger
	refusals feed.Occasional
	denials  feed.Occasional
	troubles feed.Occasional
}

// Listen binds the address. From then on senders can connect; they are served
// once Run is called.
func Listen(c Config, log *slog.Logger) (*Listener, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("listen mllp: %w", err)
	}
	l := &Listener{config: c, log: log.With("feed", c.Name)}
	if c.TLS != nil {
		var err error
		if l.tls, err = c.TLS.Listening(l.log); err != nil {
			return nil, fmt.Errorf("listen mllp: tls: %w", err)
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive(c.KeepAlive), Control: giveUpAfter(3 * c.KeepAlive)}
	var err error
	if l.listener, err = lc.Listen(context.Background(), "tcp", c.Address); err != nil {
		return nil, fmt.Errorf("listen mllp: %w", err)
	}
	return l, nil
}

// Addr tells the address, with the port that was chosen for port 0.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Stats tells what was counted so far.
func (l *Listener) Stats() feed.Stats { return l.counters.Snapshot() }

// Close lets go of the address, for who listens and does not come to Run.
func (l *Listener) Close() error { return l.listener.Close() }

// Run takes connections and serves them until ctx is done. Then it takes no
// more, gives the messages in hand the time to be accepted and acknowledged,
// and returns nil when the last connection is closed.
func (l *Listener) Run(ctx context.Context, accept feed.Accept) error {
	ctx, cancel := context.WithCancel(ctx)
	accept, undrain := feed.Drain(ctx, l.config.Drain, accept)
	defer undrain()

	intake := feed.NewIntake(l.config.Name, l.config.Policy, accept, &l.counters, l.log)
	limits := l.config.limits()
	places := make(chan struct{}, l.config.MaxConnections)
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	wg.Go(func() { // waited for: who takes the address over finds it free
		<-ctx.Done()
		l.listener.Close()
	})
	l.log.Info("listening", "address", l.Addr().String(), "tls", l.tls != nil)
	for {
		conn, err := l.accept(ctx)
		if err != nil {
			l.log.Info("stopped listening")
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("listen mllp: %w", err)
		}
		if !l.config.Allow.Allows(conn.RemoteAddr()) {
			l.counters.Denied()
			l.denials.Warn(l.log, "connection from outside the allow-list", "peer", conn.RemoteAddr().String())
			conn.Close()
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			l.counters.Refused()
			l.refusals.Warn(l.log, "connection refused, too many are open",
				"peer", conn.RemoteAddr().String(), "limit", l.config.MaxConnections)
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			l.serve(ctx, conn, intake, limits)
		})
	}
}

// accept returns the next connection. Want of descriptors or memory passes, so
// it is waited out.
func (l *Listener) accept(ctx context.Context) (net.Conn, error) {
	pause := feed.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		conn, err := l.listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return conn, err
		}
		l.troubles.Warn(l.log, "connection not taken", "err", err)
		if !pause.Wait(ctx) {
			return nil, ctx.Err()
		}
	}
}

func (l *Listener) serve(ctx context.Context, conn net.Conn, in *feed.Intake, limits limits) {
	peer := conn.RemoteAddr().String()
	l.counters.Opened()
	defer l.counters.Closed()
	if l.tls != nil {
		secured := tls.Server(conn, l.tls)
		if err := handshake(ctx, secured); err != nil {
			conn.Close()
			if errors.Is(err, io.EOF) {
				l.counters.Probe()
				return
			}
			l.counters.Denied()
			l.denials.Warn(l.log, "tls handshake failed", "peer", peer, "err", err)
			return
		}
		conn = secured
	}
	l.log.Debug("connection opened", "peer", peer)
	s := newSession(conn, &l.config, limits, in, &l.counters)
	err := s.run(ctx)
	if !s.reader.touched && ctx.Err() == nil {
		l.counters.Probe()
		return
	}
	if s.harmless(err) {
		l.log.Debug("connection closed", "peer", peer)
		return
	}
	l.troubles.Warn(l.log, "connection lost", "peer", peer, "err", err)
}

const handshakeTimeout = 10 * time.Second

func handshake(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return conn.HandshakeContext(ctx)
}
