package staff

import (
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page"
)

//go:embed templates/*.html
var files embed.FS

// shown is what every page is drawn from. Title is the same whoever it is about: it
// stands in the browser's history.
type shown struct {
	Title   string
	Page    string // its template
	Session store.StaffSession
	Waiting int // views by break-glass that wait for who is signed in
	Now     time.Time
	Idle    int // seconds without use after which the session ends
	Content any
}

// SignedIn tells whether somebody is.
func (p shown) SignedIn() bool { return p.Session.ID != nil }

// MayView tells whether who is signed in may view flags.
func (p shown) MayView() bool { return p.Session.Rights.Has(store.ViewFlags) }

// MayReview tells whether they are a privacy officer.
func (p shown) MayReview() bool { return p.Session.Rights.Has(store.ReviewViews) }

// MaySeeOwn tells whether they are of a local authority.
func (p shown) MaySeeOwn() bool { return p.Session.Rights.Has(store.OwnAccesses) }

func parse(zone *time.Location) page.Set {
	return page.NewSet(files, template.FuncMap{
		"when":   func(at time.Time) template.HTML { return page.Moment(at.In(zone), "2 January 2006, 15:04") },
		"number": func(n safeguard.NHSNumber) string { return spaced(n.Reveal()) },
		"day":    day,
		"phone":  phone,
		"words":  func(s safeguard.CareSetting) string { return strings.ReplaceAll(s.String(), "-", " ") },
	})
}

// spaced is an NHS number as it is read aloud: 3, 3, 4.
func spaced(n string) string {
	if len(n) != 10 {
		return n
	}
	return n[:3] + " " + n[3:6] + " " + n[6:]
}

// phone is an address by which a browser rings a number. Whatever is no digit is
// left out of it.
func phone(number string) template.URL {
	return template.URL("tel:" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '+' {
			return r
		}
		return -1
	}, number))
}

func day(d safeguard.Date) string {
	if d.IsZero() {
		return ""
	}
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Format("2 January 2006")
}

// draw writes a page.
func (s *Server) draw(w http.ResponseWriter, r *http.Request, status int, name, title string, content any) {
	p := shown{Title: title, Page: name, Session: sessionOf(r), Now: time.Now(), Idle: int(s.Limits.Idle / time.Second), Content: content}
	if p.MayReview() {
		list, err := s.Store.BreakGlassWaiting(r.Context())
		if err != nil {
			s.broken(w, r, err)
			return
		}
		for _, v := range list {
			if v.Organisation == p.Session.Organisation {
				p.Waiting++
			}
		}
	}
	s.write(w, r, status, p)
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, p shown) {
	if err := s.drawn.Draw(w, r, status, p.Page, p); err != nil {
		s.Log.Error("page for staff not drawn", "page", p.Page, "err", err)
		http.Error(w, "This page could not be drawn.", http.StatusInternalServerError)
	}
}

// titles are those of pages that say what is not as it should be.
var titles = map[int]string{
	http.StatusForbidden: "You may not see this", http.StatusNotFound: "Not found", http.StatusConflict: "It has changed meanwhile",
	http.StatusTooManyRequests: "Too many searches", http.StatusServiceUnavailable: "No answer just now",
}

// fail says in a page what is not as it should be.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.write(w, r, status, shown{Title: titles[status], Page: "message", Session: sessionOf(r), Now: time.Now(), Idle: int(s.Limits.Idle / time.Second), Content: text})
}

// refuse says that somebody may not, and writes it into the audit.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, why string) {
	if !s.noteRefusal(w, r, why) {
		return
	}
	s.fail(w, r, http.StatusForbidden, why)
}

// noteRefusal writes a refusal into the audit; false says that it was not, and that
// the page says so.
func (s *Server) noteRefusal(w http.ResponseWriter, r *http.Request, why string) bool {
	err := s.Store.Audit(r.Context(), audit.Entry{At: time.Now(), Act: audit.ViewRefused, Who: whoOf(r), Where: whereOf(r), Reason: why, Details: map[string]string{"page": r.Pattern}})
	if err != nil {
		s.broken(w, r, err)
	}
	return err == nil
}

// broken is when the store does not answer.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits for it any more
	}
	s.Log.Warn("page for staff not made", "page", r.Pattern, "err", err)
	w.Header().Set("Retry-After", "5")
	s.fail(w, r, http.StatusServiceUnavailable, "The centre can not answer just now. This does not mean that there is no plan: follow your local procedure, and try again in a moment.")
}
