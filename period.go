package safeguard

import (
	"slices"
	"strings"
	"time"
)

// Period is what an agent saw in a stretch of time: one column of a chart.
type Period struct {
	Start  time.Time     `json:"start"`
	Length time.Duration `json:"length_ns"`

	State        AgentState    `json:"state"`             // the worst
	Severity     Severity      `json:"severity,omitzero"` // of the worst warning that was open
	Feeds        []FeedPeriod  `json:"feeds,omitempty"`
	Waiting      int           `json:"waiting,omitzero"`     // messages, at most
	Oldest       time.Duration `json:"oldest_ns,omitzero"`   // that one of them had waited, at most
	Undelivered  int           `json:"undelivered,omitzero"` // alerts, at most
	Lookups      int           `json:"lookups,omitzero"`     // owed, at most
	Latency      time.Duration `json:"latency_ns,omitzero"`  // of the centre, at most
	Delivered    int           `json:"delivered,omitzero"`
	Begun        int           `json:"begun,omitzero"` // as in AttendanceHealth
	NotCompleted int           `json:"not_completed,omitzero"`
	NoNumber     int           `json:"no_number,omitzero"`
}

// FeedPeriod is what one feed brought.
type FeedPeriod struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"`
	Errors   int    `json:"errors"`
}

// Feed is what the named feed brought; nothing where it is not among them.
func (p Period) Feed(name string) FeedPeriod {
	for _, f := range p.Feeds {
		if f.Name == name {
			return f
		}
	}
	return FeedPeriod{Name: name}
}

// With is both as one: what is counted added, of all else the worst. Start and
// Length stay those of p.
func (p Period) With(q Period) Period {
	p.State, p.Severity = max(p.State, q.State), max(p.Severity, q.Severity)
	p.Waiting, p.Oldest = max(p.Waiting, q.Waiting), max(p.Oldest, q.Oldest)
	p.Undelivered, p.Lookups, p.Latency = max(p.Undelivered, q.Undelivered), max(p.Lookups, q.Lookups), max(p.Latency, q.Latency)
	p.Delivered += q.Delivered
	p.Begun, p.NotCompleted, p.NoNumber = p.Begun+q.Begun, p.NotCompleted+q.NotCompleted, p.NoNumber+q.NoNumber
	p.Feeds = slices.Clone(p.Feeds)
	for _, f := range q.Feeds {
		i := slices.IndexFunc(p.Feeds, func(g FeedPeriod) bool { return g.Name == f.Name })
		if i < 0 {
			p.Feeds = append(p.Feeds, f)
			continue
		}
		p.Feeds[i].Messages += f.Messages
		p.Feeds[i].Errors += f.Errors
	}
	slices.SortFunc(p.Feeds, func(a, b FeedPeriod) int { return strings.Compare(a.Name, b.Name) })
	return p
}
