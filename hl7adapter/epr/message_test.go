package epr_test

import (
	"bytes"
	"context"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
	"github.com/safeguard-edge/safeguard/test/hospital"
)

var update = flag.Bool("update", false, "write the golden files")

func date(t *testing.T, s string) safeguard.Date {
	t.Helper()
	d, err := safeguard.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// alert is about a made-up boy.
func alert(t *testing.T) safeguard.Alert {
	t.Helper()
	number, err := safeguard.ParseNHSNumber("9990000344")
	if err != nil {
		t.Fatal(err)
	}
	rx1, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		t.Fatal(err)
	}
	decided := time.Date(2026, 6, 14, 21, 30, 5, 0, time.UTC)
	return safeguard.Alert{
		ID: "6f0d4c7e-2b1a-8c3d-9e4f-5a6b7c8d9e0f", Version: 1, Action: safeguard.Raise, Decided: decided,
		Attendance: safeguard.Attendance{
			Organisation: rx1, Class: "E", Location: "ED", Visit: safeguard.Hide(safeguard.Identifier{Value: "V1", Authority: "VISIT"}),
			Patient: safeguard.Patient{
				Number: number, NumberStatus: safeguard.Verified,
				MRN: safeguard.Hide(safeguard.Identifier{Value: "H100001", Authority: "RX1", Type: "MR"}), Born: safeguard.Hide(date(t, "2018-11-02")),
				Family: safeguard.Hide("O'FERNSBY & SON"), Given: safeguard.Hide("TOBIÁS"),
			},
		},
		Content: safeguard.Content{
			Kind: safeguard.FlagsHeld, AsOf: decided, Source: safeguard.FromCentre,
			Flags: []safeguard.Flag{{
				Plan: safeguard.ChildProtection, Start: date(t, "2026-01-05"),
				Authority: safeguard.Authority{Code: rx1, Name: "Ashmere | Vale Council", EmergencyDutyPhone: "01632 960001", OfficeHoursPhone: "01632 960002"},
			}},
		},
	}
}

func TestMessage(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*safeguard.Alert){
		"raise":    func(*safeguard.Alert) {},
		"withdraw": func(a *safeguard.Alert) { a.Action, a.Version = safeguard.Withdraw, 2 },
		"cached": func(a *safeguard.Alert) {
			a.Content.Source, a.Content.AsOf = safeguard.FromCache, a.Decided.Add(-26*time.Hour)
		},
		"ended-and-looked-after": func(a *safeguard.Alert) {
			a.Action, a.Version = safeguard.Update, 3
			a.Content.Flags[0].End = date(t, "2026-03-31")
			a.Content.Flags = append(a.Content.Flags, safeguard.Flag{Plan: safeguard.LookedAfter, Start: date(t, "2026-04-01"),
				Authority: safeguard.Authority{Name: "Brackwater Council", EmergencyDutyPhone: "01632 960100"}})
		},
		"unborn-unverified": func(a *safeguard.Alert) {
			a.Content.Flags[0].Plan = safeguard.UnbornChild
			a.Attendance.Patient.NumberStatus = safeguard.StatusNotStated
		},
		"infant": func(a *safeguard.Alert) {
			a.Content.Flags[0].Plan, a.Content.Flags[0].Mothers = safeguard.UnbornChild, true
		},
		"not-completed": func(a *safeguard.Alert) {
			a.Content = safeguard.Content{Kind: safeguard.CheckNotCompleted, Reason: safeguard.CentreUnreachable}
		},
		"not-completed-no-number": func(a *safeguard.Alert) {
			a.Attendance.Patient.Number = safeguard.NHSNumber{}
			a.Attendance.Patient.Born = safeguard.Private[safeguard.Date]{}
			a.Content = safeguard.Content{Kind: safeguard.CheckNotCompleted, Reason: safeguard.NoNHSNumber}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := alert(t)
			change(&a)
			got, err := epr.Message(a, "epr", epr.Receiver{Application: "EPR", Facility: "RX101", Zone: london})
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(got, []byte(`|""`)) {
				t.Error(`"" would delete what the EPR holds`)
			}
			m, err := hl7.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			if id := string(m.Header().ControlID); id != a.ControlID("epr") {
				t.Errorf("MSH-10 is %q, want the alert's control id", id)
			}
			again, err := epr.Message(a, "epr", epr.Receiver{Application: "EPR", Facility: "RX101", Zone: london})
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("a repeat differs: %v", err)
			}
			golden(t, name+".hl7", bytes.ReplaceAll(got, []byte("\r"), []byte("\n")))
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestDeliver(t *testing.T) {
	for code, want := range map[string]safeguard.Outcome{
		"AA": safeguard.Delivered, "CA": safeguard.Delivered,
		"AE": safeguard.Retry, "CE": safeguard.Retry,
		"AR": safeguard.Refused, "CR": safeguard.Refused,
	} {
		t.Run(code, func(t *testing.T) {
			e, err := hospital.NewEPR("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			e.Answer(code)
			s := sink(t, e.Addr())
			r, err := s.Deliver(t.Context(), alert(t))
			if err != nil || r.Outcome != want || r.Code != code {
				t.Errorf("got %s %q, want %s: %v", r.Outcome, r.Code, want, err)
			}
		})
	}
}

func TestDeliverSaysWhenNoAnswerCame(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := sink(t, address).Deliver(ctx, alert(t))
	if err == nil || r.Outcome != safeguard.Retry {
		t.Errorf("nobody listens: got %s, %v; want an error, to be tried again", r.Outcome, err)
	} else if strings.Contains(err.Error(), "FERNSBY") || !strings.Contains(err.Error(), address) {
		t.Errorf("the error must name the address, and nobody: %v", err)
	}
}

func sink(t *testing.T, address string) *epr.MLLP {
	t.Helper()
	c := mllp.DefaultSenderConfig()
	c.Address = address
	s, err := epr.NewMLLP("epr", epr.Receiver{Application: "EPR"}, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
