package safeguard

import (
	"fmt"
	"slices"
	"time"
)

// Rules are the policies that a decision follows.
type Rules struct {
	Tails             Tails
	UnansweredAfter   time.Duration // grace before "check not completed" when the centre does not answer
	UnidentifiedAfter time.Duration // the same when there is nothing to ask with, or identity is not confirmed
	PregnantFrom      int           // age in years
	PregnantTo        int           // age in years, inclusive
	WithdrawAtEnd     bool          // at discharge; by default what is known stays, as it is true of the person
	SayNone           bool          // tell the clinician that none is held; by default that is silent
}

// DefaultRules are 15 seconds, 5 minutes, 12 to 55 years.
func DefaultRules() Rules {
	return Rules{
		Tails:             DefaultTails,
		UnansweredAfter:   15 * time.Second,
		UnidentifiedAfter: 5 * time.Minute,
		PregnantFrom:      12,
		PregnantTo:        55,
	}
}

// The rules by which test traffic is not asked about. They say nothing about a
// patient.
const (
	TestMessage = "test message (MSH-11)"
	TestNumber  = "test number (999), or " + TestMessage
)

// Eligible tells whether the patient is to be asked about, and by which rule:
// under 18, of unknown age, or possibly pregnant, because an unborn child's plan
// is held under the mother's number.
func (r Rules) Eligible(a Attendance) (bool, string) {
	switch {
	case a.Test && a.Patient.Number.IsTest():
		return false, TestNumber
	case a.Test:
		return false, TestMessage
	}
	born := a.Patient.Born.Reveal()
	if born.IsZero() {
		return true, "date of birth unknown"
	}
	age := born.YearsAt(DateOf(a.Begun))
	switch {
	case age < 0:
		return true, "date of birth after the attendance"
	case age < Adulthood:
		return true, "under 18"
	case a.Maternity:
		return true, "maternity"
	case a.Patient.Sex != Male && a.Purpose == Unscheduled && age >= r.PregnantFrom && age <= r.PregnantTo:
		return true, fmt.Sprintf("possibly pregnant: aged %d to %d, unscheduled", r.PregnantFrom, r.PregnantTo)
	}
	return false, "adult"
}

// How long an attendance without a discharge is taken to be open, and how long
// after its end an owed lookup is still asked.
const (
	emergencyStay = 24 * time.Hour
	inpatientStay = 30 * 24 * time.Hour
	askAfterEnd   = 7 * 24 * time.Hour
)

// EndsBy is when the attendance is over at the latest, where no discharge tells
// of it: a day after an emergency arrival, else thirty days. One that is expected
// is waited for as long as a day.
func (a Attendance) EndsBy() time.Time {
	switch {
	case !a.Finished.IsZero():
		return a.Finished
	case a.Class == "E", a.State == Expected:
		return a.Begun.Add(emergencyStay)
	}
	return a.Begun.Add(inpatientStay)
}

// AskUntil is when asking about the attendance ends.
func (a Attendance) AskUntil() time.Time {
	if a.State == Expected {
		return a.EndsBy()
	}
	return a.EndsBy().Add(askAfterEnd)
}

// Shown is what the EPR was last told for an attendance.
type Shown struct {
	Generation int       // counts the people the attendance turned out to be: a change of NHS number begins anew
	Version    int       // of the alert of this generation; 0 when there was none
	Content    Content   // what it says; the zero value when nothing is shown
	About      Patient   // whom it is about, without the name
	Accepted   time.Time // when the registration was accepted: grace counts from here
	Past       Told      // all that the alert has shown, in force or not
	Untold     bool      // it may have come too late to be told, so it is to be told again
	Closed     bool      // a person ended the asking: what is unknown is not shown
}

// InForce is the alert that the EPR was told last, as it was decided then. It is
// not known where nothing is shown.
func (s Shown) InForce(a Attendance, decided time.Time) (alert Alert, known bool) {
	if s.Content.Kind == Nothing {
		return Alert{}, false
	}
	action := Raise
	if s.Version > 1 {
		action = Update
	}
	return Alert{ID: alertID(a.ID, s.Generation), Version: s.Version, Action: action, Attendance: a, Content: s.Content,
		Gone: s.Past.without(s.Content), Decided: decided}, true
}

// Decision is what follows from an attendance and its answer.
type Decision struct {
	Alerts []Alert   // to put into the EPR, in order; usually none or one
	After  Shown     // what the EPR shows once they are delivered
	Again  time.Time // when to look afresh although nothing happens; zero for never
	Rule   string
}

// Decide compares what should be before the clinician with what is, and says
// what to raise, change or withdraw. It has no effects and reads no clock.
func (r Rules) Decide(now time.Time, a Attendance, answer Answer, before Shown) Decision {
	d := Decision{After: before}
	if !before.About.Same(a.Patient) {
		d.forget(now, a)
	}
	if before.About.Number != a.Patient.Number {
		d.After.Closed = false // what was closed is not what is asked now
	}
	d.After.About = a.Patient.Unnamed()
	want, rule, again := r.content(now, a, answer, d.After)
	d.say(now, a, want, rule)
	d.After.Untold = false
	d.Rule, d.Again = rule, again
	return d
}

// content is what the clinician should read now.
func (r Rules) content(now time.Time, a Attendance, answer Answer, before Shown) (Content, string, time.Time) {
	never := time.Time{}
	switch a.State {
	case Cancelled:
		return Content{}, "attendance cancelled", never
	case Expected:
		return Content{}, "not here yet", never
	case Merged:
		return Content{}, "visit merged into another", never
	}
	if eligible, rule := r.Eligible(a); !eligible {
		return Content{}, "not eligible: " + rule, never
	}
	if r.WithdrawAtEnd && a.State == Ended && answer.Status != Unknown {
		return Content{}, "attendance ended", never
	}
	switch answer.Status {
	case Held:
		if flags := r.visible(now, a, answer.Flags); len(flags) > 0 {
			return Content{Kind: FlagsHeld, Flags: flags, AsOf: answer.AsOf, Source: answer.Source}, "flags held", r.otherwise(now, a, answer.Flags)
		}
		return r.none(answer), "no flag visible", r.otherwise(now, a, answer.Flags)
	case NoneHeld:
		return r.none(answer), "none held", never
	}
	if before.Content.Kind == FlagsHeld && answer.Reason == CentreUnreachable {
		// What was answered stays until something is known again.
		return before.Content, "not answered since", never
	}
	if before.Closed {
		return Content{}, "closed by a person", never
	}
	grace := r.UnansweredAfter
	if answer.Reason == NoNHSNumber || answer.Reason == NumberInConflict || answer.Reason == IdentityNotConfirmed {
		grace = r.UnidentifiedAfter
	}
	if due := before.Accepted.Add(grace); now.Before(due) && before.Content.Kind == Nothing {
		return Content{}, "within grace: " + answer.Reason.String(), due
	}
	return Content{Kind: CheckNotCompleted, Reason: answer.Reason}, "check not completed: " + answer.Reason.String(), never
}

// none is what to read where no flag is held.
func (r Rules) none(answer Answer) Content {
	if !r.SayNone {
		return Content{}
	}
	return Content{Kind: NoneFound, AsOf: answer.AsOf, Source: answer.Source}
}

// otherwise is the midnight from which the calendar alone makes other flags
// visible: a tail ends, the child comes of age, a plan begins. Zero when none does
// while the attendance can be open.
func (r Rules) otherwise(now time.Time, a Attendance, flags []Flag) time.Time {
	if a.State != Open {
		return time.Time{}
	}
	today := r.visible(now, a, flags)
	for days := 1; days <= int(inpatientStay/(24*time.Hour)); days++ {
		midnight := time.Date(now.Year(), now.Month(), now.Day()+days, 0, 0, 0, 0, now.Location())
		if !slices.Equal(r.visible(midnight, a, flags), today) {
			return midnight
		}
	}
	return time.Time{}
}

func (r Rules) visible(now time.Time, a Attendance, flags []Flag) []Flag {
	var visible []Flag
	for _, f := range flags {
		if f.Visible(DateOf(now), a.Patient.Born.Reveal(), r.Tails) {
			visible = append(visible, f)
		}
	}
	return visible
}

// forget withdraws what is shown about another patient. What follows shares no
// identifier with it: neither the alert's id nor the visit, nor the hospital's
// number where that changed too.
func (d *Decision) forget(now time.Time, a Attendance) {
	a.Patient = d.After.About
	a.Visit = Private[Identifier]{}
	d.say(now, a, Content{}, "another patient")
	if d.After.Version > 0 {
		d.After.Generation++
		d.After.Version = 0
	}
	d.After.Untold = false
}

// say appends the version that turns what is shown into want, if they differ.
func (d *Decision) say(now time.Time, a Attendance, want Content, rule string) {
	shown := &d.After
	if shown.Content.same(want) && (!shown.Untold || want.Kind == Nothing) {
		return
	}
	alert := Alert{
		ID:         alertID(a.ID, shown.Generation),
		Version:    shown.Version + 1,
		Action:     Update,
		Attendance: a,
		Content:    want,
		Decided:    now,
		Rule:       rule,
	}
	switch Nothing {
	case shown.Content.Kind:
		alert.Action = Raise
	case want.Kind:
		alert.Action = Withdraw
		alert.Content = shown.Content
	}
	alert.Gone = shown.Past.without(alert.Content)
	d.Alerts = append(d.Alerts, alert)
	shown.Version++
	shown.Content = want
	shown.Past = shown.Past.with(want)
	if alert.Action == Withdraw {
		shown.Past = Told{}
	}
}

// alertID is that of the attendance for its first person, and one that shares
// nothing with it for each further one.
func alertID(a AttendanceID, generation int) AlertID {
	return AlertID(NewAttendanceID(ODSCode{}, "alert", a.String(), fmt.Sprint(generation)).String())
}
