package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/pipeline"
)

func (w *ward) stats() pipeline.Stats {
	w.t.Helper()
	w.settle()
	s, err := w.pipeline.Stats(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// respond is what the EPR says to every alert from now on.
func (w *ward) respond(r safeguard.Receipt, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = func(safeguard.Alert) (safeguard.Receipt, error) { return r, err }
}

func TestStatsCountRegistrationsByOutcomeAndTellWhatIsOwed(t *testing.T) {
	const cached, dark = "9990000360", "9990000379"
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.answer(maya, noneHeld())
		w.answer(cached, held(safeguard.FromCache))
		began := time.Now().Truncate(time.Millisecond)
		w.adt("A04", "", "V1", "H1^", "H91^")
		w.adt("A04", toby, "V2", "H1^", "H92^")
		w.adt("A04", maya, "V3", "H1^", "H93^")
		w.adt("A04", cached, "V4", "H1^", "H94^")
		w.adt("A04", dark, "V5", "H1^", "H95^")
		w.adt("A04", "", "V6", "H1^", "H96^", "19950102", "19500102")
		w.adt("A05", maya, "V7", "H1^", "H97^") // expected only
		w.adt("A08", toby, "V2", "H1^", "H92^") // no other registration
		w.adt("A44", toby, "V8", "H1^", "H98^") // which visits it means is not clear
		got := w.stats()
		want := pipeline.Counters{Registered: 6, NotEligible: 1, Held: 2, NoneHeld: 1, Unknown: 2, NoNumber: 1, Cached: 1, SetAside: 1}
		if got.Since != want {
			t.Errorf("counted %+v\nwant    %+v", got.Since, want)
		}
		if q := got.Now.Unknown; q.Length != 2 || !q.Oldest.Equal(began) {
			t.Errorf("unknown are %+v, want 2 since %s", q, began)
		}
		if q := got.Now.NoNumber; q.Length != 1 || !q.Oldest.Equal(began) {
			t.Errorf("without a number are %+v, want 1 since %s", q, began)
		}
		if q := got.Now.Lookups; q.Length != 2 || q.Oldest.Before(began) {
			t.Errorf("owed lookups are %+v, want 2", q)
		}
		none := pipeline.Queue{}
		if q, listed := got.Now.Alerts[w.Name()]; !listed || q != none || got.Now.SetAside != 1 || got.Now.Messages != none {
			t.Errorf("now %+v, want nothing on its way and one message set aside", got.Now)
		}

		w.adt("A08", maya, "V1", "H1^", "H91^") // a number at last
		w.answer(dark, noneHeld())
		time.Sleep(time.Minute)
		if got := w.stats(); got.Now.Unknown != none || got.Now.NoNumber != none || got.Now.Lookups.Length != 1 || got.Since != want {
			t.Errorf("%+v, want nothing unknown any more, one lookup owed as the cache answered it, and no registration more", got)
		}
	})
}

func TestStatsTellWhatTheEPRIsOwed(t *testing.T) {
	story(t, func(w *ward) {
		w.answer(toby, held(safeguard.FromCentre))
		w.respond(safeguard.Receipt{}, errors.New("no connection"))
		began := time.Now().Truncate(time.Millisecond)
		w.adt("A04", toby, "V1")
		if q := w.stats().Now.Alerts["epr"]; q.Length != 1 || q.Oldest.Before(began) {
			t.Errorf("owed are %+v, want one alert", q)
		}
		w.adt("A03", toby, "V1")
		time.Sleep(time.Minute)
		if got := w.stats(); got.Now.Alerts["epr"].Length != 0 || got.Now.Late != 1 || got.Since.Late != 1 {
			t.Errorf("%+v, want the alert late", got)
		}
		w.respond(safeguard.Receipt{Outcome: safeguard.Refused, Code: "AR"}, nil)
		w.adt("A04", toby, "V2", "H1^", "H2^")
		if got := w.stats(); got.Now.SetAside != 1 || got.Since.SetAside != 1 {
			t.Errorf("%+v, want the refused alert set aside", got)
		}
	})
}
