package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard/agent"
)

type feedCounters struct {
	running
}

// exitHeld says that a feed is on hold, or does not listen, so that a script can tell.
const exitHeld = 5

func (c feedCounters) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	p := feedPrinter{printer: printer{out: os.Stdout, json: c.JSON}}
	err = operated(config, "feeds", nil, p.take)
	p.flush()
	if err == nil && p.held {
		os.Exit(exitHeld)
	}
	return err
}

// feedPrinter prints the feeds' reports as they come.
type feedPrinter struct {
	printer
	held bool
}

func (p *feedPrinter) take(raw json.RawMessage) error {
	var r agent.FeedReport
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	state := "taking"
	if !r.HeldSince.IsZero() {
		p.held = true
		state = fmt.Sprintf("on hold since %s, %d waiting", clock(r.HeldSince), r.Waiting)
	}
	if r.Fault != "" {
		p.held, state = true, "NOT LISTENING: "+r.Fault
	}
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", raw)
		return err
	}
	n := func(v uint64) string { return fmt.Sprint(v) }
	return p.columns("FEED TRANSPORT OPEN LAST-MESSAGE FRAMES BYTES ACCEPTED REJECTED POSTPONED UNREADABLE NOT-ADT ACKNOWLEDGED FRAMING-ERRORS REFUSED DENIED PROBES STATE",
		r.Name, r.Transport, fmt.Sprint(r.Open), clock(r.LastMessage), n(r.Frames), n(r.Bytes), n(r.Accepted), n(r.Rejected), n(r.Postponed), n(r.Unreadable), n(r.Other),
		byKind(r.Acknowledged), byKind(r.Framing), n(r.Refused), n(r.Denied), n(r.Probes), state)
}

// byKind writes counts as in AA 12, AE 1.
func byKind[K cmp.Ordered](counts map[K]uint64) string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%v %d", kind, counts[kind]))
	}
	return strings.Join(out, ", ")
}
