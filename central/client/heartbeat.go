package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

// Heartbeat reports how the agent is, with the periods that the centre does not
// have yet. A *Refused error says that this heartbeat will not be taken; any other
// is worth another heartbeat, of a sequence of its own.
func (c *Client) Heartbeat(ctx context.Context, h safeguard.Heartbeat, periods []safeguard.Period) (safeguard.HeartbeatReply, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
	}
	response, err := c.fleet.Heartbeat(ctx, heartbeat(h, periods))
	if err != nil {
		return safeguard.HeartbeatReply{}, fmt.Errorf("heartbeat: %w", problem(ctx, err))
	}
	reply := safeguard.HeartbeatReply{At: timeOf(response.GetAt()), Version: response.GetVersion(), Kept: timeOf(response.GetKept()), Commands: response.GetCommands()}
	if d := response.GetConfigDigest(); len(d) > 0 {
		reply.Config = hex.EncodeToString(d)
	}
	return reply, nil
}

func heartbeat(h safeguard.Heartbeat, periods []safeguard.Period) *flagpb.HeartbeatRequest {
	ago := func(t time.Time) uint32 {
		if t.IsZero() {
			return 0
		}
		return seconds(h.At.Sub(t)) + 1
	}
	queue := func(q safeguard.Queue) *flagpb.Queue {
		if q.Length == 0 {
			return nil
		}
		return &flagpb.Queue{Length: natural(q.Length), Age: ago(q.Oldest)}
	}
	digest, _ := hex.DecodeString(h.Config)
	j, a := h.Journal, h.Attendances
	out := &flagpb.HeartbeatRequest{
		Boot: h.Boot, Sequence: h.Sequence, WrittenAt: moment(h.At), State: flagpb.AgentState(h.State), StateAge: ago(h.Since),
		Device: h.Device, Version: h.Version, ConfigDigest: digest, StartedAge: ago(h.Started),
		Journal: &flagpb.JournalHealth{
			Stopped: j.Stopped, StoppedAge: ago(j.Since), Waiting: queue(j.Waiting), SetAside: natural(j.SetAside), Late: natural(j.Late),
			Size: uint64(max(0, j.Size)), Lost: natural(j.Lost),
		},
		Lookups: queue(h.Lookups), Corrections: queue(h.Corrections),
		UnreachableAge: ago(h.Centre.Since), LatencyMicros: micros(h.Centre.Latency),
		Cache:             &flagpb.CacheHealth{State: h.Cache.State, Entries: natural(h.Cache.Entries), OldestAge: ago(h.Cache.Oldest), NewestAge: ago(h.Cache.Newest)},
		CertificateFrom:   moment(h.Certificate.From),
		CertificateUntil:  moment(h.Certificate.Until),
		ClockOffsetMicros: h.Clock.Offset.Microseconds(), ClockWithinMicros: micros(h.Clock.Within), ClockAge: ago(h.Clock.Measured),
		DiskFree: h.Disk.Free, DiskFloor: h.Disk.Floor, DiskSyncMicros: micros(h.Disk.Sync),
		Attendances: &flagpb.AttendanceHealth{
			Window: seconds(a.Window), Begun: natural(a.Begun), NotCompleted: natural(a.NotCompleted), NoNumber: natural(a.NoNumber),
			Unknown: queue(a.Unknown), Unanswered: natural(a.Unanswered),
		},
	}
	for _, f := range h.Feeds {
		out.Feeds = append(out.Feeds, &flagpb.FeedHealth{
			Name: f.Name, Transport: f.Transport, Connections: natural(f.Connections), LastAge: ago(f.LastMessage), Messages: f.Messages,
			Errors: f.Errors, LastHour: natural(f.LastHour), HourErrors: natural(f.HourErrors), HeldAge: ago(f.HeldSince), Fault: f.Fault,
		})
	}
	for _, s := range h.Sinks {
		out.Sinks = append(out.Sinks, &flagpb.SinkHealth{
			Name: s.Name, Live: s.Live, Waiting: queue(s.Waiting), DownAge: ago(s.DownSince), AnsweredAge: ago(s.Answered),
			Delivered: natural(s.Delivered), Refused: natural(s.Refused), Failed: natural(s.Failed), Carrier: s.Carrier, TookAge: ago(s.Took), Error: s.Error,
		})
	}
	out.Failing = h.Failing[:min(len(h.Failing), maxFailing)]
	for _, w := range h.Warnings {
		out.Warnings = append(out.Warnings, &flagpb.Warning{Code: string(w.Code), Part: w.Part, Age: ago(w.Since), Detail: w.Detail})
	}
	for _, p := range periods {
		out.Periods = append(out.Periods, period(p))
	}
	return out
}

const maxFailing = 100

func period(p safeguard.Period) *flagpb.Period {
	out := &flagpb.Period{
		Start: moment(p.Start), Length: seconds(p.Length), State: flagpb.AgentState(p.State), Severity: natural(int(p.Severity)),
		Waiting: natural(p.Waiting), Oldest: seconds(p.Oldest), Undelivered: natural(p.Undelivered), Lookups: natural(p.Lookups),
		LatencyMicros: micros(p.Latency), Delivered: natural(p.Delivered), Begun: natural(p.Begun), NotCompleted: natural(p.NotCompleted), NoNumber: natural(p.NoNumber),
	}
	for _, f := range p.Feeds {
		out.Feeds = append(out.Feeds, &flagpb.FeedPeriod{Name: f.Name, Messages: natural(f.Messages), Errors: natural(f.Errors)})
	}
	return out
}

// natural, seconds and micros are what the wire has room for.
func natural(n int) uint32 { return uint32(min(max(n, 0), math.MaxUint32-1)) }

func seconds(d time.Duration) uint32 { return natural(int(d / time.Second)) }

func micros(d time.Duration) uint32 { return natural(int(d.Microseconds())) }
