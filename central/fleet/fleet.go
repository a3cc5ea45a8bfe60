// Package fleet tells central operations how the agents, the sites and the local
// authorities are: what is missing is found from what is kept of them, opened as a
// warning once, and closed when it is there again. Nothing in it is about a
// patient.
package fleet

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Source is what an overview is made from.
type Source interface {
	FleetAgents(ctx context.Context, since time.Time) ([]store.FleetAgent, error)
	FleetWarnings(ctx context.Context, which store.WarningFilter) ([]store.FleetWarning, error)
	Directory(ctx context.Context, known int64) (store.Directory, error)
	Uploaded(ctx context.Context) (map[safeguard.ODSCode]time.Time, error)
}

// Overview is the fleet at a moment. What needs a person first comes first.
type Overview struct {
	At          time.Time   `json:"at"`
	Agents      []Agent     `json:"agents"`
	Sites       []Site      `json:"sites"`
	Authorities []Authority `json:"authorities"`
}

// State is how an agent or a site is, as the centre sees it: one of the states of
// an agent, or one of those that only the centre knows.
type State string

// The states that only the centre knows.
const (
	Silent     State = "silent"     // it has not been heard from for longer than it may
	Unattended State = "unattended" // of a site: no agent of its organisation was ever heard from
)

// Condition is a state, since when, and what is open.
type Condition struct {
	State    State                `json:"state"`
	Since    time.Time            `json:"since,omitzero"`
	Severity safeguard.Severity   `json:"severity"` // of the worst warning that is open
	Warnings []store.FleetWarning `json:"warnings"` // open ones, the worst first
}

// Unacknowledged tells whether something is open that nobody has taken on.
func (c Condition) Unacknowledged() bool {
	return slices.ContainsFunc(c.Warnings, func(w store.FleetWarning) bool { return w.Acknowledged.IsZero() })
}

// Agent is one agent.
type Agent struct {
	Key              store.AgentKey `json:"agent"`
	OrganisationName string         `json:"organisation_name,omitempty"`
	Condition
	FirstHeard  time.Time           `json:"first_heard"`
	Heard       time.Time           `json:"heard"`
	WantVersion string              `json:"want_version,omitempty"`
	WantConfig  string              `json:"want_config,omitempty"`
	Report      safeguard.Heartbeat `json:"report"`
}

// Site is one site, and the agents of its organisation.
type Site struct {
	Organisation     safeguard.ODSCode `json:"organisation"`
	OrganisationName string            `json:"organisation_name,omitempty"`
	Code             safeguard.ODSCode `json:"site"`
	Name             string            `json:"name"`
	Region           string            `json:"region,omitempty"`
	Stage            store.Stage       `json:"stage"`
	Condition
	Agents []store.AgentKey `json:"agents"`
}

// Authority is one local authority.
type Authority struct {
	Code  safeguard.ODSCode `json:"code"`
	Name  string            `json:"name"`
	Stage store.Stage       `json:"stage"`
	Condition
	Uploaded time.Time `json:"uploaded,omitzero"` // its last upload; zero for never
}

// Look makes an overview of all that takes part.
func Look(ctx context.Context, s Source, now time.Time) (Overview, error) {
	out := Overview{At: now}
	agents, err := s.FleetAgents(ctx, time.Time{})
	if err != nil {
		return out, err
	}
	open, err := s.FleetWarnings(ctx, store.WarningFilter{Open: true})
	if err != nil {
		return out, err
	}
	directory, err := s.Directory(ctx, 0)
	if err != nil {
		return out, err
	}
	uploaded, err := s.Uploaded(ctx)
	if err != nil {
		return out, err
	}
	warnings := map[store.Subject][]store.FleetWarning{}
	for _, w := range open {
		warnings[w.Subject] = append(warnings[w.Subject], w)
	}
	names := map[safeguard.ODSCode]string{}
	for _, site := range directory.Sites {
		names[site.Organisation] = site.OrganisationName
	}
	of := map[safeguard.ODSCode][]Agent{}
	for _, a := range agents {
		agent := Agent{Key: a.Key, OrganisationName: names[a.Key.Organisation], FirstHeard: a.FirstHeard, Heard: a.Heard, WantVersion: a.WantVersion, WantConfig: a.WantConfig, Report: a.Report}
		agent.Condition = condition(warnings[aboutAgent(a.Key)])
		agent.State, agent.Since = stateOf(a, agent.Condition, now)
		out.Agents, of[a.Key.Organisation] = append(out.Agents, agent), append(of[a.Key.Organisation], agent)
	}
	for _, s := range directory.Sites {
		out.Sites = append(out.Sites, siteOf(s, of[s.Organisation], warnings[aboutSite(s)]))
	}
	for _, a := range directory.Authorities {
		out.Authorities = append(out.Authorities, Authority{Code: a.Code, Name: a.Name, Stage: a.Stage, Condition: condition(warnings[aboutAuthority(a.Code)]), Uploaded: uploaded[a.Code]})
	}
	slices.SortStableFunc(out.Agents, func(a, b Agent) int { return before(a.Condition, b.Condition) })
	slices.SortStableFunc(out.Sites, func(a, b Site) int { return before(a.Condition, b.Condition) })
	slices.SortStableFunc(out.Authorities, func(a, b Authority) int { return before(a.Condition, b.Condition) })
	return out, nil
}

// before puts first what needs a person first: what nobody has taken on yet, the
// worst of it, the longest.
func before(a, b Condition) int {
	rank := func(c Condition) int {
		r := 2 * int(c.Severity)
		if c.Unacknowledged() {
			r++
		}
		return r
	}
	if d := rank(b) - rank(a); d != 0 {
		return d
	}
	if len(a.Warnings) > 0 && len(b.Warnings) > 0 {
		return a.Warnings[0].Since.Compare(b.Warnings[0].Since)
	}
	return 0
}

func condition(open []store.FleetWarning) Condition {
	c := Condition{Warnings: slices.Clone(open)}
	if c.Warnings == nil {
		c.Warnings = []store.FleetWarning{}
	}
	slices.SortStableFunc(c.Warnings, func(a, b store.FleetWarning) int {
		if d := b.Code.Declared().Severity - a.Code.Declared().Severity; d != 0 {
			return int(d)
		}
		return a.Since.Compare(b.Since)
	})
	for _, w := range open {
		c.Severity = max(c.Severity, w.Code.Declared().Severity)
	}
	return c
}

// stateOf is the agent's own word, unless it has not given one for too long.
func stateOf(a store.FleetAgent, c Condition, now time.Time) (State, time.Time) {
	if now.Sub(a.Heard) > silence && a.Report.State != safeguard.Stopping {
		return Silent, a.Heard
	}
	return State(a.Report.State.String()), a.Report.Since
}

// siteOf is a site as its organisation's agents are: the worst of them.
func siteOf(s store.Site, agents []Agent, own []store.FleetWarning) Site {
	out := Site{Organisation: s.Organisation, OrganisationName: s.OrganisationName, Code: s.Code, Name: s.Name, Region: s.Region, Stage: s.Stage, Agents: []store.AgentKey{}}
	all := slices.Clone(own)
	out.State = Unattended
	for i, a := range agents {
		all = append(all, a.Warnings...)
		out.Agents = append(out.Agents, a.Key)
		if i == 0 || worse(a.State, out.State) {
			out.State, out.Since = a.State, a.Since
		}
	}
	c := condition(all)
	out.Severity, out.Warnings = c.Severity, c.Warnings
	return out
}

// byBadness are the states from the best on.
var byBadness = []State{"working", "starting", "unknown", Unattended, "degraded", "stopping", "failing", Silent}

func worse(a, b State) bool { return slices.Index(byBadness, a) > slices.Index(byBadness, b) }

// Find gives the sites that have the words in their name, code, region or organisation.
func (o Overview) Find(words string) []Site {
	words = strings.ToLower(strings.TrimSpace(words))
	return slices.DeleteFunc(slices.Clone(o.Sites), func(s Site) bool {
		return !strings.Contains(strings.ToLower(s.Name+" "+s.Region+" "+s.OrganisationName+" "+s.Code.String()+" "+s.Organisation.String()), words)
	})
}

func aboutAgent(k store.AgentKey) store.Subject {
	return store.Subject{Kind: store.AboutAgent, Name: k.String()}
}

func aboutSite(s store.Site) store.Subject {
	return store.Subject{Kind: store.AboutSite, Name: s.Organisation.String() + "/" + s.Code.String()}
}

func aboutAuthority(code safeguard.ODSCode) store.Subject {
	return store.Subject{Kind: store.AboutAuthority, Name: code.String()}
}
