package staff

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
)

const (
	sessionCookie = "__Host-staff"
	flowCookie    = "__Host-staff-sign-in"
	theirsCookie  = "__Secure-staff-provider"

	searchesWithin = 15 * time.Minute
	tidyEach       = 15 * time.Minute
)

type sessionKey struct{}

// sessionOf is who asks; the zero value where nobody is signed in.
func sessionOf(r *http.Request) store.StaffSession {
	session, _ := r.Context().Value(sessionKey{}).(store.StaffSession)
	return session
}

// who is the person as the audit has them.
func who(n store.StaffSession, address string) audit.Who {
	return audit.Who{Caller: "staff " + n.Subject + " by " + n.Source, Device: address, Name: n.Name, Role: n.Role}
}

func whoOf(r *http.Request) audit.Who { return who(sessionOf(r), signin.Address(r)) }

func whereOf(r *http.Request) *audit.Where {
	return &audit.Where{Organisation: sessionOf(r).Organisation.String()}
}

// signedIn lets nobody further who is not, or has none of the rights.
func (s *Server) signedIn(any store.Rights, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := s.session(r.Context(), signin.Token(r, sessionCookie), time.Now())
		if errors.Is(err, signin.ErrSignedOut) {
			http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, session))
		switch {
		case err != nil:
			s.broken(w, r, err)
		case !session.Rights.Has(any):
			s.refuse(w, r, "This page is for "+wordsFor(any)+".")
		default:
			next(w, r)
		}
	})
}

func wordsFor(rights store.Rights) string {
	switch {
	case rights.Has(store.ViewFlags):
		return "members of staff with the right to view flags (B0107 or B0170)"
	case rights.Has(store.ReviewViews):
		return "the privacy officer"
	}
	return "staff of a local authority"
}

// session gives whose a token is, and notes that it is used.
func (s *Server) session(ctx context.Context, token string, now time.Time) (store.StaffSession, error) {
	if token == "" {
		return store.StaffSession{}, signin.ErrSignedOut
	}
	found, err := s.Store.StaffSession(ctx, signin.TokenID(token))
	switch {
	case errors.Is(err, store.ErrNoSession):
		return store.StaffSession{}, signin.ErrSignedOut
	case err != nil:
		return store.StaffSession{}, err
	case s.Limits.Over(found.Opened, found.Seen, now):
		return store.StaffSession{}, signin.ErrSignedOut
	case s.Limits.Due(found.Seen, now):
		err = s.Store.SeenStaffSession(ctx, found.ID, now)
	}
	return found, err
}

// tidy removes what has ended, until ctx ends.
func (s *Server) tidy(ctx context.Context) error {
	tick := time.NewTicker(tidyEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			// What could not be removed now is removed the next time, and lets nobody in.
			_ = s.Store.RetainStaffSessions(ctx, now.Add(-s.Limits.Absolute), now.Add(-s.Limits.Idle))
			_ = s.Store.RetainSessions(ctx, time.Time{}, time.Time{}, now.Add(-searchesWithin))
		}
	}
}

// signInForm is what the page for signing in shows.
type signInForm struct {
	Provider string
	Wrong    string
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	s.drawSignIn(w, r, http.StatusOK, "")
}

func (s *Server) drawSignIn(w http.ResponseWriter, r *http.Request, status int, wrong string) {
	s.draw(w, r, status, "sign-in", "Sign in", signInForm{s.Provider.Name, wrong})
}

// toProvider begins a sign-in.
func (s *Server) toProvider(w http.ResponseWriter, r *http.Request) {
	address, flow, err := s.Provider.Begin(r.Context())
	if err != nil {
		s.notSignedIn(w, r, err)
		return
	}
	signin.KeepFlow(w, flowCookie, flow, "/")
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// fromProvider ends it: who may come in has a session, and who may not is in the
// audit with the reason.
func (s *Server) fromProvider(w http.ResponseWriter, r *http.Request) {
	flow, _ := signin.TakeFlow(w, r, flowCookie)
	claims, theirs, err := s.Provider.Returned(r.Context(), flow, r.URL.Query())
	person := store.StaffSession{Subject: "unknown"}
	if err == nil {
		person, err = s.Reading.Person(claims)
	}
	if err == nil {
		err = s.known(person)
	}
	now := time.Now()
	person.Source, person.Opened, person.Seen = s.Provider.Issuer, now, now
	by := who(person, signin.Address(r))
	if err != nil {
		entry := audit.Entry{At: now, Act: audit.SignInRefused, Who: by, Reason: err.Error(), Details: map[string]string{"source": person.Source}}
		if audited := s.Store.Audit(r.Context(), entry); audited != nil {
			err = audited
		}
		s.notSignedIn(w, r, err)
		return
	}
	token, id := signin.NewToken()
	person.ID = id
	if err := s.Store.OpenStaffSession(r.Context(), person, by); err != nil {
		s.broken(w, r, err)
		return
	}
	signin.KeepToken(w, sessionCookie, token)
	signin.KeepTheirs(w, theirsCookie, theirs)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// known tells why the person's organisation has no part in what they may do, if so.
// Rights that have no meaning there are no rights.
func (s *Server) known(n store.StaffSession) error {
	switch hospital := n.Rights.Has(store.ViewFlags | store.ReviewViews); {
	case hospital && len(s.Flags.Places(n.Organisation)) == 0:
		return refusef("organisation %s has no site that takes part at this centre", n.Organisation)
	case !hospital && !s.Flags.KnownAuthority(n.Organisation):
		return refusef("%s is no local authority that takes part at this centre", n.Organisation)
	}
	return nil
}

// notSignedIn says so: why not to whom it is about, and of a provider no more than
// that it did not succeed.
func (s *Server) notSignedIn(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		s.drawSignIn(w, r, http.StatusForbidden, "You can not come in: "+refused.reason+". If that is not right, ask your organisation's safeguarding lead.")
	case errors.Is(err, signin.ErrProvider):
		s.Log.Warn("sign-in of staff failed", "err", err)
		s.drawSignIn(w, r, http.StatusForbidden, "Signing in did not succeed. Start again, within ten minutes and with cookies allowed; if it stays so, tell your IT service desk: the centre's log and audit have the reason.")
	default:
		s.broken(w, r, err)
	}
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	session, err := s.session(r.Context(), signin.Token(r, sessionCookie), time.Now())
	if err == nil {
		err = s.Store.EndStaffSession(r.Context(), session.ID, who(session, signin.Address(r)))
	}
	if err != nil && !errors.Is(err, signin.ErrSignedOut) && !errors.Is(err, store.ErrNoSession) {
		s.broken(w, r, err)
		return
	}
	signin.DropToken(w, sessionCookie)
	w.Header().Set("Clear-Site-Data", `"cache"`)
	to := "/sign-in"
	if signin.Token(r, theirsCookie) != "" {
		to = signin.SignOutPath
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signedOut says that somebody is signed out here, and leads to where they sign out
// of the provider: a form may not, by the pages' own policy.
func (s *Server) signedOut(w http.ResponseWriter, r *http.Request) {
	if _, err := s.session(r.Context(), signin.Token(r, sessionCookie), time.Now()); !errors.Is(err, signin.ErrSignedOut) {
		http.Redirect(w, r, "/", http.StatusSeeOther) // who comes by the address alone is still in
		return
	}
	s.draw(w, r, http.StatusOK, "signed-out", "You are signed out here", s.Provider.Name)
}

// atProvider has the provider sign out too.
func (s *Server) atProvider(w http.ResponseWriter, r *http.Request) {
	to, err := s.Provider.SignOut(r.Context(), signin.TakeTheirs(w, r, theirsCookie))
	switch {
	case err != nil:
		s.notSignedIn(w, r, err)
	case to == "":
		s.fail(w, r, http.StatusNotFound, "From here nobody is signed out of "+s.Provider.Name+": do it there.")
	default:
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}
