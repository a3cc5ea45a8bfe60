package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
)

// commandRow is something that an agent was asked to do.
type commandRow struct {
	store.OrderedCommand
	State string // what came of it, in a word
	First string // line of what the agent says
	Rest  string
}

const (
	askedWithin  = 63 * 24 * time.Hour // as long as bundles are kept
	mostCommands = 10
	askedFor     = time.Hour // that a command of the pages is good for
)

func (s *Server) commands(ctx context.Context, agent store.AgentKey, now time.Time) (rows []commandRow, err error) {
	list, err := s.Store.OrderedCommands(ctx, store.CommandFilter{Agent: agent, Since: now.Add(-askedWithin), Limit: mostCommands})
	for _, c := range list {
		row := commandRow{OrderedCommand: c, State: string(c.Outcome)}
		switch {
		case c.Outcome == "" && now.After(c.Expires):
			row.State = "expired: the agent has not fetched it, or has not answered"
		case c.Outcome == "":
			row.State = "waits for the agent"
		}
		row.First, row.Rest, _ = strings.Cut(strings.TrimSpace(c.Text), "\n")
		rows = append(rows, row)
	}
	return rows, err
}

// askContent is what an agent would be asked to do.
type askContent struct {
	Agent fleet.Agent
	Do    safeguard.RemoteDo
	To    string        // where to go afterwards
	For   time.Duration // that it is good for
}

// asked reads what is asked of whom.
func (s *Server) asked(r *http.Request, do string) (c askContent, err error) {
	c = askContent{Do: safeguard.RemoteDo(do), To: signin.Within(r.FormValue("to")), For: askedFor}
	key, err := store.ParseAgentKey(r.PathValue("organisation") + "/" + r.PathValue("id"))
	if err != nil || !slices.Contains(safeguard.RemoteDos, c.Do) {
		return c, errNotFound
	}
	seen, err := s.fleet.Look(r.Context(), time.Now())
	if err != nil {
		return c, err
	}
	i := slices.IndexFunc(seen.Agents, func(a fleet.Agent) bool { return a.Key == key })
	if i < 0 {
		return c, errNotFound
	}
	c.Agent = seen.Agents[i]
	return c, nil
}

// askPage has an operator confirm.
func (s *Server) askPage(r *http.Request, _ time.Time) (string, any, error) {
	c, err := s.asked(r, r.URL.Query().Get("do"))
	return "Ask agent " + c.Agent.Key.String(), c, err
}

// ask orders the command for who is signed in.
func (s *Server) ask(w http.ResponseWriter, r *http.Request) {
	c, err := s.asked(r, r.PostFormValue("do"))
	var ordered safeguard.RemoteCommand
	if err == nil {
		ordered, err = fleet.Order(r.Context(), s.Store, c.Agent.Key, c.Do, c.For, operatorOf(r).Who())
	}
	switch {
	case errors.Is(err, errNotFound), errors.Is(err, store.ErrUnknown):
		s.fail(w, r, http.StatusNotFound, "There is no such agent, or no such command.")
	case err != nil:
		s.broken(w, r, err)
	default:
		http.Redirect(w, r, c.To+"#asked-"+ordered.ID, http.StatusSeeOther)
	}
}

// bundle gives who is signed in the support bundle that came with an answer.
func (s *Server) bundle(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	bundle, err := s.Store.CommandBundle(r.Context(), id, operatorOf(r).Who())
	switch {
	case errors.Is(err, store.ErrUnknown):
		s.fail(w, r, http.StatusNotFound, "There is no such bundle; they are kept for 63 days.")
		return
	case err != nil:
		s.broken(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="support-`+id+`.zip"`)
	h.Set("Content-Length", strconv.Itoa(len(bundle)))
	_, _ = w.Write(bundle)
}
