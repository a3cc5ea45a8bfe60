package main

import (
	"strings"
	"testing"
)

// TestOperatingARunningCentre: what is in its configuration file, and how it logs,
// a running centre takes by commands, on each system.
func TestOperatingARunningCentre(t *testing.T) {
	p := newPlace(t)
	want := func(code int, text string, args ...string) {
		t.Helper()
		if out, got := p.run(append(args, "--config", "central.yaml")...); got != code || !strings.Contains(out, text) {
			t.Errorf("%s: exit code %d, %q, want %d and %q", strings.Join(args, " "), got, out, code, text)
		}
	}
	want(4, "the service is not running", "config", "reload")
	want(4, "the service is not running", "log", "level")
	c := p.start()
	want(0, "nothing has changed", "config", "reload")
	p.write("central.yaml", config+"  - {code: 807, name: Redcar and Cleveland, emergency_duty_phone: 01632 960807}\n")
	want(0, "in force: authorities", "config", "reload")
	p.write("central.yaml", config+"  - {code: 807, name: Redcar and Cleveland, emergency_duty_phone: 01632 960807}\npolicy: {tail_months: 6}\n")
	want(3, "needs a restart: policy.tail_months", "config", "reload")
	want(3, `"restart":["policy.tail_months"]`, "config", "reload", "--json")
	p.write("central.yaml", config+"colour: blue\n")
	want(1, "what was in force stays in force", "config", "reload")
	want(0, "info", "log", "level")
	want(0, "debug until ", "log", "level", "debug", "--for", "10m")
	want(0, "log level changed by an operator", "log", "recent")
	want(0, "info\n", "log", "level", "configured")
	if err := c.interrupt(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	want(4, "the service is not running", "log", "level")
}
