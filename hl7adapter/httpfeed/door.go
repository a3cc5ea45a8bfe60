package httpfeed

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// door takes the connections that may come in, and counts them all.
type door struct {
	net.Listener
	config   Config
	secured  *tls.Config // nil for plain HTTP
	counters feed.Counters
	log      *slog.Logger
	places   chan struct{}
	ctx      context.Context // ends when the door is closed
	close    context.CancelFunc

	refusals, denials, troubles feed.Occasional

	mu     sync.Mutex         // guards the field below
	unused map[*conn]struct{} // connections on which no request came yet
}

func newDoor(ln net.Listener, c Config, secured *tls.Config, log *slog.Logger) *door {
	d := &door{Listener: ln, config: c, secured: secured, log: log}
	d.places = make(chan struct{}, c.MaxConnections)
	d.unused = make(map[*conn]struct{})
	d.ctx, d.close = context.WithCancel(context.Background())
	return d
}

// Close lets go of the address.
func (d *door) Close() error {
	d.close()
	return d.Listener.Close()
}

// Accept returns the next connection that may come in.
func (d *door) Accept() (net.Conn, error) {
	for {
		raw, err := d.next()
		if err != nil {
			return nil, err
		}
		peer := raw.RemoteAddr()
		if !d.config.Allow.Allows(peer) {
			d.counters.Denied()
			d.denials.Warn(d.log, "connection from outside the allow-list", "peer", peer.String())
			raw.Close()
			continue
		}
		select {
		case d.places <- struct{}{}:
		default:
			d.counters.Refused()
			d.refusals.Warn(d.log, "connection refused, too many are open", "peer", peer.String(), "limit", d.config.MaxConnections)
			raw.Close()
			continue
		}
		d.counters.Opened()
		c := &conn{Conn: raw, timeout: d.config.WriteTimeout, release: sync.OnceFunc(func() {
			d.counters.Closed()
			<-d.places
		})}
		if d.secured != nil {
			return tls.Server(c, d.secured), nil
		}
		return c, nil
	}
}

// next waits out want of descriptors or memory.
func (d *door) next() (net.Conn, error) {
	pause := feed.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		raw, err := d.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return raw, err
		}
		d.troubles.Warn(d.log, "connection not taken", "err", err)
		if !pause.Wait(d.ctx) {
			return nil, net.ErrClosed
		}
	}
}

// state is told what becomes of each connection.
func (d *door) state(nc net.Conn, s http.ConnState) {
	c := under(nc)
	d.mu.Lock()
	defer d.mu.Unlock()
	if s != http.StateNew {
		delete(d.unused, c)
	} else if d.ctx.Err() != nil {
		c.Close()
	} else {
		d.unused[c] = struct{}{}
	}
	if s == http.StateClosed && d.ctx.Err() == nil {
		d.judge(nc, c)
	}
}

// judge counts a connection that carried no request.
func (d *door) judge(nc net.Conn, c *conn) {
	secured, _ := nc.(*tls.Conn)
	switch {
	case c.served.Load():
	case !c.touched.Load():
		d.counters.Probe()
	case secured != nil && !secured.ConnectionState().HandshakeComplete:
		d.counters.Denied()
		d.denials.Warn(d.log, "tls handshake failed", "peer", nc.RemoteAddr().String())
	default:
		d.counters.Framing(feed.Noise)
	}
}

// closeUnused closes the connections that wait for their first request: the
// server would give them another five seconds.
func (d *door) closeUnused() {
	d.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.unused {
		c.Close()
	}
}

// under returns the connection below TLS.
func under(nc net.Conn) *conn {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	return nc.(*conn)
}

// ofRequest is the key of a request's connection in its context.
type ofRequest struct{}

// remember puts the connection into the context of its requests.
func remember(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, ofRequest{}, under(nc))
}

// served notes that a request came on the connection.
func served(ctx context.Context) { ctx.Value(ofRequest{}).(*conn).served.Store(true) }

var longAgo = time.Unix(1, 0)

// conn gives each write its time, and its place back when it is closed.
type conn struct {
	net.Conn
	timeout time.Duration
	touched atomic.Bool // it gave a byte
	served  atomic.Bool // it gave a request
	release func()
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.touched.Store(true)
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// CloseWrite lets the peer read a reply to a request that is not read to its
// end.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
