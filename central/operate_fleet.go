package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

// ListFleet writes how the sites, agents and local authorities are, what needs a
// person first; of the sites those that have the words in their name or codes. The
// severity is that of the worst that is open.
func (o Operator) ListFleet(ctx context.Context, words string, asJSON bool, out io.Writer) (worst safeguard.Severity, err error) {
	err = o.with(ctx, func(s store.Store, _ audit.Who) error {
		all, err := fleet.Look(ctx, s, time.Now())
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
func (o Operator) ShowFleet(ctx context.Context, name string, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		all, err := fleet.Look(ctx, s, time.Now())
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
			past, err := s.FleetWarnings(ctx, store.WarningFilter{Subject: store.Subject{Kind: store.AboutAgent, Name: a.Key.String()}, Since: all.At.Add(-7 * 24 * time.Hour), Limit: 100})
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

// WatchFleet writes what opens and closes, a line each, until ctx ends.
func (o Operator) WatchFleet(ctx context.Context, asJSON bool, every time.Duration, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		shown := map[int64]bool{} // open
		since := time.Now()
		for {
			list, err := s.FleetWarnings(ctx, store.WarningFilter{Since: since.Add(-time.Minute)})
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			for i := len(list) - 1; i >= 0; i-- {
				w := list[i]
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

// Acknowledge says that the operator has taken a warning on.
func (o Operator) Acknowledge(ctx context.Context, id int64, note string, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.AcknowledgeWarning(ctx, id, by); err != nil {
			return noWarning(err, id)
		}
		if note != "" {
			if err := s.NoteWarning(ctx, id, note, by); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(out, "warning %d: taken on by %s\n", id, by.Caller)
		return err
	})
}

// Note keeps what the operator says of a warning.
func (o Operator) Note(ctx context.Context, id int64, text string, out io.Writer) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("note: empty, want what is to be remembered; it names no patient")
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.NoteWarning(ctx, id, text, by); err != nil {
			return noWarning(err, id)
		}
		_, err := fmt.Fprintf(out, "warning %d: noted\n", id)
		return err
	})
}

func noWarning(err error, id int64) error {
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("warning %d: there is none, want a number that fleet show or watch gives", id)
	}
	return err
}

// Intend says which version and configuration an agent is to have; current stands
// for what it has.
func (o Operator) Intend(ctx context.Context, agent, version, config string, out io.Writer) error {
	key, err := store.ParseAgentKey(agent)
	if err != nil {
		return err
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		all, err := s.FleetAgents(ctx, time.Time{})
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.Key != key {
				continue
			}
			if version == "current" {
				version = a.Report.Version
			}
			if config == "current" {
				config = a.Report.Config
			}
		}
		if len(config) != 64 && config != "" || strings.Trim(config, "0123456789abcdef") != "" {
			return fmt.Errorf("configuration digest %.20q: want the 64 digits that sha256sum gives, or current", config)
		}
		if err := s.Intend(ctx, key, version, config, by); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: version %s, configuration %s\n", key, orAny(version), orAny(config))
		return err
	})
}

// Forget removes what is known of an agent that is no more.
func (o Operator) Forget(ctx context.Context, agent string, out io.Writer) error {
	key, err := store.ParseAgentKey(agent)
	if err != nil {
		return err
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.Forget(ctx, key, by); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s: forgotten; its warnings close within minutes, and should it be heard from again it is there again\n", key)
		return err
	})
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}
