package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page"
)

// siteContent is one site, and the agents of its organisation.
type siteContent struct {
	fleet.Site
	At     time.Time
	Agents []agentContent
	Past   []store.FleetWarning // that closed in the last days
}

// agentContent is an agent, and what it saw.
type agentContent struct {
	fleet.Agent
	Day, Month []page.Chart
	Commands   []commandRow // that it was asked to do lately
	May        []safeguard.RemoteDo
}

const (
	monthDays    = 31
	pastWarnings = 7 * 24 * time.Hour
	mostPast     = 20
	mostAgents   = 20
	mostNote     = 2000 // characters
)

func (s *Server) sitePage(r *http.Request, now time.Time) (string, any, error) {
	seen, err := s.fleet.Look(r.Context(), now)
	if err != nil {
		return "", nil, err
	}
	organisation, code := r.PathValue("organisation"), r.PathValue("site")
	i := slices.IndexFunc(seen.Sites, func(s fleet.Site) bool { return s.Organisation.String() == organisation && s.Code.String() == code })
	if i < 0 {
		return "", nil, errNotFound
	}
	c := siteContent{Site: seen.Sites[i], At: seen.At}
	subjects := []store.Subject{{Kind: store.AboutSite, Name: organisation + "/" + code}}
	for _, a := range seen.Agents {
		if a.Key.Organisation.String() != organisation || len(c.Agents) == mostAgents {
			continue
		}
		agent, err := s.agent(r.Context(), a, now)
		if err != nil {
			return "", nil, err
		}
		c.Agents = append(c.Agents, agent)
		subjects = append(subjects, store.Subject{Kind: store.AboutAgent, Name: a.Key.String()})
	}
	if c.Past, err = s.past(r.Context(), subjects, now); err != nil {
		return "", nil, err
	}
	return c.Name, c, nil
}

func (s *Server) agent(ctx context.Context, a fleet.Agent, now time.Time) (agentContent, error) {
	out := agentContent{Agent: a, May: safeguard.RemoteDos}
	local := now.In(s.Zone)
	firstDay := time.Date(local.Year(), local.Month(), local.Day()-monthDays+1, 0, 0, 0, 0, s.Zone)
	hours, err := s.Store.FleetHours(ctx, a.Key, firstDay)
	if err != nil {
		return out, err
	}
	var periods []safeguard.Period
	for _, h := range hours {
		periods = append(periods, h.Whole)
	}
	if out.Commands, err = s.commands(ctx, a.Key, now); err != nil {
		return out, err
	}
	out.Day = page.Charts("day-"+a.Key.ID, "the last 24 hours", page.Day(periods, local, time.Hour))
	out.Month = page.Charts("month-"+a.Key.ID, "the last 31 days", monthColumns(hours, firstDay))
	return out, nil
}

// monthColumns are the days from the first on, as the zone of its time has them.
func monthColumns(hours []store.FleetHour, first time.Time) []page.Span {
	columns, at := make([]page.Span, monthDays), map[string]int{}
	for i := range columns {
		day := first.AddDate(0, 0, i)
		columns[i] = page.Span{Label: day.Format("Mon 2 Jan")}
		if day.Weekday() == time.Monday {
			columns[i].Tick = day.Format("2 Jan")
		}
		at[day.Format(time.DateOnly)] = i
	}
	for _, h := range hours {
		if i, ok := at[h.Whole.Start.In(first.Location()).Format(time.DateOnly)]; ok {
			columns[i].Take(h.Whole)
		}
	}
	return columns
}

// past are the warnings on any of the subjects that have closed lately.
func (s *Server) past(ctx context.Context, subjects []store.Subject, now time.Time) (past []store.FleetWarning, err error) {
	for _, about := range subjects {
		list, err := s.Store.FleetWarnings(ctx, store.WarningFilter{Subject: about, Since: now.Add(-pastWarnings), Limit: 4 * mostPast})
		if err != nil {
			return nil, err
		}
		past = append(past, slices.DeleteFunc(list, func(w store.FleetWarning) bool { return w.Closed.IsZero() })...)
	}
	slices.SortStableFunc(past, func(a, b store.FleetWarning) int { return b.Closed.Compare(a.Closed) })
	return past[:min(len(past), mostPast)], nil
}

// acknowledge takes a warning on for who is signed in.
func (s *Server) acknowledge(w http.ResponseWriter, r *http.Request) {
	s.about(w, r, func(id int64) error { return s.Store.AcknowledgeWarning(r.Context(), id, operatorOf(r).Who()) })
}

// note keeps what who is signed in says of a warning.
func (s *Server) note(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimSpace(r.PostFormValue("text"))
	if n := utf8.RuneCountInString(text); n == 0 || n > mostNote {
		s.fail(w, r, http.StatusBadRequest, "The note has "+strconv.Itoa(n)+" characters: want 1 to "+strconv.Itoa(mostNote)+". Go back to change it.")
		return
	}
	s.about(w, r, func(id int64) error { return s.Store.NoteWarning(r.Context(), id, text, operatorOf(r).Who()) })
}

func (s *Server) about(w http.ResponseWriter, r *http.Request, do func(id int64) error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err == nil {
		err = do(id)
	}
	switch {
	case errors.Is(err, strconv.ErrSyntax), errors.Is(err, strconv.ErrRange), errors.Is(err, store.ErrUnknown):
		s.fail(w, r, http.StatusNotFound, "There is no such warning.")
		return
	case err != nil:
		s.broken(w, r, err)
		return
	}
	s.fleet.Forget()
	http.Redirect(w, r, signin.Within(r.PostFormValue("to"))+"#warning-"+strconv.FormatInt(id, 10), http.StatusSeeOther)
}
