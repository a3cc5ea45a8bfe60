package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// changes is the service by which agents follow what becomes of the flags that
// they asked about.
type changes struct {
	flagpb.UnimplementedChangesServer
	*Server
}

// maxFollowed is how many sites one stream may be for.
const maxFollowed = 200

// Follow tells what has changed since the resume point, and then what changes.
func (s changes) Follow(request *flagpb.FollowRequest, stream grpc.ServerStreamingServer[flagpb.FollowResponse]) error {
	ctx := stream.Context()
	id, err := caller(ctx, identity.Agent)
	if err != nil {
		return err
	}
	f := &follower{organisation: id.Code, sites: map[safeguard.ODSCode]bool{}, told: make(chan telling, followAhead)}
	if len(request.GetSites()) == 0 || len(request.GetSites()) > maxFollowed {
		return status.Errorf(codes.InvalidArgument, "sites: %d, want 1 to %d sites of the organisation", len(request.GetSites()), maxFollowed)
	}
	for _, text := range request.GetSites() {
		code, err := safeguard.ParseODSCode(text)
		if err != nil {
			return status.Error(codes.InvalidArgument, "sites: want ODS codes of three to six letters and digits")
		}
		if _, err := s.participant(id.Code, code); err != nil {
			return err
		}
		f.sites[code] = true
	}
	select { // who comes while the centre starts need not come again
	case <-s.follows.started:
	case <-s.stopping:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(unaryTime):
	}
	from, settled, err := s.follows.join(f)
	if err != nil {
		return err
	}
	defer s.follows.leave(f)
	if err := s.catchUp(ctx, stream, f, request.GetResume(), from, settled); err != nil {
		return err
	}
	for {
		select {
		case t, ok := <-f.told:
			if !ok {
				return status.Error(codes.Unavailable, "the stream ends here; follow again from the resume point")
			}
			if err := stream.Send(t.response()); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// catchUp tells what the follower was not told, from its resume point up to where
// what comes by its channel begins.
func (s changes) catchUp(ctx context.Context, stream grpc.ServerStreamingServer[flagpb.FollowResponse], f *follower, resume string, upTo, settled store.ChangePoint) error {
	missed := telling{resume: settled, missed: true, lost: s.follows.lostSince(time.Now())}
	at, err := parseResume(resume)
	if err != nil {
		return stream.Send(missed.response())
	}
	for more := true; more; {
		list, err := s.store.Changed(ctx, at, followPage, time.Now().Add(-maxFollow))
		if errors.Is(err, store.ErrGap) {
			return stream.Send(missed.response())
		}
		if err != nil {
			return err
		}
		more = len(list) == followPage
		for _, c := range list {
			if at = c.ChangePoint; at.Position > upTo.Position {
				more = false
				break
			}
			if !s.follows.concerns(f, c, time.Now()) {
				continue
			}
			if err := stream.Send(telling{number: c.Number, resume: earlier(at, settled)}.response()); err != nil {
				return err
			}
			s.counts.told.Add(1)
		}
	}
	return stream.Send(telling{resume: settled}.response())
}

func earlier(a, b store.ChangePoint) store.ChangePoint {
	if a.Position < b.Position {
		return a
	}
	return b
}

// telling is what a follower is told.
type telling struct {
	number safeguard.NHSNumber
	resume store.ChangePoint
	missed bool
	lost   time.Time // with missed: what was told since then is lost; zero for nothing
}

func (t telling) response() *flagpb.FollowResponse {
	r := &flagpb.FollowResponse{NhsNumber: t.number.Reveal(), Resume: resumeOf(t.resume), Missed: t.missed}
	if !t.lost.IsZero() {
		r.LostSince = timestamppb.New(t.lost)
	}
	return r
}

func resumeOf(p store.ChangePoint) string {
	at := int64(0)
	if p.Position > 0 {
		at = p.At.UnixMilli()
	}
	return fmt.Sprintf("%d.%d", p.Position, at)
}

func parseResume(s string) (store.ChangePoint, error) {
	position, at, _ := strings.Cut(s, ".")
	p, errPosition := strconv.ParseInt(position, 10, 64)
	ms, errAt := strconv.ParseInt(at, 10, 64)
	if errPosition != nil || errAt != nil || p < 0 {
		return store.ChangePoint{}, errors.New("resume point: none of this centre")
	}
	if p == 0 {
		return store.ChangePoint{}, nil
	}
	return store.ChangePoint{Position: p, At: time.UnixMilli(ms).UTC()}, nil
}

// follows reads the log of changes once for everybody who follows it.
type follows struct {
	store     store.Store
	directory *Directory
	ages      safeguard.CachePolicy // of a site whose policy says none
	log       *slog.Logger
	counts    *counts
	wake      chan struct{} // a change is likely
	started   chan struct{} // closed once begun for the first time
	holder    string        // names this one among those that share the store

	mu        sync.Mutex // guards the fields below
	followers map[*follower]bool
	ended     bool
	begun     bool              // read and settled say where
	read      store.ChangePoint // read up to here
	settled   store.ChangePoint // read twice up to here
	again     []span            // read once
	lost      time.Time         // since then, as of a restore
}

// follower is one stream.
type follower struct {
	organisation safeguard.ODSCode
	sites        map[safeguard.ODSCode]bool
	told         chan telling // closed when the stream is to end
}

// span is a part of the log that is to be read again.
type span struct {
	from, to store.ChangePoint
	due      time.Time
	told     map[told]bool
}

type told struct {
	position int64
	*follower
}

const (
	// followEvery is how soon changes are read that came through another centre on
	// the same store, where the store does not wake this one. Asking is one read of
	// an index; it works for either kind, through a pooler, and after a broken
	// connection.
	followEvery = time.Second
	// followAgain is when changes are read once more. A lookup that had read the
	// flags just before they changed, and noted just afterwards that its site
	// asked, is over by then.
	followAgain = unaryTime + 5*time.Second
	followPage  = 1000 // changes read at a time
	followAhead = 4096 // tellings that a follower may be behind
	agesEvery   = time.Hour
)

// maxFollow is the longest that anybody is told after having asked, which bounds
// what is kept of who asked.
const maxFollow = 90 * 24 * time.Hour

func newFollows(s store.Store, d *Directory, ages safeguard.CachePolicy, c *counts, log *slog.Logger) *follows {
	return &follows{holder: rand.Text(), store: s, directory: d, ages: ages, counts: c, log: log, wake: make(chan struct{}, 1), started: make(chan struct{}), followers: map[*follower]bool{}}
}

// run reads the log until ctx ends, and then ends every stream.
func (f *follows) run(ctx context.Context) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.endAll()
		f.ended = true
	}()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	ages := time.NewTicker(agesEvery)
	defer ages.Stop()
	failing := false
	for {
		err := f.step(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			f.log.Warn("changes not read, trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.wake:
		case <-ages.C:
			f.age(ctx)
		}
	}
}

// changed asks run to look at once.
func (f *follows) changed() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// step reads what is new, and once more what is due.
func (f *follows) step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, unaryTime)
	defer cancel()
	err := f.begin(ctx)
	for more := err == nil; more; {
		more, err = f.next(ctx)
	}
	for more := err == nil; more; {
		more, err = f.reread(ctx)
	}
	if errors.Is(err, store.ErrGap) {
		// The log is not the one that was read, as after the store was restored:
		// whoever follows comes again.
		f.mu.Lock()
		defer f.mu.Unlock()
		f.endAll()
		f.begun = false
	}
	return err
}

// begin finds where to read from: the latest changes are read again, since
// another centre on the store may be at a lookup.
func (f *follows) begin(ctx context.Context) error {
	if f.mu.Lock(); f.begun {
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	last, err := f.store.LastChange(ctx, time.Now().Add(-followAgain))
	if err != nil {
		return err
	}
	lost, err := f.store.PutBackTo(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun, f.read, f.settled, f.again, f.lost = true, last, last, nil, lost
	select {
	case <-f.started:
	default:
		close(f.started)
	}
	return nil
}

// lostSince is since when the centre has lost what it was told; zero for never, and
// once nobody keeps that any more.
func (f *follows) lostSince(now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.lost) > maxFollow {
		return time.Time{}
	}
	return f.lost
}

// next reads on, and tells whether there may be more.
func (f *follows) next(ctx context.Context) (more bool, err error) {
	f.mu.Lock()
	from := f.read
	f.mu.Unlock()
	list, err := f.store.Changed(ctx, from, followPage, time.Now().Add(-maxFollow))
	if err != nil || len(list) == 0 {
		return false, err
	}
	part := span{from: from, to: list[len(list)-1].ChangePoint, due: time.Now().Add(followAgain), told: map[told]bool{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(list, part.told)
	f.read, f.again = part.to, append(f.again, part)
	return len(list) == followPage, nil
}

// reread reads once more what is due first, and moves the point to resume from.
func (f *follows) reread(ctx context.Context) (more bool, err error) {
	f.mu.Lock()
	if len(f.again) == 0 || time.Now().Before(f.again[0].due) {
		f.mu.Unlock()
		return false, nil
	}
	part := f.again[0]
	f.mu.Unlock()
	list, err := f.store.Changed(ctx, part.from, followPage, time.Now().Add(-maxFollow))
	if err != nil {
		return false, err
	}
	for len(list) > 0 && list[len(list)-1].Position > part.to.Position {
		list = list[:len(list)-1]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(list, part.told)
	f.settled, f.again = part.to, f.again[1:]
	for follower := range f.followers {
		f.hand(follower, telling{resume: f.settled})
	}
	return true, nil
}

// age removes what is kept of who asked for longer than any site may use an
// answer, and changes as old.
func (f *follows) age(ctx context.Context) {
	before := time.Now().Add(-f.directory.longestFollowed(f.ages))
	// Of several processes one: two that remove the same would wait for each other.
	mine, err := f.store.Lease(ctx, "ages of answers", f.holder, agesEvery/2)
	if err == nil && mine {
		_, err = f.store.Retain(ctx, store.Retention{Asked: before, Changes: before}, audit.Who{Caller: "ages of answers"})
	}
	if err != nil && ctx.Err() == nil {
		f.log.Warn("notes of who asked not aged out, trying again", "in", agesEvery, "err", err)
	}
}

// tell hands each change to whom it concerns and was not told. The caller holds
// mu.
func (f *follows) tell(list []store.Changed, done map[told]bool) {
	now := time.Now()
	for _, c := range list {
		if len(c.Asked) == 0 {
			continue
		}
		for follower := range f.followers {
			if done[told{c.Position, follower}] || !f.concerns(follower, c, now) {
				continue
			}
			done[told{c.Position, follower}] = true
			f.counts.told.Add(1)
			f.hand(follower, telling{number: c.Number, resume: f.settled})
		}
	}
}

// concerns tells whether one of the follower's sites asked about the person, not
// longer ago than it may still use the answer.
func (f *follows) concerns(follower *follower, c store.Changed, now time.Time) bool {
	for _, a := range c.Asked {
		if a.Organisation != follower.organisation || !follower.sites[a.Site] {
			continue
		}
		if site, ok := f.directory.site(a.Organisation, a.Site); ok && site.Stage != store.Invited && a.At.Add(followed(site, f.ages)).After(now) {
			return true
		}
	}
	return false
}

// hand puts the telling into the follower's channel. A follower that is too far
// behind is to come again. The caller holds mu.
func (f *follows) hand(to *follower, t telling) {
	select {
	case to.told <- t:
	default:
		close(to.told)
		delete(f.followers, to)
	}
}

func (f *follows) endAll() {
	for follower := range f.followers {
		close(follower.told)
	}
	clear(f.followers)
}

// join adds a follower, who hears of what comes behind the point read.
func (f *follows) join(to *follower) (read, settled store.ChangePoint, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || !f.begun {
		return read, settled, status.Error(codes.Unavailable, "the centre starts or stops; follow again")
	}
	f.followers[to] = true
	return f.read, f.settled, nil
}

func (f *follows) leave(to *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, to)
}
