// Package eprtest is the suite that every sink passes.
package eprtest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// Answer is what an EPR does with a delivery.
type Answer int

// The answers. An EPR takes and accepts where nothing else is asked of it.
const (
	Accept   Answer = iota
	TryLater        // says that it can not now: AE, 503
	Refuse          // says that it never will: AR, 422; and repeats the patient's data in its text
	Silent          // takes the message and never answers
	HangUp          // takes the message and closes
	Foreign         // answers for a message that was not sent
	Late            // answers when the next message comes, and does not answer that
	Twice           // answers two times
	Slow            // answers byte by byte
	Garbage         // answers what is no answer
)

var names = []string{"accept", "try later", "refuse", "silent", "hang up", "foreign", "late", "twice", "slow", "garbage"}

func (a Answer) String() string { return names[a] }

// EPR is one of the kind that the sink is for. It keeps what came.
type EPR interface {
	// Sink makes a sink for it that gives up on an answer after the deadline.
	Sink(t testing.TB, name string, deadline time.Duration, log *slog.Logger) epr.Sink
	// Script says what to do with the next deliveries, one each.
	Script(answers ...Answer)
	// Came is everything that changed or could change what is shown, in order.
	Came() []Message
	// Showing is how many alerts are in force for the clinician.
	Showing() int
}

// Message is one thing that came. A repeat is known by the same ID.
type Message struct{ ID, Content string }

// Subject is a kind of sink.
type Subject struct {
	Open    func(t testing.TB) EPR
	Answers []Answer // that its EPR can give, besides Accept
}

const (
	patient = 30 * time.Second       // for what must come
	brief   = 700 * time.Millisecond // for what must not
)

// can tells whether the EPR can give all of the answers. What it can not give, it
// can not do wrong.
func (s Subject) can(answers []Answer) bool {
	return !slices.ContainsFunc(answers, func(a Answer) bool { return !slices.Contains(s.Answers, a) })
}

// Run runs the cases that the sink's EPR can bring about.
func Run(t *testing.T, s Subject) {
	for _, c := range []struct {
		name  string
		needs []Answer
		test  func(t *testing.T, s Subject)
	}{
		{"raises, updates, withdraws", nil, follows},
		{"a repeat is known", nil, repeats},
		{"two versions are not one", nil, versions},
		{"alerts of two patients do not touch", nil, apart},
		{"says what was refused", []Answer{Refuse}, refused},
		{"an EPR that never can", []Answer{TryLater}, forever},
		{"no answer is no delivery", []Answer{Silent}, silent},
		{"a late answer is nobody's", []Answer{Late}, late},
		{"a surplus answer is nobody's", []Answer{Twice, Silent}, surplus},
		{"a slow answer counts", []Answer{Slow}, slow},
		{"stops when told to", []Answer{Silent}, stops},
		{"two sinks share nothing", []Answer{Silent}, isolated},
		{"nothing about the patient is said elsewhere", nil, discreet},
	} {
		if s.can(c.needs) {
			t.Run(c.name, func(t *testing.T) { c.test(t, s) })
		}
	}
	for _, a := range []Answer{HangUp, Foreign, Garbage} {
		if slices.Contains(s.Answers, a) {
			t.Run("recovers from "+a.String(), func(t *testing.T) { recovers(t, s, a) })
		}
	}
}

// Alert is version n of an alert about a made-up child.
func Alert(n int, action safeguard.Action) safeguard.Alert {
	a := epr.Sample(action, safeguard.FlagsHeld)
	a.Version = n
	a.Decided = a.Decided.Add(time.Duration(n) * time.Second)
	if action == safeguard.Update {
		a.Content.Flags[0].End = safeguard.Date{Year: 2026, Month: 6, Day: 14}
	}
	return a
}

// Other is an alert about another child.
func Other() safeguard.Alert {
	a := Alert(1, safeguard.Raise)
	a.ID = "0b8b0c9e-54a0-8f3e-8d10-6d2f6d0a7e11"
	a.Attendance.ID = safeguard.NewAttendanceID(a.Attendance.Organisation, "VISIT", "V2")
	a.Attendance.Patient.Number, _ = safeguard.ParseNHSNumber("9990000352")
	a.Attendance.Patient.MRN = safeguard.Hide(safeguard.Identifier{Value: "H100002", Authority: "RX1", Type: "MR"})
	a.Attendance.Patient.Family, a.Attendance.Patient.Given = safeguard.Hide("OKONJO"), safeguard.Hide("MAYA")
	a.Attendance.Patient.Born = safeguard.Hide(safeguard.Date{Year: 2012, Month: 1, Day: 30})
	a.Attendance.Visit = safeguard.Hide(safeguard.Identifier{Value: "V2", Authority: "VISIT"})
	a.Content.Flags = []safeguard.Flag{{Plan: safeguard.LookedAfter, Start: safeguard.Date{Year: 2024, Month: 5, Day: 1}, Authority: a.Content.Flags[0].Authority}}
	return a
}

// must delivers, and wants it delivered.
func must(t *testing.T, s epr.Sink, a safeguard.Alert) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	r, err := s.Deliver(ctx, a)
	if err != nil || r.Outcome != safeguard.Delivered || r.At.IsZero() {
		t.Fatalf("%s of version %d: got %s %q at %v, want it delivered: %v", a.Action, a.Version, r.Outcome, r.Code, r.At, err)
	}
}

// mustNot delivers, and wants it neither delivered nor refused: to be tried again.
func mustNot(t *testing.T, s epr.Sink, a safeguard.Alert) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	begun := time.Now()
	r, err := s.Deliver(ctx, a)
	if r.Outcome != safeguard.Retry {
		t.Fatalf("got %s %q, want it to be tried again: %v", r.Outcome, r.Code, err)
	}
	if err != nil && ctx.Err() != nil {
		t.Fatalf("waited %v, want the sink's own deadline: %v", time.Since(begun), err)
	}
}

func follows(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler))
	for n, action := range []safeguard.Action{safeguard.Raise, safeguard.Update, safeguard.Withdraw} {
		before := len(e.Came())
		must(t, sink, Alert(n+1, action))
		if len(e.Came()) == before {
			t.Errorf("%s: nothing came", action)
		}
		want := 1
		if action == safeguard.Withdraw {
			want = 0
		}
		if got := e.Showing(); got != want {
			t.Errorf("after %s: the EPR shows %d alerts, want %d", action, got, want)
		}
	}
}

// distinct are the things that came, without repeats. One that comes again with
// another content fails.
func distinct(t *testing.T, e EPR) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for _, m := range e.Came() {
		if before, came := seen[m.ID]; came && before != m.Content {
			t.Errorf("%s came again with another content", m.ID)
		}
		seen[m.ID] = m.Content
	}
	return seen
}

func repeats(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler))
	must(t, sink, Alert(1, safeguard.Raise))
	once := distinct(t, e)
	must(t, sink, Alert(1, safeguard.Raise))
	must(t, e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler)), Alert(1, safeguard.Raise)) // as after a restart
	if again := distinct(t, e); len(again) != len(once) {
		t.Errorf("%d things by distinct id after two repeats, want %d", len(again), len(once))
	}
	if e.Showing() != 1 {
		t.Errorf("the EPR shows %d alerts, want one", e.Showing())
	}
}

func versions(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler))
	must(t, sink, Alert(1, safeguard.Raise))
	once := len(distinct(t, e))
	must(t, sink, Alert(2, safeguard.Update))
	if twice := len(distinct(t, e)); twice <= once {
		t.Errorf("an update can not be told from what it updates: %d things by distinct id, then %d", once, twice)
	}
}

func apart(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler))
	must(t, sink, Alert(1, safeguard.Raise))
	must(t, sink, Other())
	if e.Showing() != 2 {
		t.Fatalf("the EPR shows %d alerts, want two", e.Showing())
	}
	must(t, sink, Alert(2, safeguard.Withdraw))
	if e.Showing() != 1 {
		t.Errorf("the EPR shows %d alerts after one of two was withdrawn", e.Showing())
	}
}

func refused(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler))
	e.Script(Refuse)
	r, err := sink.Deliver(t.Context(), Alert(1, safeguard.Raise))
	if err != nil || r.Outcome != safeguard.Refused || r.Code == "" || r.Text == "" {
		t.Errorf("got %s %q %q, want it refused, with the EPR's code and text: %v", r.Outcome, r.Code, r.Text, err)
	}
}

func forever(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler))
	e.Script(TryLater, TryLater, TryLater)
	for range 3 {
		mustNot(t, sink, Alert(1, safeguard.Raise))
	}
	must(t, sink, Alert(1, safeguard.Raise))
	distinct(t, e)
	if e.Showing() != 1 {
		t.Errorf("the EPR shows %d alerts, want one", e.Showing())
	}
}

func silent(t *testing.T, s Subject) {
	e := s.Open(t)
	e.Script(Silent)
	mustNot(t, e.Sink(t, "epr", brief, slog.New(slog.DiscardHandler)), Alert(1, safeguard.Raise))
	must(t, e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler)), Alert(1, safeguard.Raise))
	if e.Showing() != 1 {
		t.Errorf("the EPR shows %d alerts, want one", e.Showing())
	}
}

func late(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", brief, slog.New(slog.DiscardHandler))
	e.Script(Late, Silent)
	mustNot(t, sink, Alert(1, safeguard.Raise))
	mustNot(t, sink, Other())
}

func surplus(t *testing.T, s Subject) {
	e := s.Open(t)
	sink := e.Sink(t, "epr", 5*time.Second, slog.New(slog.DiscardHandler))
	e.Script(Twice, Silent)
	must(t, sink, Alert(1, safeguard.Raise))
	mustNot(t, sink, Other())
}

func slow(t *testing.T, s Subject) {
	e := s.Open(t)
	e.Script(Slow)
	must(t, e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler)), Alert(1, safeguard.Raise))
}

func recovers(t *testing.T, s Subject, a Answer) {
	e := s.Open(t)
	e.Script(a)
	sink := e.Sink(t, "epr", 2*time.Second, slog.New(slog.DiscardHandler))
	mustNot(t, sink, Alert(1, safeguard.Raise))
	must(t, e.Sink(t, "epr", patient, slog.New(slog.DiscardHandler)), Alert(1, safeguard.Raise))
	distinct(t, e)
	if e.Showing() != 1 {
		t.Errorf("the EPR shows %d alerts, want one", e.Showing())
	}
}

func stops(t *testing.T, s Subject) {
	e := s.Open(t)
	e.Script(Silent)
	sink := e.Sink(t, "epr", time.Hour, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := sink.Deliver(ctx, Alert(1, safeguard.Raise))
		done <- err
	}()
	await(t, "the message", func() bool { return len(e.Came()) > 0 })
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("delivered, without an answer")
		}
	case <-time.After(patient):
		t.Fatal("still waits for an answer")
	}
}

func isolated(t *testing.T, s Subject) {
	dead, well := s.Open(t), s.Open(t)
	dead.Script(Silent)
	blocked := dead.Sink(t, "dead", time.Hour, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = blocked.Deliver(ctx, Alert(1, safeguard.Raise)) })
	defer wg.Wait()
	defer cancel()
	await(t, "the message", func() bool { return len(dead.Came()) > 0 })
	must(t, well.Sink(t, "well", patient, slog.New(slog.DiscardHandler)), Alert(1, safeguard.Raise))
}

// discreet provokes everything, and looks through all that is said.
func discreet(t *testing.T, s Subject) {
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	said := ""
	for _, a := range append([]Answer{Accept}, s.Answers...) {
		e := s.Open(t)
		e.Script(a)
		deadline := brief
		if a == Accept || a == Slow || a == Twice {
			deadline = patient
		}
		r, err := e.Sink(t, "epr", deadline, logger).Deliver(t.Context(), Alert(1, safeguard.Raise))
		said += fmt.Sprint(r.Outcome, " ", r.Code, " ", err, "\n")
	}
	said += log.String()
	p := Alert(1, safeguard.Raise).Attendance.Patient
	for what, secret := range map[string]string{
		"NHS number": p.Number.Reveal(), "hospital number": p.MRN.Reveal().Value, "family name": p.Family.Reveal(), "given name": p.Given.Reveal(),
		"date of birth": "20181102", "date of birth as ISO has it": "2018-11-02", "plan": "342191000000101",
	} {
		if strings.Contains(strings.ToUpper(said), strings.ToUpper(secret)) {
			t.Errorf("the %s is in an error, a code or the log:\n%s", what, said)
		}
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(5 * time.Millisecond) // polls for an event; the deadline is above
	}
}
