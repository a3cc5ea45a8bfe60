package epr

import (
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Sample is an alert about a made-up child, to show what is sent.
func Sample(action safeguard.Action, kind safeguard.Kind) safeguard.Alert {
	number, _ := safeguard.ParseNHSNumber("9990000344") // of the test range
	organisation, _ := safeguard.ParseODSCode("RX1")
	site, _ := safeguard.ParseODSCode("RX101")
	council, _ := safeguard.ParseODSCode("906")
	decided := time.Date(2026, 6, 14, 21, 30, 5, 0, time.UTC)
	a := safeguard.Alert{
		ID: "6f0d4c7e-2b1a-8c3d-9e4f-5a6b7c8d9e0f", Version: int(action), Action: action, Decided: decided,
		Attendance: safeguard.Attendance{
			ID:           safeguard.NewAttendanceID(organisation, "VISIT", "V1"),
			Organisation: organisation, Site: site, Setting: safeguard.EmergencyDepartment, Purpose: safeguard.Unscheduled,
			State: safeguard.Open, Begun: decided.Add(-time.Minute), Class: "E", Location: "ED",
			Visit: safeguard.Hide(safeguard.Identifier{Value: "V1", Authority: "VISIT"}),
			Patient: safeguard.Patient{
				Number: number, NumberStatus: safeguard.Verified, Sex: safeguard.Male,
				MRN:    safeguard.Hide(safeguard.Identifier{Value: "H100001", Authority: "RX1", Type: "MR"}),
				Born:   safeguard.Hide(safeguard.Date{Year: 2018, Month: 11, Day: 2}),
				Family: safeguard.Hide("FERNSBY"), Given: safeguard.Hide("TOBIAS"),
			},
		},
	}
	switch kind {
	case safeguard.FlagsHeld:
		a.Content = safeguard.Content{Kind: kind, AsOf: decided, Source: safeguard.FromCentre, Flags: []safeguard.Flag{{
			Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2026, Month: 1, Day: 5},
			Authority: safeguard.Authority{Code: council, Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001", OfficeHoursPhone: "01632 960002"},
		}}}
	case safeguard.CheckNotCompleted:
		a.Content = safeguard.Content{Kind: kind, Reason: safeguard.CentreUnreachable}
	case safeguard.NoneFound:
		a.Content = safeguard.Content{Kind: kind, AsOf: decided, Source: safeguard.FromCentre}
	}
	return a
}

// samples are alerts of every action and kind, with every plan and with hardly
// anything known.
func samples() []safeguard.Alert {
	var out []safeguard.Alert
	for _, action := range []safeguard.Action{safeguard.Raise, safeguard.Update, safeguard.Withdraw} {
		for _, kind := range []safeguard.Kind{safeguard.FlagsHeld, safeguard.CheckNotCompleted, safeguard.NoneFound} {
			a := Sample(action, kind)
			out = append(out, a)
			a.Attendance = safeguard.Attendance{Organisation: a.Attendance.Organisation}
			for _, plan := range []safeguard.Plan{safeguard.LookedAfter, safeguard.UnbornChild} {
				if kind == safeguard.FlagsHeld {
					f := a.Content.Flags[0]
					f.Plan, f.End = plan, safeguard.Date{Year: 2026, Month: 3, Day: 31}
					a.Content.Flags = append(a.Content.Flags, f)
				}
			}
			if action != safeguard.Raise {
				a.Gone = safeguard.Told{Kinds: []safeguard.Kind{safeguard.CheckNotCompleted, safeguard.NoneFound, safeguard.FlagsHeld}, Flags: Sample(action, safeguard.FlagsHeld).Content.Flags}
			}
			out = append(out, a)
		}
	}
	return out
}
