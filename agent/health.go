package agent

import (
	"context"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/lookup"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
	"github.com/safeguard-edge/safeguard/agent/status"
	"github.com/safeguard-edge/safeguard/cache"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/holidays"
)

// parts are those that the report on the agent is gathered from.
type parts struct {
	config   Config
	feeds    *liveFeeds
	pipeline *pipeline.Pipeline
	sinks    *liveSinks
	lookup   *lookup.Lookup
	cache    *cache.Cache
	own      *identity.Own
	settings *live
}

// reportOn says which agent it is, and where its last day is kept.
func (c Config) reportOn(zone *time.Location) status.Agent {
	limits := safeguard.DefaultLimits()
	limits.Holiday = holidays.England
	return status.Agent{Device: c.Device, Version: c.Version, Config: c.Digest, Zone: zone, Limits: limits, File: dayFile(c.Data)}
}

func dayFile(data string) string { return filepath.Join(data, "status", "day.json") }

func (p parts) sources() status.Sources {
	return status.Sources{
		Feeds: p.feedHealth, Journal: p.journalHealth, Sinks: p.sinkHealth, Unreachable: p.lookup.Degraded,
		Cache: p.cacheHealth, Certificate: p.certificateHealth, Failing: p.settings.failing,
	}
}

func (p parts) feedHealth() []safeguard.FeedHealth {
	reports := p.feeds.reports()
	out := make([]safeguard.FeedHealth, len(reports))
	for i, s := range reports {
		out[i] = safeguard.FeedHealth{
			Name: s.Name, Transport: s.Transport, Connections: s.Open, LastMessage: s.LastMessage,
			Messages: s.Frames, Errors: s.Unreadable + s.Rejected, HeldSince: s.HeldSince, Fault: s.Fault,
		}
		for _, n := range s.Framing {
			out[i].Errors += n
		}
	}
	return out
}

func (p parts) feedStats() map[string]feed.Stats {
	all := map[string]feed.Stats{}
	for _, r := range p.feeds.reports() {
		all[r.Name] = r.Stats
	}
	return all
}

func (p parts) journalHealth(ctx context.Context) (status.Journal, error) {
	s, err := p.pipeline.Stats(ctx)
	if err != nil {
		return status.Journal{}, err
	}
	out := status.Journal{
		JournalHealth: safeguard.JournalHealth{
			Waiting: safeguard.Queue(s.Now.Messages), SetAside: s.Now.SetAside, Late: s.Now.Late, Size: s.Kept.Size, Lost: s.Kept.Lost,
		},
		Alerts:  map[string]safeguard.Queue{},
		Lookups: safeguard.Queue(s.Now.Lookups), Corrections: safeguard.Queue(s.Now.Corrections), Unknown: safeguard.Queue(s.Now.Unknown),
		Free: s.Kept.Free, Floor: uint64(p.config.Journal.MinFreeMB) << 20,
		Begun: s.Since.Registered - s.Since.NotEligible, NotCompleted: s.Since.Unknown - s.Since.NoNumber, NoNumber: s.Since.NoNumber,
		Unanswered: s.Since.Unanswered,
	}
	for sink, q := range s.Now.Alerts {
		out.Alerts[sink] = safeguard.Queue(q)
	}
	if f := s.Kept.Fault; f != nil {
		out.Stopped, out.Since = f.Kind.String(), f.Since
	}
	return out, nil
}

func (p parts) sinkHealth() []safeguard.SinkHealth {
	sinks := p.sinks.now()
	out := make([]safeguard.SinkHealth, len(sinks))
	for i, g := range sinks {
		s := g.State()
		out[i] = safeguard.SinkHealth{
			Name: s.Name, Carrier: s.Carrier, Live: s.Live, DownSince: s.Down, Answered: s.Answered, Took: s.Took, Error: s.Error,
			Delivered: s.Delivered, Refused: s.Refused, Failed: s.Failed,
		}
	}
	return out
}

// The cache's states in the words of the report.
var cacheStates = map[cache.State]string{
	cache.Off: safeguard.CacheOff, cache.Ready: safeguard.CacheReady, cache.ReadOnly: safeguard.CacheReadOnly, cache.Unavailable: safeguard.CacheAway,
}

func (p parts) cacheHealth() safeguard.CacheHealth {
	s := p.cache.Stats()
	return safeguard.CacheHealth{State: cacheStates[s.State], Why: s.Why, Entries: s.Entries, Oldest: s.Oldest, Newest: s.Newest}
}

// certificateHealth reads the certificate that the next connection will have.
func (p parts) certificateHealth() (safeguard.CertificateHealth, error) {
	leaf := p.own.Leaf()
	return safeguard.CertificateHealth{From: leaf.NotBefore, Until: leaf.NotAfter}, nil
}
