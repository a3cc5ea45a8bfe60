package web

import (
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/safeguard-edge/safeguard/central/store"
)

// sessionsContent is who may sign in by an account of the centre's own, and who is
// signed in.
type sessionsContent struct {
	Accounts []store.OperatorAccount
	Sessions []sessionRow
	Staff    []staffRow
}

type sessionRow struct {
	store.Session
	Handle string // names it in a form; nobody signs in by it
	Own    bool
}

type staffRow struct {
	store.StaffSession
	Handle string
}

func (s *Server) sessionsPage(r *http.Request, now time.Time) (string, any, error) {
	var c sessionsContent
	var err error
	if c.Accounts, err = s.Store.Operators(r.Context()); err != nil {
		return "", nil, err
	}
	list, err := s.Store.Sessions(r.Context())
	if err != nil {
		return "", nil, err
	}
	for _, session := range list {
		if !s.Desk.Limits.Over(session.Opened, session.Seen, now) {
			handle := hex.EncodeToString(session.ID)
			c.Sessions = append(c.Sessions, sessionRow{session, handle, string(session.ID) == string(sessionOf(r).ID)})
		}
	}
	staff, err := s.Store.StaffSessions(r.Context())
	if err != nil {
		return "", nil, err
	}
	for _, session := range staff {
		if !s.Staff.Over(session.Opened, session.Seen, now) {
			c.Staff = append(c.Staff, staffRow{session, hex.EncodeToString(session.ID)})
		}
	}
	return "Operators", c, nil
}

// endSession ends an operator's, or with staff a member of staff's.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	end, handle := s.Store.EndSession, r.PostFormValue("session")
	if handle == "" {
		end, handle = s.Store.EndStaffSession, r.PostFormValue("staff")
	}
	id, err := hex.DecodeString(handle)
	if err == nil {
		err = end(r.Context(), id, operatorOf(r).Who())
	}
	if err != nil && !errors.Is(err, store.ErrNoSession) {
		s.broken(w, r, err)
		return
	}
	http.Redirect(w, r, "/sessions", http.StatusSeeOther)
}
