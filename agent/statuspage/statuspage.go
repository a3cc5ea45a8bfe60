// Package statuspage shows whoever looks after the agent how it is: as a page in a
// browser, as what monitoring asks, and as JSON. It is for the agent's own host,
// and elsewhere for those with a password. Nothing on it is about a patient, and
// the agent works the same whether or not it can be shown.
package statuspage

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/page"
)

// Parts are what is shown, each asked when somebody looks.
type Parts struct {
	Report  func() safeguard.Heartbeat
	Day     func() []safeguard.Period
	Alive   func(ctx context.Context) error // as the system's watchdog asks
	Metrics http.Handler                    // of /metrics; nil where there are none
	Zone    *time.Location                  // that times are shown in
}

// Server serves the page. Make one with New.
type Server struct {
	config   Config
	parts    Parts
	log      *slog.Logger
	pages    page.Set
	tls      *tls.Config // nil for none
	guests   *guests     // nil where everybody may look
	listener net.Listener
}

const (
	againEach = 30 * time.Second // that listening is tried
	aliveTime = 5 * time.Second
)

// New makes a server, which does not listen yet.
func New(c Config, p Parts, log *slog.Logger) *Server {
	return &Server{config: c, parts: p, log: log.With("part", "status-page"), pages: parse(p.Zone)}
}

// Listen opens the port. Where it was not called, or failed, Run does it.
func (s *Server) Listen() (err error) {
	if s.config.TLS != nil {
		if s.tls, err = s.config.TLS.Listening(s.log); err != nil {
			return fmt.Errorf("status page: %w", err)
		}
	}
	if s.config.Passwords != "" {
		if s.guests, err = readGuests(s.config.Passwords); err != nil {
			return fmt.Errorf("status page: %w", err)
		}
	}
	listener, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("status page: %w", err)
	}
	if s.config.AddressFile != "" {
		if err := os.WriteFile(s.config.AddressFile, []byte(listener.Addr().String()+"\n"), 0o644); err != nil {
			_ = listener.Close()
			return fmt.Errorf("status page: %w", err)
		}
	}
	s.listener = listener
	return nil
}

// Addr is where the page is, once it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends. A page that can not be shown is no reason for the
// agent to stop: it is tried again, and said why.
func (s *Server) Run(ctx context.Context) error {
	if s.config.Listen == "" {
		return nil
	}
	for said := ""; ctx.Err() == nil; {
		var err error
		if s.listener == nil {
			err = s.Listen()
		}
		if err == nil {
			s.log.Info("status page listens", "address", s.listener.Addr().String(), "tls", s.tls != nil, "passwords", s.guests != nil)
			err = s.serve(ctx)
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			s.log.Warn("status page not shown, trying again", "every", againEach, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(againEach):
		}
	}
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	listener := s.listener
	s.listener = nil // closed by serving
	if s.tls != nil {
		listener = tls.NewListener(listener, s.tls)
	}
	return page.Serve(ctx, listener, s.handler(), s.log)
}

// handler is everything that may be asked for.
func (s *Server) handler() http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /{$}", s.page)
	guarded.Handle("/live", &page.Live{Pages: http.HandlerFunc(s.page)})
	guarded.HandleFunc("GET /static/{file}", page.Static)
	guarded.HandleFunc("GET /docs/{name...}", s.document)
	guarded.HandleFunc("/", s.nothing)
	guarded.HandleFunc("GET /status.json", s.json)
	if s.parts.Metrics != nil {
		guarded.Handle("GET /metrics", s.parts.Metrics)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.alive)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("/", s.admitted(guarded))
	return s.named(page.Headers(mux))
}

// Shown is what the page shows, as JSON.
type Shown struct {
	Report safeguard.Heartbeat `json:"report"`
	Day    []safeguard.Period  `json:"day"` // the last 24 hours, oldest first
}

// Shown is what is shown now.
func (s *Server) Shown() Shown { return Shown{s.parts.Report(), s.parts.Day()} }

func (s *Server) json(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Shown())
}

// alive says whether the agent works at all: one that is not alive is to be
// restarted.
func (s *Server) alive(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveTime)
	defer cancel()
	if s.parts.Alive(ctx) != nil {
		http.Error(w, "not alive: see the log", http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "alive")
}

// ready says whether the agent takes messages on. It does while the centre can not
// be reached.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	h := s.parts.Report()
	switch {
	case h.State == safeguard.Starting || h.State == safeguard.Stopping:
		http.Error(w, "not ready: "+h.State.String(), http.StatusServiceUnavailable)
	case h.Journal.Stopped != "":
		http.Error(w, "not ready: no message is taken on", http.StatusServiceUnavailable)
	default:
		_, _ = fmt.Fprintln(w, "ready")
	}
}
