package safeguard_test

import (
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

func TestUpdated(t *testing.T) {
	before := with(func(a *safeguard.Attendance) {
		a.Setting, a.Class, a.Rule = safeguard.EmergencyDepartment, "E", "class E"
		a.Patient.MRN = safeguard.Hide(safeguard.Identifier{Value: "H1"})
		a.Patient.Family = safeguard.Hide("FERNSBY")
		a.Patient.Mother = bob
	})
	for _, c := range []struct {
		name string
		by   safeguard.Attendance
		want func(*safeguard.Attendance)
	}{
		{"nothing said changes nothing", safeguard.Attendance{}, func(*safeguard.Attendance) {}},
		{"another number leaves the mother behind", safeguard.Attendance{Patient: safeguard.Patient{Number: bob}}, func(a *safeguard.Attendance) {
			a.Patient.Number, a.Patient.NumberStatus, a.Patient.Mother = bob, safeguard.StatusNotStated, safeguard.NHSNumber{}
		}},
		{"the same number keeps its status", safeguard.Attendance{Patient: safeguard.Patient{Number: alice}}, func(*safeguard.Attendance) {}},
		{"a worse status counts", safeguard.Attendance{Patient: safeguard.Patient{Number: alice, NumberStatus: safeguard.InConflict}}, func(a *safeguard.Attendance) {
			a.Patient.NumberStatus = safeguard.InConflict
		}},
		{"never back to scheduled, wherever the patient is", safeguard.Attendance{Purpose: safeguard.Scheduled, Class: "I", Location: "WARD7", Rule: "class I"}, func(a *safeguard.Attendance) {
			a.Class, a.Location = "I", "WARD7"
		}},
		{"discharged", safeguard.Attendance{State: safeguard.Ended, Finished: now}, func(a *safeguard.Attendance) {
			a.State, a.Finished = safeguard.Ended, now
		}},
		{"reopened", safeguard.Attendance{State: safeguard.Open}, func(a *safeguard.Attendance) {
			a.State, a.Finished = safeguard.Open, time.Time{}
		}},
		{"test traffic does not make a test of it", safeguard.Attendance{Test: true}, func(*safeguard.Attendance) {}},
		{"maternity and a hidden place stay", safeguard.Attendance{Maternity: true, Sensitive: true}, func(a *safeguard.Attendance) {
			a.Maternity, a.Sensitive = true, true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := before
			c.want(&want)
			if got := before.Updated(c.by); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	scheduled := with(func(a *safeguard.Attendance) { a.Purpose = safeguard.Scheduled })
	if got := scheduled.Updated(safeguard.Attendance{Purpose: safeguard.Unscheduled, Class: "E"}); got.Purpose != safeguard.Unscheduled || got.Class != "E" {
		t.Errorf("a scheduled attendance that becomes unscheduled is %s, class %s", got.Purpose, got.Class)
	}
}

func TestAskUntil(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name   string
		change func(*safeguard.Attendance)
		want   time.Duration // after the beginning
	}{
		{"emergency without a discharge", func(a *safeguard.Attendance) { a.Class = "E" }, 8 * day},
		{"inpatient without a discharge", func(a *safeguard.Attendance) { a.Class = "I" }, 37 * day},
		{"discharged after two days", func(a *safeguard.Attendance) { a.Class, a.Finished = "I", a.Begun.Add(2*day) }, 9 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := with(c.change)
			if got := a.AskUntil().Sub(a.Begun); got != c.want {
				t.Errorf("asked for %v, want %v", got, c.want)
			}
		})
	}
}
