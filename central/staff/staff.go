// Package staff is the pages on which a member of staff with the right looks at a
// person's flags, the privacy officer of an organisation reviews the views by
// break-glass, and a local authority sees who accessed its own. A person's number,
// date of birth and flags travel in the bodies of requests and answers only: no
// address, title or log has them.
package staff

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
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page"
)

// Store is where sessions, attempts and the privacy officers' lists are.
type Store interface {
	store.Staff
	Attempt(ctx context.Context, limits []store.AttemptLimit, since time.Time) (within bool, err error)
	RetainSessions(ctx context.Context, opened, seen, attempts time.Time) error
	Audit(ctx context.Context, entry audit.Entry) error
	Notified(ctx context.Context, which store.Which, by string, each func(store.Notified) error) error
}

// Flags is what is asked; a *server.Server is one.
type Flags interface {
	Places(organisation safeguard.ODSCode) []store.Site
	KnownAuthority(code safeguard.ODSCode) bool
	MayView(v server.View) error
	Notifies(v server.View) bool
	Attended(ctx context.Context, v server.View, now time.Time) (time.Time, error)
	View(ctx context.Context, v server.View, now time.Time) (server.Viewed, error)
}

// Config is what a server of these pages needs. All fields are needed.
type Config struct {
	Listen   string
	TLS      *tls.Config
	Store    Store
	Flags    Flags
	Provider *signin.Provider
	Reading  Reading // of what the provider says
	Limits   signin.Limits
	Searches int            // that one person may make in searchesWithin
	Zone     *time.Location // that times are shown in
	Log      *slog.Logger
}

// Server serves the pages.
type Server struct {
	Config
	listener net.Listener
	drawn    page.Set
}

const mostForm = 64 << 10

// Listen opens the port, and does not serve yet.
func Listen(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for staff: %w", err)
	}
	return &Server{Config: c, listener: listener, drawn: parse(c.Zone)}, nil
}

// Addr is where the pages are.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.tidy(ctx) })
	g.Go(func() error { return page.Serve(ctx, tls.NewListener(s.listener, s.TLS), s.handler(), s.Log) })
	return g.Wait()
}

// handler is everything that a browser may ask for.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{file}", page.Static)
	mux.HandleFunc("GET /sign-in", s.signInPage)
	mux.HandleFunc("GET /sign-in/provider", s.toProvider)
	mux.HandleFunc("GET "+signin.ReturnPath, s.fromProvider)
	mux.HandleFunc("POST "+signin.SignOutPath, s.signOut)
	mux.HandleFunc("GET "+signin.SignOutPath, s.signedOut)
	mux.HandleFunc("GET "+signin.SignOutPath+"/provider", s.atProvider)
	for pattern, of := range map[string]struct {
		right store.Rights
		serve http.HandlerFunc
	}{
		"GET /{$}":                            {^store.Rights(0), s.home},
		"POST /stay":                          {^store.Rights(0), s.stay},
		"GET /view":                           {store.ViewFlags, s.searchPage},
		"POST /search":                        {store.ViewFlags, s.search},
		"POST /view":                          {store.ViewFlags, s.view},
		"GET /break-glass":                    {store.ReviewViews, s.reviewList},
		"GET /break-glass/{position}":         {store.ReviewViews, s.reviewPage},
		"POST /break-glass/{position}/review": {store.ReviewViews, s.review},
		"GET /accesses":                       {store.OwnAccesses, s.accessesPage},
		"POST /accesses":                      {store.OwnAccesses, s.accesses},
	} {
		mux.Handle(pattern, s.signedIn(of.right, of.serve))
	}
	mux.Handle("/", s.signedIn(^store.Rights(0), func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, "There is no such page.")
	}))
	return page.Headers(http.NewCrossOriginProtection().Handler(sameOrigin(http.MaxBytesHandler(mux, mostForm))))
}

// sameOrigin refuses what would do something and does not say where it comes from:
// every browser that is cared for does.
func sameOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
			http.Error(w, "This browser does not say which page a request comes from. Use one that is kept up to date.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// home is the first page of those that somebody may see.
func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	to := "/accesses"
	switch rights := sessionOf(r).Rights; {
	case rights.Has(store.ViewFlags):
		to = "/view"
	case rights.Has(store.ReviewViews):
		to = "/break-glass"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// stay keeps a session going.
func (s *Server) stay(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
