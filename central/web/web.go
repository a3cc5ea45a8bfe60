// Package web shows central operations how the fleet is, in a browser: pages that
// the server draws, which work without a script and keep themselves up to date
// with one. Nothing on them is about a patient.
package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page"
)

// Store is what the pages are made from.
type Store interface {
	fleet.Source
	store.Operators
	StaffSessions(ctx context.Context) ([]store.StaffSession, error)
	EndStaffSession(ctx context.Context, id []byte, by audit.Who) error
	FleetHours(ctx context.Context, agent store.AgentKey, from time.Time) ([]store.FleetHour, error)
	AcknowledgeWarning(ctx context.Context, id int64, by audit.Who) error
	NoteWarning(ctx context.Context, id int64, text string, by audit.Who) error
	Order(ctx context.Context, c safeguard.RemoteCommand, by audit.Who) error
	OrderedCommands(ctx context.Context, which store.CommandFilter) ([]store.OrderedCommand, error)
	CommandBundle(ctx context.Context, id string, by audit.Who) ([]byte, error)
	Uploads(ctx context.Context, which store.UploadFilter) ([]store.Kept, error)
	Owing(ctx context.Context) (map[safeguard.ODSCode]safeguard.Queue, error)
}

// Config is what a server of pages needs. All fields but Provider are needed.
type Config struct {
	Listen   string
	TLS      *tls.Config
	Store    Store
	Desk     signin.Desk
	Staff    signin.Limits     // of sessions on the pages for staff
	Provider *signin.Operators // nil where operators have accounts at the centre alone
	Zone     *time.Location    // that times are shown in
	Runbook  string            // address of the page that has a section for each warning
	Log      *slog.Logger
}

// Server serves the pages.
type Server struct {
	Config
	listener net.Listener
	fleet    *fleet.Overviews
	uploads  uploads
	pages    http.Handler
	drawn    page.Set
}

const mostForm = 64 << 10

// Listen opens the port, and does not serve yet.
func Listen(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for operators: %w", err)
	}
	s := &Server{Config: c, listener: listener, fleet: fleet.NewOverviews(c.Store), drawn: parse(c.Zone, c.Runbook)}
	s.pages = &page.Shared{Pages: s.routes(), Sees: sees}
	return s, nil
}

// Addr is where the pages are.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Desk.Run(ctx) })
	g.Go(func() error { return page.Serve(ctx, tls.NewListener(s.listener, s.TLS), s.handler(), s.Log) })
	return g.Wait()
}

// handler is everything that a browser may ask for.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{file}", page.Static)
	mux.HandleFunc("GET /sign-in", s.signInPage)
	mux.HandleFunc("POST /sign-in", s.signIn)
	mux.HandleFunc("POST "+signin.SignOutPath, s.signOut)
	if s.Provider != nil {
		mux.HandleFunc("GET "+signin.SignOutPath, s.leftAtProvider)
		mux.HandleFunc("GET "+signin.SignOutPath+"/provider", s.atProvider)
		mux.HandleFunc("GET /sign-in/provider", s.toProvider)
		mux.HandleFunc("GET "+signin.ReturnPath, s.fromProvider)
	}
	mux.Handle("/live", s.signedIn(&page.Live{Pages: s.pages, Ended: s.signedOut}))
	mux.Handle("/", s.signedIn(s.pages))
	return page.Headers(http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, mostForm)))
}

// routes are the pages of who is signed in.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", s.page("fleet", s.fleetPage))
	mux.Handle("GET /sites/{organisation}/{site}", s.page("site", s.sitePage))
	mux.Handle("GET /authorities", s.page("authorities", s.authoritiesPage))
	mux.Handle("GET /sessions", s.allowed(store.Administering, s.page("sessions", s.sessionsPage)))
	mux.Handle("POST /sessions/end", s.allowed(store.Administering, http.HandlerFunc(s.endSession)))
	mux.Handle("POST /warnings/{id}/acknowledge", s.allowed(store.Operating, http.HandlerFunc(s.acknowledge)))
	mux.Handle("POST /warnings/{id}/note", s.allowed(store.Operating, http.HandlerFunc(s.note)))
	mux.Handle("GET /agents/{organisation}/{id}/ask", s.allowed(store.Operating, s.page("ask", s.askPage)))
	mux.Handle("POST /agents/{organisation}/{id}/ask", s.allowed(store.Operating, http.HandlerFunc(s.ask)))
	mux.Handle("POST /commands/{id}/bundle", s.allowed(store.Operating, http.HandlerFunc(s.bundle)))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, "There is no such page.")
	})
	return mux
}
