package web

import (
	"embed"
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page"
)

//go:embed templates/*.html
var files embed.FS

// errNotFound says that there is nothing of that name to show.
var errNotFound = errors.New("not found")

// shown is what every page is drawn from.
type shown struct {
	Title   string
	Page    string // its template
	Session store.Session
	Self    string // path and query
	Now     time.Time
	Content any
}

// May tells whether who is signed in has the role.
func (p shown) May(role string) bool {
	var r store.Role
	return r.UnmarshalText([]byte(role)) == nil && p.Session.Role >= r
}

// With is a part of the page with all that a template needs to draw it.
func (p shown) With(part any) map[string]any { return map[string]any{"Page": p, "Part": part} }

// SignedIn tells whether somebody is.
func (p shown) SignedIn() bool { return p.Session.ID != nil }

// sees is what of who looks a page depends on: the role, and on the page of sessions
// which one is their own.
func sees(r *http.Request) string {
	session := sessionOf(r)
	if r.URL.Path == "/sessions" {
		return string(session.ID)
	}
	return session.Role.String()
}

// page draws a page of what content gives. With ?fragment it is its changing part
// alone.
func (s *Server) page(name string, content func(r *http.Request, now time.Time) (title string, content any, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		title, content, err := content(r, now)
		switch {
		case errors.Is(err, errNotFound):
			s.fail(w, r, http.StatusNotFound, "There is no such page.")
			return
		case err != nil:
			s.broken(w, r, err)
			return
		}
		query := r.URL.Query()
		query.Del("fragment")
		self := r.URL.Path
		if len(query) > 0 {
			self += "?" + query.Encode()
		}
		s.draw(w, r, http.StatusOK, shown{Title: title, Page: name, Session: sessionOf(r), Self: self, Now: now, Content: content})
	})
}

func (s *Server) draw(w http.ResponseWriter, r *http.Request, status int, p shown) {
	if err := s.drawn.Draw(w, r, status, p.Page, p); err != nil {
		s.Log.Error("page not drawn", "page", p.Page, "err", err)
		http.Error(w, "This page could not be drawn.", http.StatusInternalServerError)
	}
}

// fail says in a page what is not as it should be.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.draw(w, r, status, shown{Title: http.StatusText(status), Page: "message", Session: sessionOf(r), Now: time.Now(), Content: text})
}

// broken is when the store does not answer.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits for it any more
	}
	s.Log.Warn("page not made", "path", r.URL.Path, "err", err)
	w.Header().Set("Retry-After", "5")
	s.fail(w, r, http.StatusServiceUnavailable, "The centre can not read its store just now. Flags are another matter: see whether lookups are answered. Try again in a moment.")
}

// parse makes the pages, which show times in the zone.
func parse(zone *time.Location, book string) page.Set {
	return page.NewSet(files, template.FuncMap{
		"when":    func(at time.Time) template.HTML { return page.Moment(at.In(zone), "2 Jan 15:04") },
		"runbook": func(code safeguard.WarningCode) string { return book + "#" + string(code) },
	})
}
