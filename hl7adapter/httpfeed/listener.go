package httpfeed

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Listener is one address to which messages are posted.
type Listener struct {
	config Config // what holds for the address
	door   *door
	feeds  []*posted
	log    *slog.Logger
	faults feed.Occasional
}

// Listen binds the address. From then on senders can connect; they are served
// once Run is called. Further feeds share the address, each at its own path.
func Listen(c Config, log *slog.Logger, more ...Config) (*Listener, error) {
	l := &Listener{config: c, log: log.With("feed", c.Name)}
	for i, other := range append([]Config{c}, more...) {
		if err := other.Validate(); err != nil {
			return nil, fmt.Errorf("listen http: feed %q: %w", other.Name, err)
		}
		for _, before := range l.feeds[:i] {
			if err := before.config.shares(other); err != nil {
				return nil, fmt.Errorf("listen http: feed %q: %w", other.Name, err)
			}
		}
		l.feeds = append(l.feeds, newPosted(other, log))
	}
	var secured *tls.Config
	if c.TLS != nil {
		var err error
		if secured, err = c.TLS.Listening(l.log); err != nil {
			return nil, fmt.Errorf("listen http: tls: %w", err)
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: c.keepAlive()}
	ln, err := lc.Listen(context.Background(), "tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen http: %w", err)
	}
	l.door = newDoor(ln, c, secured, l.log)
	return l, nil
}

// Addr tells the address, with the port that was chosen for port 0.
func (l *Listener) Addr() net.Addr { return l.door.Addr() }

// Stats tells what the first feed counted so far.
func (l *Listener) Stats() feed.Stats { return l.StatsOf(l.config.Name) }

// StatsOf tells what the feed of that name counted so far. Connections are
// those of the address, since whom one is for shows only later.
func (l *Listener) StatsOf(name string) feed.Stats {
	conns := l.door.counters.Snapshot()
	for _, f := range l.feeds {
		if f.config.Name == name {
			s := f.counters.Snapshot()
			s.Open, s.Opened, s.Refused, s.Denied, s.Probes = conns.Open, conns.Opened, conns.Refused, conns.Denied, conns.Probes
			maps.Copy(s.Framing, conns.Framing)
			return s
		}
	}
	return feed.Stats{}
}

// Close lets go of the address, for who listens and does not come to Run.
func (l *Listener) Close() error { return l.door.Close() }

// mostHead is how long the head of a request may be.
const mostHead = 16 << 10

// Run takes requests and answers them until ctx is done. Then it takes no more,
// gives the messages in hand the time to be accepted and acknowledged, and
// returns nil when the last connection is closed.
func (l *Listener) Run(ctx context.Context, accept feed.Accept) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	accept, undrain := feed.Drain(ctx, l.config.Drain, accept)
	defer undrain()
	paths := make(map[string]*posted)
	for _, f := range l.feeds {
		f.intake = feed.NewIntake(f.config.Name, f.config.Policy, accept, &f.counters, f.log)
		f.stopping = ctx.Done()
		paths[f.config.Path] = f
	}
	// HTTP/1.1 alone: HTTP/2 would let one connection be as many requests.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.route(w, r, paths)
		}),
		Protocols:                    &protocols,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext:                  remember,
		ConnState:                    l.door.state,
		ReadHeaderTimeout:            l.config.HeaderTimeout,
		IdleTimeout:                  l.config.Idle,
		MaxHeaderBytes:               mostHead,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(trouble{l}, "", 0),
	}
	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopped)
		l.door.closeUnused()
		// It waits for the requests in hand. Each ends by itself: its reads
		// end with ctx, Accept with Drain, and its writes with their deadline.
		_ = server.Shutdown(context.Background())
	})
	l.log.Info("listening", "address", l.Addr().String(), "tls", l.config.TLS != nil)
	err := server.Serve(l.door)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	<-stopped
	l.log.Info("stopped listening")
	if err != nil {
		return fmt.Errorf("listen http: %w", err)
	}
	return nil
}

// route finds the feed that a request is for.
func (l *Listener) route(w http.ResponseWriter, r *http.Request, paths map[string]*posted) {
	served(r.Context())
	f, ok := paths[r.URL.Path]
	switch {
	case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
		// A page on the web may make a browser inside the hospital post
		// text/plain to us; no system that sends HL7 says where a page is from.
		turnAway(w, http.StatusForbidden, "messages are not taken from web pages")
	case !ok:
		turnAway(w, http.StatusNotFound, "no feed at this path")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		turnAway(w, http.StatusMethodNotAllowed, "want POST with one HL7 v2 message")
	default:
		f.post(w, r)
	}
}

// say replies with a text for a person.
func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // who has gone does not read it
}

// turnAway is say for a request that is not read to its end. The server reads
// a little on, so that the reply arrives; not for ever.
func turnAway(w http.ResponseWriter, status int, text string) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingering))
	w.Header().Set("Connection", "close")
	say(w, status, text)
}

const lingering = 500 * time.Millisecond

// trouble is where the server's own troubles go. Failed handshakes are left
// out, since the door counts them, and probes would fill the log.
type trouble struct{ l *Listener }

func (t trouble) Write(line []byte) (int, error) {
	if !bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		first, _, _ := bytes.Cut(line, []byte("\n"))
		t.l.faults.Warn(t.l.log, "http server", "err", errors.New(string(first)))
	}
	return len(line), nil
}
