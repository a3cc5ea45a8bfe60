package journal

import (
	"reflect"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// whole is an attendance in which nothing is left out.
func whole(t *testing.T) safeguard.Attendance {
	t.Helper()
	code, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) safeguard.NHSNumber {
		n, err := safeguard.ParseNHSNumber(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	at := time.Date(2026, 3, 14, 10, 15, 0, 0, time.UTC)
	return safeguard.Attendance{
		ID: safeguard.NewAttendanceID(code, "visit", "", "V1"), Organisation: code, Site: code, Setting: safeguard.EmergencyDepartment,
		Purpose: safeguard.Unscheduled, State: safeguard.Ended, Begun: at, Finished: at.Add(time.Hour),
		Patient: safeguard.Patient{
			Number: number("9990000344"), NumberStatus: safeguard.Verified, MRN: safeguard.Hide(safeguard.Identifier{Value: "H1", Authority: "RX1", Type: "MR"}),
			Born: safeguard.Hide(safeguard.Date{Year: 2026, Month: 3, Day: 1}), Sex: safeguard.Female,
			Family: safeguard.Hide("FERNSBY"), Given: safeguard.Hide("MARA"), Mother: number("9990000352"),
		},
		Visit: safeguard.Hide(safeguard.Identifier{Value: "V1", Authority: "RX1", Type: "VN"}),
		Class: "E", Location: "ED", Maternity: true, Sensitive: true, Test: true, Rule: "class E",
	}
}

// everything fails for a field that is not set: what the domain gains, the
// journal has to keep.
func everything(t *testing.T, v any) {
	t.Helper()
	for i, rv := 0, reflect.ValueOf(v); i < rv.NumField(); i++ {
		if rv.Type().Field(i).IsExported() && rv.Field(i).IsZero() {
			t.Fatalf("%T.%s is not set by this test: set it, and see that it is kept", v, rv.Type().Field(i).Name)
		}
	}
}

func TestWhatIsSealedComesBackWhole(t *testing.T) {
	a := whole(t)
	everything(t, a)
	everything(t, a.Patient)
	content := safeguard.Content{
		Kind: safeguard.FlagsHeld, Reason: safeguard.NoNHSNumber, AsOf: a.Begun, Source: safeguard.FromCache,
		Flags: []safeguard.Flag{{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2026, Month: 1, Day: 5}, End: safeguard.Date{Year: 2026, Month: 2, Day: 5},
			Authority: safeguard.Authority{Code: a.Site, Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001", OfficeHoursPhone: "01632 960002"}, Mothers: true}},
	}
	everything(t, content)
	everything(t, content.Flags[0])
	everything(t, content.Flags[0].Authority)
	told := safeguard.Told{Kinds: []safeguard.Kind{safeguard.CheckNotCompleted}, Flags: content.Flags}
	everything(t, told)

	t.Run("an alert", func(t *testing.T) {
		want := safeguard.Alert{ID: "alert", Version: 3, Action: safeguard.Update, Attendance: a, Content: content, Gone: told, Decided: a.Begun, Rule: "flags held"}
		everything(t, want)
		plain, err := encodeAlert(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeAlert(plain); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got another alert back: %v\n%+v\n%+v", err, got, want)
		}
	})
	t.Run("a visit", func(t *testing.T) {
		plain, err := encodeVisit(a)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeVisit(plain); err != nil || got != a {
			t.Errorf("got another attendance back: %v\n%+v\n%+v", err, got, a)
		}
	})
	t.Run("a record, without the name", func(t *testing.T) {
		own := Lookup{
			safeguard.Answer{Status: safeguard.Held, Reason: safeguard.CentreRefused, Flags: content.Flags, AsOf: a.Begun, Source: safeguard.FromCentre,
				Data: []safeguard.DataAge{{Authority: a.Site, Name: "Ashmere Council", Uploaded: a.Begun, Overdue: true}}},
			Asked{a.Patient.Number, a.Patient.Born, a.Purpose}, Asked{a.Patient.Number, a.Patient.Born, safeguard.Scheduled},
		}
		hers := Lookup{safeguard.Answer{Status: safeguard.NoneHeld}, Asked{Number: a.Patient.Mother}, Asked{Number: a.Patient.Mother}}
		clock := Clock{a.Begun, 17, "pas", true}
		want := Record{
			Attendance: a, Accepted: a.Begun, Stage: safeguard.Notified, Own: own, Mothers: hers, Recorded: []Recorded{{a.Patient.Number, a.ID}, {a.Patient.Mother, a.ID}}, Sinks: []string{"epr"}, TakenBack: []string{"mark"},
			Shown:   safeguard.Shown{Generation: 1, Version: 2, Content: content, About: a.Patient.Unnamed(), Accepted: a.Begun, Past: told, Untold: true, Closed: true},
			Current: a.ID, Before: a.ID, Opened: a.Begun, Told: clock, Moved: clock, Closed: Closing{a.Begun, "lead", "seen by the ward"},
		}
		everything(t, want)
		full := want.Own.Answer // with what is not kept on purpose
		full.Policy, full.OwedPause, full.History = new(safeguard.CachePolicy), 1, []safeguard.PastAccess{{}}
		everything(t, full)
		everything(t, want.Own.Asked)
		everything(t, want.Shown)
		everything(t, want.Told)
		everything(t, want.Closed)
		plain, err := encodeRecord(want)
		if err != nil {
			t.Fatal(err)
		}
		want.Attendance.Patient.Family, want.Attendance.Patient.Given = safeguard.Private[string]{}, safeguard.Private[string]{}
		if got, err := decodeRecord(plain); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got another record back: %v\n%+v\n%+v", err, got, want)
		}
	})
}
