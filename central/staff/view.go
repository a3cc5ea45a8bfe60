package staff

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
)

// How long the words are in which somebody says why they break the glass, in
// characters, and the name of such a view, in bytes.
const (
	leastWords = 15
	mostWords  = 1000
	mostOnce   = 64
)

// viewed is the page with what is held.
type viewed struct {
	server.Viewed
	View  server.View
	Site  string
	Today safeguard.Date
}

// Ended tells whether a plan has.
func (v viewed) Ended(f safeguard.Flag) bool { return f.Ended(v.Today) }

// view shows what is held, once the viewer has read what showing it does.
func (s *Server) view(w http.ResponseWriter, r *http.Request) {
	v, f, ok := s.asked(w, r)
	if !ok {
		return
	}
	a, err := s.ask(r, v, f)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	if a.Attended.IsZero() {
		if ok := s.broke(w, r, &a); !ok {
			return
		}
	}
	told := silent
	if a.Notifies {
		told = notify
	}
	if r.PostFormValue("told") != told {
		a.Changed = true
		s.draw(w, r, http.StatusConflict, "ask", "View safeguarding flags", a)
		return
	}
	if s.limited(w, r, "view") {
		return
	}
	now := time.Now()
	out, err := s.Flags.View(r.Context(), a.View, now)
	var refused *server.ViewRefused
	switch {
	case errors.As(err, &refused):
		s.refuse(w, r, "You can not look: "+refused.Reason+".")
	case errors.Is(err, server.ErrNotAttended): // the time ran out meanwhile
		a.Attended, a.Changed = time.Time{}, true
		s.draw(w, r, http.StatusConflict, "ask", "View safeguarding flags", a)
	case err != nil:
		s.broken(w, r, err)
	default:
		s.draw(w, r, http.StatusOK, "viewed", "Safeguarding flags", viewed{out, a.View, a.Site, safeguard.DateOf(now.In(s.Zone))})
	}
}

// broke tells whether the glass was broken for somebody who has not attended, and
// puts why into the view. Where it was not, it says that it must be.
func (s *Server) broke(w http.ResponseWriter, r *http.Request, a *asking) bool {
	glass, once := r.PostFormValue("glass"), r.PostFormValue("once")
	a.Words = strings.TrimSpace(r.PostFormValue("words"))
	switch n := utf8.RuneCountInString(a.Words); {
	case !r.PostForm.Has("words"):
		a.Changed = true
		if s.noteRefusal(w, r, "not attended within the time that counts, and not by break-glass") {
			s.draw(w, r, http.StatusForbidden, "ask", "View safeguarding flags", *a)
		}
		return false
	case n < leastWords || n > mostWords:
		a.WrongGlass = fmt.Sprintf("Say why in your own words, in %d to %d characters.", leastWords, mostWords)
	case glass != "broken":
		a.WrongGlass = "Confirm that you know what comes of it."
	case once == "" || len(once) > mostOnce:
		a.WrongGlass = "This page was not whole. Try it again."
	}
	if a.WrongGlass != "" {
		s.draw(w, r, http.StatusBadRequest, "ask", "View safeguarding flags", *a)
		return false
	}
	by := sessionOf(r)
	a.View.Once = once
	a.View.Glass = &server.BrokenGlass{
		By:    store.StaffMember{Subject: by.Subject, Name: by.Name, Role: by.Role, Source: by.Source, Address: signin.Address(r)},
		Words: safeguard.Hide(a.Words),
	}
	return true
}
