//go:build interop

// Package interop tries the sinks against peers of others, and what they write
// against validators of others. "make interop" installs these with npm.
package interop_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/fhir"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
)

const patience = time.Minute

// peer is a program of node that runs, and whose lines are read.
type peer struct {
	t     *testing.T
	in    io.WriteCloser
	lines chan string
}

func run(t *testing.T, args ...string) *peer {
	t.Helper()
	cmd := exec.Command("node", args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{t, in, make(chan string, 1000)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // was killed
	})
	return p
}

func (p *peer) line() string {
	p.t.Helper()
	select {
	case l, more := <-p.lines:
		if !more {
			p.t.Fatal("the peer ended")
		}
		return l
	case <-time.After(patience):
		p.t.Fatal("the peer says nothing")
	}
	return ""
}

func alerts() map[string]safeguard.Alert {
	all := map[string]safeguard.Alert{
		"raise": eprtest.Alert(1, safeguard.Raise), "update, ended": eprtest.Alert(2, safeguard.Update), "withdraw": eprtest.Alert(3, safeguard.Withdraw),
		"not completed": epr.Sample(safeguard.Raise, safeguard.CheckNotCompleted), "none held": epr.Sample(safeguard.Raise, safeguard.NoneFound),
	}
	return all
}

func fhirSink(t *testing.T, base, shape string) *fhir.Sink {
	t.Helper()
	c := fhir.DefaultConfig()
	c.Base, c.Shape, c.Timeout = base, shape, patience
	sink, err := fhir.New("epr", c, epr.DefaultWording(), time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

func TestResourcesAreValidFHIR(t *testing.T) {
	profile := filepath.Join("..", "..", "..", "shared", "data", "fhir-uk", "UKCore-Flag.json")
	args := []string{"validate.mjs"}
	checks := 1.0
	if _, err := os.Stat(profile); err == nil {
		args, checks = append(args, profile), 2
	} else {
		t.Logf("held to FHIR R4 only, as the profile of UK Core is not there")
	}
	v := run(t, args...)
	v.line() // ready
	issues := func(resource string) (all []any, checked float64) {
		t.Helper()
		fmt.Fprintln(v.in, resource)
		var answer map[string]any
		if err := json.Unmarshal([]byte(v.line()), &answer); err != nil {
			t.Fatal(err)
		}
		return answer["issues"].([]any), answer["checked"].(float64)
	}
	// What the validator must find, so that finding nothing says something.
	for name, wrong := range map[string]string{
		"a status that is none":   `{"resourceType":"Flag","status":"on","code":{"text":"x"},"subject":{"reference":"Patient/1"}}`,
		"without subject":         `{"resourceType":"Flag","status":"active","code":{"text":"x"}}`,
		"an element that is none": `{"resourceType":"Flag","status":"active","code":{"text":"x"},"subject":{"reference":"Patient/1"},"colour":"red"}`,
	} {
		if found, _ := issues(wrong); len(found) == 0 {
			t.Errorf("%s: the validator finds nothing wrong", name)
		}
	}
	for _, shape := range []string{fhir.UKCore, fhir.England} {
		sink := fhirSink(t, "http://127.0.0.1:1/fhir", shape)
		for name, a := range alerts() {
			text, err := sink.Preview(a)
			if err != nil {
				t.Fatal(err)
			}
			for d := json.NewDecoder(strings.NewReader(text)); a.Action != safeguard.Withdraw; {
				var raw map[string]any
				if err := d.Decode(&raw); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				one, err := json.Marshal(raw)
				if err != nil {
					t.Fatal(err)
				}
				found, checked := issues(string(one))
				if len(found) > 0 {
					t.Errorf("%s, %s, %s: %v\n%s", shape, name, raw["resourceType"], found, one)
				}
				if raw["resourceType"] == "Flag" && shape == fhir.UKCore && checked != checks {
					t.Errorf("%s: held to %v definitions, want %v", name, checked, checks)
				}
			}
		}
	}
}

func TestAlertsAtAFHIRServer(t *testing.T) {
	for _, shape := range []string{fhir.UKCore, fhir.England} {
		t.Run(shape, func(t *testing.T) {
			raise := eprtest.Alert(1, safeguard.Raise)
			server := run(t, "fhir-server.mjs", raise.Attendance.Patient.Number.Reveal())
			sink := fhirSink(t, "http://127.0.0.1:"+server.line(), shape)
			deliver := func(a safeguard.Alert, code string) {
				t.Helper()
				if r, err := sink.Deliver(t.Context(), a); err != nil || r.Outcome != safeguard.Delivered || r.Code != code {
					t.Fatalf("%s: got %s %q %q, want it delivered with %s: %v", a.Action, r.Outcome, r.Code, r.Text, code, err)
				}
			}
			compare := func(a safeguard.Alert, same bool) {
				t.Helper()
				if differs, err := sink.Compare(t.Context(), a); err != nil || same != (differs == "") {
					t.Errorf("%s: the server's differs by %q: %v", a.Action, differs, err)
				}
			}
			compare(raise, false)
			deliver(raise, "200")
			compare(raise, true)
			deliver(raise, "unchanged") // a repeat
			update := eprtest.Alert(2, safeguard.Update)
			deliver(update, "200")
			compare(update, true)
			compare(raise, false)
			withdraw := eprtest.Alert(3, safeguard.Withdraw)
			compare(withdraw, false)
			deliver(withdraw, "200")
			compare(withdraw, true)
			if r, err := sink.Deliver(t.Context(), eprtest.Other()); err != nil || r.Outcome != safeguard.Retry || r.Code != "patient-not-found" {
				t.Errorf("a patient whom the server does not have: %s %q, %v", r.Outcome, r.Code, err)
			}
		})
	}
}

func TestAlertsAtHL7Servers(t *testing.T) {
	for _, name := range []string{"simple-hl7", "node-hl7-server"} {
		for _, format := range epr.Formats() {
			t.Run(name+"/"+format, func(t *testing.T) {
				server := run(t, "mllp-servers.mjs", name, "accept")
				sink := mllpSink(t, server.line(), format)
				for n, action := range []safeguard.Action{safeguard.Raise, safeguard.Update, safeguard.Withdraw, safeguard.Withdraw} {
					a := eprtest.Alert(min(n+1, 3), action)
					r, err := sink.Deliver(t.Context(), a)
					if err != nil || r.Outcome != safeguard.Delivered || r.Code != "AA" {
						t.Fatalf("%s: %s %q: %v", action, r.Outcome, r.Code, err)
					}
					// node-hl7-server takes what came before once more with each message, and
					// answers that too; such answers are nobody's.
					said := strings.Fields(server.line())
					for said[0] != a.ControlID("epr") {
						said = strings.Fields(server.line())
					}
					if segments, err := strconv.Atoi(said[2]); err != nil || said[1] != "AA" || segments < 4 {
						t.Errorf("%s: the server says %v, want it taken with all its segments", action, said)
					}
				}
			})
		}
		t.Run(name+"/refuses", func(t *testing.T) {
			server := run(t, "mllp-servers.mjs", name, "refuse")
			sink := mllpSink(t, server.line(), "oru-r01")
			if r, err := sink.Deliver(t.Context(), eprtest.Alert(1, safeguard.Raise)); err != nil || r.Outcome != safeguard.Refused || r.Code != "AR" {
				t.Errorf("%s %q: %v", r.Outcome, r.Code, err)
			}
		})
	}
}

func mllpSink(t *testing.T, port, format string) epr.Sink {
	t.Helper()
	c := epr.DefaultMessageConfig()
	c.Format = format
	f, err := epr.NewFormat("epr", c, epr.DefaultWording(), time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	s := mllp.DefaultSenderConfig()
	s.Address, s.AckTimeout = "127.0.0.1:"+port, patience
	sink, err := epr.NewMLLP(f, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := epr.DefaultGuardConfig()
	g.ReleaseConfirmedBy = "nobody, this EPR is a peer"
	guard, err := epr.NewGuard(sink, g, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = guard.Close() })
	return guard
}
