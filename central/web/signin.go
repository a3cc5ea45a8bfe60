package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page"
)

const (
	sessionCookie = "__Host-session"
	flowCookie    = "__Host-sign-in"
	theirsCookie  = "__Secure-provider"
)

type sessionKey struct{}

// sessionOf is who asks; the zero value where nobody is signed in.
func sessionOf(r *http.Request) store.Session {
	session, _ := r.Context().Value(sessionKey{}).(store.Session)
	return session
}

// operatorOf is who asks, as the audit is to have them.
func operatorOf(r *http.Request) signin.Operator {
	session := sessionOf(r)
	return signin.Operator{Name: session.Name, Source: session.Source, Role: session.Role, Address: signin.Address(r)}
}

// signedIn lets nobody further who is not. What a page asks for by itself does not
// keep a session going.
func (s *Server) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		byItself := r.URL.Path == "/live" || page.Fragment(r)
		session, err := s.Desk.Session(r.Context(), signin.Token(r, sessionCookie), !byItself, time.Now())
		switch {
		case errors.Is(err, signin.ErrSignedOut) && byItself:
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case errors.Is(err, signin.ErrSignedOut):
			to := "/sign-in"
			if r.Method == http.MethodGet && r.URL.Path != "/" {
				to += "?to=" + url.QueryEscape(r.URL.RequestURI())
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
		case err != nil:
			s.broken(w, r, err)
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, session)))
		}
	})
}

// signedOut tells whether who asks is not signed in any more.
func (s *Server) signedOut(r *http.Request) bool {
	_, err := s.Desk.Session(r.Context(), signin.Token(r, sessionCookie), false, time.Now())
	return errors.Is(err, signin.ErrSignedOut)
}

// allowed lets nobody further who has not the role.
func (s *Server) allowed(role store.Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sessionOf(r).Role < role {
			s.fail(w, r, http.StatusForbidden, "This is for the role "+role.String()+", and yours is "+sessionOf(r).Role.String()+".")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// signInForm is what the page for signing in shows.
type signInForm struct {
	Name     string
	To       string
	Wrong    string
	Provider string
}

func (s *Server) signInForm(to, wrong string) signInForm {
	form := signInForm{To: signin.Within(to), Wrong: wrong}
	if s.Provider != nil {
		form.Provider = s.Provider.Name
	}
	return form
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	s.drawSignIn(w, r, http.StatusOK, s.signInForm(r.URL.Query().Get("to"), ""))
}

func (s *Server) drawSignIn(w http.ResponseWriter, r *http.Request, status int, form signInForm) {
	s.draw(w, r, status, shown{Title: "Sign in", Page: "sign-in", Now: time.Now(), Content: form})
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	name, to := r.PostFormValue("name"), r.PostFormValue("to")
	token, err := s.Desk.Account(r.Context(), name, r.PostFormValue("password"), r.PostFormValue("code"), signin.Address(r), time.Now())
	if err == nil {
		signin.KeepToken(w, sessionCookie, token)
		http.Redirect(w, r, signin.Within(to), http.StatusSeeOther)
		return
	}
	s.notSignedIn(w, r, to, err)
}

// notSignedIn says so, and not more than it may.
func (s *Server) notSignedIn(w http.ResponseWriter, r *http.Request, to string, err error) {
	status, wrong := http.StatusUnauthorized, ""
	switch {
	case errors.Is(err, signin.ErrTooMany):
		status, wrong = http.StatusTooManyRequests, "Too many attempts to sign in. Try again in a quarter of an hour."
	case errors.Is(err, signin.ErrRefused):
		wrong = "Name, password or code is wrong. Each code works once: wait for the next one."
	case errors.Is(err, signin.ErrProvider):
		s.Log.Warn("sign-in by provider failed", "err", err)
		wrong = "Signing in by " + s.Provider.Name + " did not succeed. Try again; if it stays so, an administrator finds the reason in the centre's log and audit."
	default:
		s.broken(w, r, err)
		return
	}
	s.drawSignIn(w, r, status, s.signInForm(to, wrong))
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	session, err := s.Desk.Session(r.Context(), signin.Token(r, sessionCookie), false, time.Now())
	if err == nil {
		operator := signin.Operator{Name: session.Name, Source: session.Source, Role: session.Role, Address: signin.Address(r)}
		err = s.Store.EndSession(r.Context(), session.ID, operator.Who())
	}
	if err != nil && !errors.Is(err, signin.ErrSignedOut) && !errors.Is(err, store.ErrNoSession) {
		s.broken(w, r, err)
		return
	}
	signin.DropToken(w, sessionCookie)
	to := "/sign-in"
	if s.Provider != nil && signin.Token(r, theirsCookie) != "" {
		to = signin.SignOutPath
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// leftAtProvider says that somebody is signed out here, and leads to where they sign
// out of the provider: a form may not, by the pages' own policy.
func (s *Server) leftAtProvider(w http.ResponseWriter, r *http.Request) {
	if _, err := s.Desk.Session(r.Context(), signin.Token(r, sessionCookie), false, time.Now()); !errors.Is(err, signin.ErrSignedOut) {
		http.Redirect(w, r, "/", http.StatusSeeOther) // who comes by the address alone is still in
		return
	}
	s.draw(w, r, http.StatusOK, shown{Title: "You are signed out here", Page: "signed-out", Now: time.Now(), Content: s.Provider.Name})
}

// atProvider has the provider sign out too.
func (s *Server) atProvider(w http.ResponseWriter, r *http.Request) {
	to, err := s.Provider.SignOut(r.Context(), signin.TakeTheirs(w, r, theirsCookie))
	switch {
	case err != nil:
		s.notSignedIn(w, r, "", err)
	case to == "":
		s.fail(w, r, http.StatusNotFound, "From here nobody is signed out of "+s.Provider.Name+": do it there.")
	default:
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}

// toProvider begins a sign-in that another vouches for.
func (s *Server) toProvider(w http.ResponseWriter, r *http.Request) {
	address, flow, err := s.Provider.Begin(r.Context())
	if err != nil {
		s.notSignedIn(w, r, r.URL.Query().Get("to"), err)
		return
	}
	signin.KeepFlow(w, flowCookie, flow, r.URL.Query().Get("to"))
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// fromProvider ends it.
func (s *Server) fromProvider(w http.ResponseWriter, r *http.Request) {
	flow, to := signin.TakeFlow(w, r, flowCookie)
	token, theirs, err := s.Provider.End(r.Context(), s.Desk, flow, r.URL.Query(), signin.Address(r), time.Now())
	if err != nil {
		s.notSignedIn(w, r, to, err)
		return
	}
	signin.KeepTheirs(w, theirsCookie, theirs)
	signin.KeepToken(w, sessionCookie, token)
	http.Redirect(w, r, signin.Within(to), http.StatusSeeOther)
}
