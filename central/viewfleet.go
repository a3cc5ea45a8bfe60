package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Viewer looks at the fleet and changes nothing: at the store, for who operates the
// centre on its machine, or by the centre, for who shows it an operator's
// certificate from another.
type Viewer struct {
	with func(ctx context.Context, do func(sight) error) error
}

// sight is what a viewer sees.
type sight struct {
	overview func(ctx context.Context) (fleet.Overview, error)

	// warnings are those that are open or have closed since, the latest first: about
	// an agent, or where that is empty about everybody; at most limit, or 0 for all.
	warnings func(ctx context.Context, since time.Time, agent string, limit int) ([]store.FleetWarning, error)
}

// Viewer looks at the store.
func (o Operator) Viewer() Viewer {
	return Viewer{func(ctx context.Context, do func(sight) error) error {
		return o.with(ctx, func(s store.Store, _ audit.Who) error {
			return do(sight{
				func(ctx context.Context) (fleet.Overview, error) { return fleet.Look(ctx, s, time.Now()) },
				func(ctx context.Context, since time.Time, agent string, limit int) ([]store.FleetWarning, error) {
					which := store.WarningFilter{Since: since, Limit: limit}
					if agent != "" {
						which.Subject = store.Subject{Kind: store.AboutAgent, Name: agent}
					}
					return s.FleetWarnings(ctx, which)
				},
			})
		})
	}}
}

// Viewer asks the centre, with an operator's certificate.
func (c Caller) Viewer() Viewer {
	return Viewer{func(ctx context.Context, do func(sight) error) error {
		centre, err := c.dialAs(identity.Operator)
		if err != nil {
			return err
		}
		defer func() { _ = centre.Close() }()
		return do(sight{
			func(ctx context.Context) (o fleet.Overview, err error) {
				err = centre.Overview(ctx, func(kind string, text []byte) error {
					switch kind {
					case "overview":
						err := json.Unmarshal(text, &o)
						o.Agents, o.Sites, o.Authorities = []fleet.Agent{}, []fleet.Site{}, []fleet.Authority{}
						return err
					case "agent":
						return add(&o.Agents, text)
					case "site":
						return add(&o.Sites, text)
					case "authority":
						return add(&o.Authorities, text)
					}
					return nil // a newer centre shows more
				})
				return o, err
			},
			func(ctx context.Context, since time.Time, agent string, limit int) (list []store.FleetWarning, err error) {
				err = centre.Warnings(ctx, since, agent, limit, func(_ string, text []byte) error { return add(&list, text) })
				return list, err
			},
		})
	}}
}

func add[T any](list *[]T, text []byte) error {
	var one T
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*list = append(*list, one)
	return nil
}

// ListFleet writes how the sites, agents and local authorities are, what needs a
// person first; of the sites those that have the words in their name or codes. The
// severity is that of the worst that is open.
func (v Viewer) ListFleet(ctx context.Context, words string, asJSON bool, out io.Writer) (worst safeguard.Severity, err error) {
	err = v.with(ctx, func(s sight) error {
		all, err := s.overview(ctx)
		if err != nil {
			return err
		}
		all.Sites = all.Find(words)
		worst = worstOf(all)
		if asJSON {
			return writeJSON(out, all)
		}
		return writeFleet(out, all, words == "")
	})
	return worst, err
}

func worstOf(o fleet.Overview) (worst safeguard.Severity) {
	for _, s := range o.Sites {
		worst = max(worst, s.Severity)
	}
	for _, a := range o.Agents {
		worst = max(worst, a.Severity)
	}
	for _, a := range o.Authorities {
		worst = max(worst, a.Severity)
	}
	return worst
}

func writeFleet(out io.Writer, o fleet.Overview, authorities bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SITE\tSTAGE\tSTATE\tSINCE\tWARNING\tNAME")
	for _, s := range o.Sites {
		fmt.Fprintf(w, "%s %s\t%s\t%s\t%s\t%s\t%s\n", s.Organisation, s.Code, s.Stage, s.State, ago(o.At, s.Since), first(s.Condition), s.Name)
	}
	if authorities {
		fmt.Fprintln(w, "\t\t\t\t\t")
		fmt.Fprintln(w, "AUTHORITY\tSTAGE\tUPLOADED\t\tWARNING\tNAME")
		for _, a := range o.Authorities {
			fmt.Fprintf(w, "%s\t%s\t%s\t\t%s\t%s\n", a.Code, a.Stage, ago(o.At, a.Uploaded), first(a.Condition), a.Name)
		}
	}
	return w.Flush()
}

// first is the worst warning, and how many more there are.
func first(c fleet.Condition) string {
	if len(c.Warnings) == 0 {
		return "-"
	}
	w := c.Warnings[0]
	text := fmt.Sprintf("%s %s", c.Severity, w.Code)
	if w.Part != "" {
		text += " " + w.Part
	}
	if more := len(c.Warnings) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if !c.Unacknowledged() {
		text += ", acknowledged"
	}
	return text
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(0, now.Sub(t))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// ShowFleet writes all of one agent, such as RX1/a1, or of a site's agents, RX1/RX101,
// with the warnings of the last days.
func (v Viewer) ShowFleet(ctx context.Context, name string, asJSON bool, out io.Writer) error {
	return v.with(ctx, func(s sight) error {
		all, err := s.overview(ctx)
		if err != nil {
			return err
		}
		wanted := map[string]bool{name: true}
		for _, site := range all.Sites {
			if strings.EqualFold(site.Organisation.String()+"/"+site.Code.String(), name) {
				for _, a := range site.Agents {
					wanted[a.String()] = true
				}
			}
		}
		var shown []shownAgent
		for _, a := range all.Agents {
			if !wanted[a.Key.String()] {
				continue
			}
			past, err := s.warnings(ctx, all.At.Add(-7*24*time.Hour), a.Key.String(), 100)
			if err != nil {
				return err
			}
			shown = append(shown, shownAgent{a, past})
		}
		if len(shown) == 0 {
			return fmt.Errorf("%q: no agent of that name was heard from, want one such as RX1/a1, or a site such as RX1/RX101", name)
		}
		if asJSON {
			return writeJSON(out, shown)
		}
		for _, a := range shown {
			if err := a.write(out, all.At); err != nil {
				return err
			}
		}
		return nil
	})
}

type shownAgent struct {
	fleet.Agent
	Week []store.FleetWarning `json:"week"` // warnings that were open in it
}

func (a shownAgent) write(out io.Writer, now time.Time) error {
	h := a.Report
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, values ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	line("agent", "%s (%s)", a.Key, h.Device)
	line("state", "%s for %s, heard %s ago", a.State, ago(now, a.Since), ago(now, a.Heard))
	line("version", "%s, started %s ago%s", h.Version, ago(now, h.Started), wants(a.WantVersion, h.Version))
	line("configuration", "%.12s%s", h.Config, wants(a.WantConfig, h.Config))
	for _, f := range h.Feeds {
		line("feed "+f.Name, "last message %s ago, %d in the last hour, %d errors, %d connections", ago(now, f.LastMessage), f.LastHour, f.HourErrors, f.Connections)
	}
	intake := "open"
	if h.Journal.Stopped != "" {
		intake = "stopped: " + h.Journal.Stopped
	}
	line("journal", "%s, %s waiting, %d set aside", intake, queue(now, h.Journal.Waiting), h.Journal.SetAside)
	for _, s := range h.Sinks {
		state := "answers"
		switch {
		case !s.Live:
			state = "observes"
		case !s.DownSince.IsZero():
			state = "down for " + ago(now, s.DownSince)
		}
		if s.Error != "" {
			state += " (" + s.Error + ")"
		}
		if !s.Took.IsZero() {
			state += ", took an alert " + ago(now, s.Took) + " ago"
		}
		line("sink "+s.Name, "%s, %s, %s waiting, %d delivered", s.Carrier, state, queue(now, s.Waiting), s.Delivered)
	}
	line("owed", "%s lookups, %s corrections", queue(now, h.Lookups), queue(now, h.Corrections))
	line("attendances", "%d in %v, %d not completed, %d without a number; %s still unknown", h.Attendances.Begun, h.Attendances.Window, h.Attendances.NotCompleted, h.Attendances.NoNumber, queue(now, h.Attendances.Unknown))
	line("cache", "%s, %d answers, the newest %s old", h.Cache.State, h.Cache.Entries, ago(now, h.Cache.Newest))
	line("certificate", "until %s", h.Certificate.Until.UTC().Format("2006-01-02 15:04 UTC"))
	line("clock", "%v off, round trip %v", h.Clock.Offset.Round(time.Millisecond), h.Centre.Latency.Round(time.Millisecond))
	line("disk", "%d MB free, a small write takes %v", h.Disk.Free>>20, h.Disk.Sync.Round(100*time.Microsecond))
	for _, v := range a.Week {
		state := "open"
		switch {
		case !v.Closed.IsZero():
			state = "closed " + ago(now, v.Closed) + " ago"
		case !v.Acknowledged.IsZero():
			state = "open, taken on by " + v.AcknowledgedBy
		}
		line(fmt.Sprintf("warning %d", v.ID), "%s, since %s ago, %s: %s", v.Code.Declared().Severity, ago(now, v.Since), state, v.Sentence())
		if v.Closed.IsZero() {
			line("", "%s See %s", v.Remedy(), v.Code.Declared().Runbook())
		}
		for _, n := range v.Notes {
			line("", "%s, %s: %s", n.At.Local().Format("2006-01-02 15:04"), n.By, n.Text)
		}
	}
	return w.Flush()
}

func wants(want, have string) string {
	if want == "" || want == have {
		return ""
	}
	return fmt.Sprintf(", want %.12s", want)
}

func queue(now time.Time, q safeguard.Queue) string {
	if q.Length == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (oldest %s)", q.Length, ago(now, q.Oldest))
}

// WatchFleet writes what opens and closes, a line each, until ctx ends. Once it has
// begun, a centre that does not answer is asked again, and that is said once.
func (v Viewer) WatchFleet(ctx context.Context, asJSON bool, every time.Duration, out, problems io.Writer) error {
	return v.with(ctx, func(s sight) error {
		shown := map[int64]bool{} // open
		since := time.Now()
		begun, away := false, false
		for {
			now := time.Now()
			list, err := s.warnings(ctx, since.Add(-time.Minute), "", 0)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil && (!begun || !errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrCertificate)):
				return err
			case (err != nil) != away:
				if away = err != nil; away {
					fmt.Fprintln(problems, err, "(asking again)")
				} else {
					fmt.Fprintln(problems, "the centre answers again")
				}
			}
			if begun = true; err == nil {
				since = now
			}
			for _, w := range slices.Backward(list) {
				open := w.Closed.IsZero()
				if shown[w.ID] == open {
					continue
				}
				shown[w.ID] = open
				if err := writeEvent(out, w, asJSON); err != nil {
					return err
				}
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
				return nil
			}
		}
	})
}

func writeEvent(out io.Writer, w store.FleetWarning, asJSON bool) error {
	if asJSON {
		return writeJSONLine(out, w)
	}
	at, what := w.Opened, w.Code.Declared().Severity.String()
	if !w.Closed.IsZero() {
		at, what = w.Closed, "closed"
	}
	_, err := fmt.Fprintf(out, "%s  %-9s  %d  %s: %s\n", at.Local().Format("2006-01-02 15:04:05"), what, w.ID, w.Subject, w.Sentence())
	return err
}
