package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/cdshooks"
)

// SinkRequest is what the epr commands ask of a running agent.
type SinkRequest struct {
	Do       string `json:"do"` // states, test
	Sink     string `json:"sink,omitempty"`
	Withdraw bool   `json:"withdraw,omitempty"` // of a test: take the test alert away again
}

// SinkState is a row of the states: a sink's, or that of the service that EPRs ask.
type SinkState struct {
	epr.State
	Asked *cdshooks.Stats `json:"asked,omitempty"` // what was asked of the service; nil for a sink
}

// TestReport is what came of a test alert.
type TestReport struct {
	Sink    string `json:"sink"`
	Action  string `json:"action"`
	Sent    string `json:"sent"`
	Outcome string `json:"outcome"`
	Code    string `json:"code,omitempty"`
	Text    string `json:"text,omitempty"`
	Error   string `json:"error,omitempty"`
	Took    string `json:"took"`
}

func operateSinks(l *live, hooks *cdshooks.Service) control.Handler {
	return func(ctx context.Context, _ string, args json.RawMessage, send func(any) error) error {
		var r SinkRequest
		if err := json.Unmarshal(args, &r); err != nil {
			return &control.Error{Code: control.CodeRequest, Text: "want a request as JSON"}
		}
		c, sinks := l.current(), l.sinks.now()
		switch r.Do {
		case "states":
			for _, g := range sinks {
				if err := send(SinkState{State: g.State()}); err != nil {
					return err
				}
			}
			if hooks == nil {
				return nil
			}
			state, asked := hooks.State()
			return send(SinkState{state, &asked})
		case "test":
			report, err := c.TestSink(ctx, sinks, r.Sink, r.Withdraw)
			if err != nil {
				return err
			}
			return send(report)
		}
		return &control.Error{Code: control.CodeRequest, Text: fmt.Sprintf("do %q: want states or test", r.Do)}
	}
}

// TestSink sends a test alert about the sink's own test patient, and about nobody
// else, whether or not the sink is live.
func (c Config) TestSink(ctx context.Context, sinks Sinks, name string, withdraw bool) (TestReport, error) {
	g, err := sinks.Named(name)
	if err != nil {
		return TestReport{}, err
	}
	for _, s := range c.Sinks {
		if s.Name != name {
			continue
		}
		if s.TestPatient == nil {
			return TestReport{}, fmt.Errorf("sink %s has no test_patient: a test alert is sent about nobody else", name)
		}
		return test(ctx, g, s.TestPatient.alert(c, s, withdraw))
	}
	return TestReport{}, errors.New("no such sink")
}

func test(ctx context.Context, g *epr.Guard, a safeguard.Alert) (TestReport, error) {
	sent, err := g.Preview(a)
	if err != nil {
		return TestReport{}, err
	}
	begun := time.Now()
	receipt, err := g.Try(ctx, a)
	report := TestReport{Sink: g.Name(), Action: a.Action.String(), Sent: sent, Outcome: receipt.Outcome.String(), Code: receipt.Code, Text: receipt.Text,
		Took: time.Since(begun).Round(time.Millisecond).String()}
	if err != nil {
		report.Outcome, report.Error = "no answer", err.Error()
	}
	return report, nil
}

// alert is the test alert: marked as a test, of the same id for each sink, so that
// it can be withdrawn.
func (p TestPatient) alert(c Config, s Sink, withdraw bool) safeguard.Alert {
	now := time.Now()
	a := epr.Sample(safeguard.Raise, safeguard.FlagsHeld)
	if withdraw {
		a.Action = safeguard.Withdraw
	}
	a.ID = safeguard.AlertID(safeguard.NewAttendanceID(c.Organisation, "test alert", s.Name, p.NHSNumber, p.HospitalNumber).String())
	a.Version, a.Decided = int(now.Unix()), now
	a.Content.AsOf = now
	a.Attendance.ID = safeguard.NewAttendanceID(c.Organisation, "test attendance", s.Name)
	a.Attendance.Organisation, a.Attendance.Test, a.Attendance.Begun = c.Organisation, true, now
	if len(c.Sites) > 0 {
		a.Attendance.Site = c.Sites[0]
	}
	number, _ := safeguard.ParseNHSNumber(p.NHSNumber) // was checked; empty for none
	a.Attendance.Visit = safeguard.Hide(safeguard.Identifier{Value: p.VisitNumber, Authority: p.VisitNumberAuthority})
	a.Attendance.Patient = safeguard.Patient{
		Number: number, NumberStatus: safeguard.Verified,
		MRN:    safeguard.Hide(safeguard.Identifier{Value: p.HospitalNumber, Authority: p.HospitalNumberAuthority, Type: p.HospitalNumberType}),
		Born:   safeguard.Hide(p.Born),
		Family: safeguard.Hide(p.Family), Given: safeguard.Hide(p.Given),
	}
	return a
}
