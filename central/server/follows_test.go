package server

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// changeLog is a store of which only the log of changes is there.
type changeLog struct {
	store.Store
	mu  sync.Mutex
	all []store.Changed
}

func (l *changeLog) LastChange(_ context.Context, by time.Time) (last store.ChangePoint, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.all {
		if !c.At.After(by) {
			last = c.ChangePoint
		}
	}
	return last, nil
}

func (l *changeLog) PutBackTo(context.Context) (time.Time, error) { return time.Time{}, nil }

func (l *changeLog) Changed(_ context.Context, after store.ChangePoint, limit int, _ time.Time) ([]store.Changed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := int64(len(l.all)); after.Position > n {
		return nil, store.ErrGap
	}
	list := append([]store.Changed(nil), l.all[after.Position:]...)
	return list[:min(len(list), limit)], nil
}

func (l *changeLog) add(asked ...store.Asker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := store.ChangePoint{Position: int64(len(l.all) + 1), At: time.Now()}
	l.all = append(l.all, store.Changed{ChangePoint: p, Number: safeguard.TestPatient, Asked: asked})
}

func (l *changeLog) note(i int, asked store.Asker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[i].Asked = []store.Asker{asked}
}

// following runs the followers of a log, with one of them.
func following(t *testing.T, test func(t *testing.T, l *changeLog, f *follows, one *follower, asked func() store.Asker)) {
	synctest.Test(t, func(t *testing.T) {
		trust, _ := safeguard.ParseODSCode("RX1")
		site, _ := safeguard.ParseODSCode("RX101")
		l := &changeLog{}
		f := newFollows(l, NewDirectory([]store.Site{{Organisation: trust, Code: site, Stage: store.Live}}, nil), safeguard.DefaultCachePolicy, &counts{}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); f.run(ctx) }()
		synctest.Wait()
		one := &follower{organisation: trust, sites: map[safeguard.ODSCode]bool{site: true}, told: make(chan telling, followAhead)}
		if _, _, err := f.join(one); err != nil {
			t.Fatal(err)
		}
		test(t, l, f, one, func() store.Asker { return store.Asker{Organisation: trust, Site: site, At: time.Now()} })
		stop()
		<-ended
	})
}

// A lookup that had read the flags before they changed notes that it asked only
// afterwards. It is told all the same, and each change once.
func TestLookupAtTheTimeOfAChangeIsToldOfIt(t *testing.T) {
	following(t, func(t *testing.T, l *changeLog, f *follows, one *follower, asked func() store.Asker) {
		l.add(asked())
		l.add()
		time.Sleep(followEvery)
		synctest.Wait()
		if n := len(one.told); n != 1 {
			t.Fatalf("%d tellings at once, want the one asked about", n)
		}
		if first := <-one.told; first.resume.Position != 0 {
			t.Errorf("to resume from %v, want from before what is read once only", first.resume)
		}
		time.Sleep(unaryTime)
		l.note(1, asked())
		time.Sleep(followAgain)
		synctest.Wait()
		late, settled := <-one.told, <-one.told
		if late.number.IsZero() || !settled.number.IsZero() || settled.resume.Position != 2 || len(one.told) != 0 {
			t.Errorf("late %+v, settled %+v, %d more; want the second change, and to resume behind it", late, settled, len(one.told))
		}
	})
}

func TestFollowerThatFallsBehindComesAgain(t *testing.T) {
	following(t, func(t *testing.T, l *changeLog, f *follows, one *follower, asked func() store.Asker) {
		for range followAhead + 1 {
			l.add(asked())
		}
		time.Sleep(2 * followEvery)
		synctest.Wait()
		n := 0
		for range one.told { // ends, for it is closed
			n++
		}
		if n != followAhead {
			t.Errorf("%d tellings, want the %d that there is room for", n, followAhead)
		}
	})
}

func TestAnotherLogEndsTheStreams(t *testing.T) {
	following(t, func(t *testing.T, l *changeLog, f *follows, one *follower, asked func() store.Asker) {
		l.add(asked())
		time.Sleep(followEvery)
		synctest.Wait()
		<-one.told
		l.mu.Lock()
		l.all = nil // as after an old backup was restored
		l.mu.Unlock()
		time.Sleep(followEvery)
		if _, ok := <-one.told; ok {
			t.Error("told something of a log that is not there any more")
		}
		time.Sleep(followEvery)
		synctest.Wait()
		if read, _, err := f.join(&follower{told: make(chan telling, 1)}); err != nil || read.Position != 0 {
			t.Errorf("followed again from %v, %v, want from the beginning of the other log", read, err)
		}
	})
}
