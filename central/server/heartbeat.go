package server

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// fleet is the service of that name.
type fleet struct {
	flagpb.UnimplementedFleetServer
	*Server
}

// Limits of a heartbeat.
const (
	maxWord     = 64
	maxWords    = 200
	maxParts    = 100 // feeds, sinks, periods
	maxWarnings = 300
	maxBeats    = 200 // that are taken together
	oldest      = 25 * time.Hour
	ahead       = 10 * time.Minute
)

// Heartbeat takes a heartbeat. Its times count from when it was received: the
// agent's clock may be anything.
func (s fleet) Heartbeat(ctx context.Context, r *flagpb.HeartbeatRequest) (*flagpb.HeartbeatResponse, error) {
	received := time.Now()
	who, err := caller(ctx, identity.Agent)
	if err != nil {
		return nil, err
	}
	if !s.directory.organisation(who.Code) {
		return nil, status.Errorf(codes.PermissionDenied, "no site of organisation %s is registered", who.Code)
	}
	switch {
	case r.GetBoot() == "" || len(r.GetBoot()) > maxWord || r.GetSequence() == 0 || r.GetSequence() > 1<<62:
		return nil, status.Error(codes.InvalidArgument, "boot and sequence: want the run of the agent, in at most 64 characters, and a number from 1")
	case len(r.GetFeeds()) > maxParts || len(r.GetSinks()) > maxParts || len(r.GetPeriods()) > maxParts || len(r.GetFailing()) > maxParts || len(r.GetWarnings()) > maxWarnings:
		return nil, status.Error(codes.InvalidArgument, "too many feeds, sinks, periods or warnings: want at most 100 of each, and 300 warnings")
	}
	beat := store.Beat{Agent: store.AgentKey{Organisation: who.Code, ID: who.ID}, Received: received, Report: reportOf(r, received)}
	for _, p := range r.GetPeriods() {
		if q, ok := periodOf(p, received); ok {
			beat.Periods = append(beat.Periods, q)
		}
	}
	taken, err := s.beats.take(ctx, beat)
	switch {
	case errors.Is(err, errStopping):
		return nil, status.Error(codes.Unavailable, "the centre is stopping; it is another's, or this one's again in a moment")
	case err != nil:
		return nil, err
	case taken.Err != nil:
		s.counts.replayed.Add(1)
		return nil, status.Error(codes.FailedPrecondition, taken.Err.Error())
	}
	s.counts.beats.Add(1)
	response := &flagpb.HeartbeatResponse{At: timestamppb.Now(), Version: taken.WantVersion}
	if response.Version == "" {
		response.Version = s.policy.AgentVersion
	}
	if digest, err := hex.DecodeString(taken.WantConfig); err == nil {
		response.ConfigDigest = digest
	}
	for _, c := range s.beats.commandsOf(beat.Agent) {
		response.Commands = append(response.Commands, c.ID)
	}
	if !taken.Kept.IsZero() {
		response.Kept = timestamppb.New(taken.Kept)
	}
	return response, nil
}

var errStopping = errors.New("stopping")

// beats has the heartbeats that come at the same time taken in one transaction.
type beats struct {
	store interface {
		store.Fleet
		store.Commands
	}
	queue chan beating
	ended chan struct{}
	open  atomic.Pointer[[]safeguard.RemoteCommand] // as of the last heartbeats
}

type beating struct {
	beat store.Beat
	done chan taken
}

type taken struct {
	store.Taken
	failed error
}

func newBeats(s store.Store) *beats {
	return &beats{store: s, queue: make(chan beating), ended: make(chan struct{})}
}

func (b *beats) take(ctx context.Context, beat store.Beat) (store.Taken, error) {
	w := beating{beat, make(chan taken, 1)}
	select {
	case b.queue <- w:
	case <-b.ended:
		return store.Taken{}, errStopping
	case <-ctx.Done():
		return store.Taken{}, ctx.Err()
	}
	select {
	case t := <-w.done:
		return t.Taken, t.failed
	case <-ctx.Done():
		return store.Taken{}, ctx.Err()
	}
}

// commandsOf are an agent's that were open at the last heartbeats.
func (b *beats) commandsOf(agent store.AgentKey) (own []safeguard.RemoteCommand) {
	open := b.open.Load()
	if open == nil {
		return nil
	}
	for _, c := range *open {
		if c.Agent == agent.String() {
			own = append(own, c)
		}
	}
	return own
}

// run takes what waits, until ctx ends.
func (b *beats) run(ctx context.Context) {
	defer close(b.ended)
	for {
		var group []beating
		select {
		case w := <-b.queue:
			group = append(group, w)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(group) < maxBeats; {
			select {
			case w := <-b.queue:
				group = append(group, w)
			default:
				more = false
			}
		}
		b.settle(group)
	}
}

func (b *beats) settle(group []beating) {
	list := make([]store.Beat, len(group))
	for i, w := range group {
		list[i] = w.beat
	}
	ctx, cancel := context.WithTimeout(context.Background(), unaryTime)
	defer cancel()
	verdicts, err := b.store.Beat(ctx, list)
	if open, failed := b.store.OpenCommands(ctx, time.Now()); failed == nil { // else the next heartbeat tells
		b.open.Store(&open)
	}
	for i, w := range group {
		if err != nil {
			w.done <- taken{failed: err}
		} else {
			w.done <- taken{Taken: verdicts[i]}
		}
	}
}

// reportOf reads a heartbeat, whose ages count from when it was received.
func reportOf(r *flagpb.HeartbeatRequest, at time.Time) safeguard.Heartbeat {
	at = at.UTC().Truncate(time.Millisecond)
	ago := func(age uint32) time.Time {
		if age == 0 {
			return time.Time{}
		}
		return at.Add(-time.Duration(age-1) * time.Second)
	}
	queue := func(q *flagpb.Queue) safeguard.Queue {
		return safeguard.Queue{Length: int(q.GetLength()), Oldest: ago(q.GetAge())}
	}
	j, c, a := r.GetJournal(), r.GetCache(), r.GetAttendances()
	h := safeguard.Heartbeat{
		Boot: r.GetBoot(), Sequence: r.GetSequence(), At: at, State: stateOf(r.GetState()), Since: ago(r.GetStateAge()),
		Device: words(r.GetDevice(), maxWord), Version: words(r.GetVersion(), maxWord), Config: hex.EncodeToString(first(r.GetConfigDigest(), 64)), Started: ago(r.GetStartedAge()),
		Journal: safeguard.JournalHealth{
			Stopped: words(j.GetStopped(), maxWords), Since: ago(j.GetStoppedAge()), Waiting: queue(j.GetWaiting()), SetAside: int(j.GetSetAside()),
			Late: int(j.GetLate()), Size: int64(j.GetSize()), Lost: int(j.GetLost()),
		},
		Lookups: queue(r.GetLookups()), Corrections: queue(r.GetCorrections()),
		Centre: safeguard.CentreHealth{Since: ago(r.GetUnreachableAge()), Latency: micros(r.GetLatencyMicros()), Heard: at},
		Cache:  safeguard.CacheHealth{State: words(c.GetState(), maxWord), Entries: int(c.GetEntries()), Oldest: ago(c.GetOldestAge()), Newest: ago(c.GetNewestAge())},
		Clock:  safeguard.ClockHealth{Offset: time.Duration(r.GetClockOffsetMicros()) * time.Microsecond, Within: micros(r.GetClockWithinMicros()), Measured: ago(r.GetClockAge())},
		Disk:   safeguard.DiskHealth{Free: r.GetDiskFree(), Floor: r.GetDiskFloor(), Sync: micros(r.GetDiskSyncMicros())},
		Attendances: safeguard.AttendanceHealth{
			Window: time.Duration(a.GetWindow()) * time.Second, Begun: int(a.GetBegun()), NotCompleted: int(a.GetNotCompleted()), NoNumber: int(a.GetNoNumber()),
			Unknown: queue(a.GetUnknown()), Unanswered: int(a.GetUnanswered()),
		},
		Certificate: safeguard.CertificateHealth{From: moment(r.GetCertificateFrom()), Until: moment(r.GetCertificateUntil())},
		Feeds:       []safeguard.FeedHealth{}, Sinks: []safeguard.SinkHealth{}, Warnings: []safeguard.Warning{},
	}
	for _, f := range r.GetFeeds() {
		h.Feeds = append(h.Feeds, safeguard.FeedHealth{
			Name: words(f.GetName(), maxWord), Transport: words(f.GetTransport(), maxWord), Connections: int(f.GetConnections()), LastMessage: ago(f.GetLastAge()),
			Messages: f.GetMessages(), Errors: f.GetErrors(), LastHour: int(f.GetLastHour()), HourErrors: int(f.GetHourErrors()), HeldSince: ago(f.GetHeldAge()), Fault: words(f.GetFault(), maxWords),
		})
	}
	for _, s := range r.GetSinks() {
		h.Sinks = append(h.Sinks, safeguard.SinkHealth{
			Name: words(s.GetName(), maxWord), Live: s.GetLive(), Waiting: queue(s.GetWaiting()), DownSince: ago(s.GetDownAge()), Answered: ago(s.GetAnsweredAge()),
			Delivered: int(s.GetDelivered()), Refused: int(s.GetRefused()), Failed: int(s.GetFailed()),
			Carrier: words(s.GetCarrier(), maxWord), Took: ago(s.GetTookAge()), Error: words(s.GetError(), maxWord),
		})
	}
	for _, check := range r.GetFailing() {
		h.Failing = append(h.Failing, words(check, maxWord))
	}
	for _, w := range r.GetWarnings() {
		h.Warnings = append(h.Warnings, safeguard.Warning{Code: safeguard.WarningCode(words(w.GetCode(), maxWord)), Part: words(w.GetPart(), maxWord), Since: ago(w.GetAge()), Detail: words(w.GetDetail(), maxWords)})
	}
	return h
}

// periodOf reads a period. One that can not be of the last day is none.
func periodOf(p *flagpb.Period, at time.Time) (safeguard.Period, bool) {
	q := safeguard.Period{
		Start: moment(p.GetStart()), Length: time.Duration(p.GetLength()) * time.Second, State: stateOf(p.GetState()), Severity: safeguard.Severity(min(p.GetSeverity(), uint32(safeguard.Critical))),
		Waiting: int(p.GetWaiting()), Oldest: time.Duration(p.GetOldest()) * time.Second, Undelivered: int(p.GetUndelivered()), Lookups: int(p.GetLookups()),
		Latency: micros(p.GetLatencyMicros()), Delivered: int(p.GetDelivered()), Begun: int(p.GetBegun()), NotCompleted: int(p.GetNotCompleted()), NoNumber: int(p.GetNoNumber()),
	}
	for _, f := range p.GetFeeds()[:min(len(p.GetFeeds()), maxParts)] {
		q.Feeds = append(q.Feeds, safeguard.FeedPeriod{Name: words(f.GetName(), maxWord), Messages: int(f.GetMessages()), Errors: int(f.GetErrors())})
	}
	whole := q.Length >= time.Minute && q.Length <= time.Hour && q.Start.Truncate(q.Length).Equal(q.Start) && time.Hour%q.Length == 0
	return q, whole && q.Start.After(at.Add(-oldest)) && q.Start.Before(at.Add(ahead))
}

func stateOf(s flagpb.AgentState) safeguard.AgentState {
	if s < 0 || int32(s) > int32(safeguard.Failing) {
		return safeguard.UnknownAgent
	}
	return safeguard.AgentState(s)
}

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}
	}
	return t.AsTime()
}

// words are an agent's, cut to what is shown.
func words(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	for len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

func first(b []byte, most int) []byte { return b[:min(len(b), most)] }
