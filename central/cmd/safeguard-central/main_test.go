package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
)

// The test binary is the program too, so that these tests run the real thing in
// processes of its own.
func TestMain(m *testing.M) {
	if os.Getenv("SAFEGUARD_CENTRAL_TEST") == "run" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// place is a folder with certificates and a configuration.
type place struct {
	*testing.T
	dir string
}

const config = `
listen: 127.0.0.1:0
address_file: address
data: data
master_key: secret/master.key
tls: {certificate: ca/centre.pem, key: ca/centre-key.pem, clients_ca: ca/ca.pem}
production_checks: false
sites:
  - organisation: RX1
    site: RX1RA
    name: Example Infirmary
    care_settings: [emergency-department]
    accountable: {name: Dr A Example, role: Named doctor}
authorities:
  - {code: 806, name: Middlesbrough, emergency_duty_phone: 01632 960806}
`

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t, t.TempDir()}
	p.write("central.yaml", config)
	if err := os.Mkdir(p.path("secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, code := p.run("dev-ca", "ca", "--agent", "RX1", "--authority", "806"); code != 0 || strings.Count(out, ".pem") != 8 {
		t.Fatalf("dev-ca: %d: %s", code, out)
	}
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name, text string) {
	p.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
}

func (p *place) command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Dir = p.dir
	// The race detector would wait a second at the end of each process.
	c.Env = append(os.Environ(), "SAFEGUARD_CENTRAL_TEST=run", "GORACE=atexit_sleep_ms=0")
	return c
}

// run gives what the program wrote, both streams, and its exit code.
func (p *place) run(args ...string) (string, int) {
	p.Helper()
	out, err := p.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.Fatal(err)
	}
	if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

// centre is the program running as the flag service.
type centre struct {
	*place
	process *exec.Cmd
	log     *bytes.Buffer // to be read when the process has ended
	address string
	ended   bool
}

func (p *place) start() *centre {
	p.Helper()
	c := &centre{place: p, process: p.command("run", "--config", "central.yaml"), log: &bytes.Buffer{}}
	c.process.Stderr = c.log
	_ = os.Remove(p.path("address"))
	if err := c.process.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(c.kill)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(p.path("address"))
		if err == nil {
			c.address = strings.TrimSpace(string(text))
			return c
		}
		if time.Now().After(deadline) {
			c.kill()
			p.Fatalf("the centre does not listen:\n%s", c.log)
		}
	}
}

func (c *centre) kill() {
	if !c.ended {
		c.ended = true
		_ = c.process.Process.Kill()
		_ = c.process.Wait()
	}
}

func (c *centre) interrupt() error {
	if runtime.GOOS == "windows" {
		c.kill() // there is no interrupt to send
		return nil
	}
	c.ended = true
	if err := c.process.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return c.process.Wait()
}

// authority adds to args what a local authority's commands need.
func (c *centre) authority(args ...string) (string, int) {
	c.Helper()
	return c.run(c.asAuthority(args...)...)
}

func (c *centre) asAuthority(args ...string) []string {
	return append(args, "--server", c.address, "--cert", "ca/authority-806.pem", "--key", "ca/authority-806-key.pem", "--ca", "ca/ca.pem")
}

func (c *centre) agent() *client.Client {
	c.Helper()
	tlsConfig, err := identity.ClientTLS(identity.Files{Certificate: c.path("ca/agent-RX1.pem"), Key: c.path("ca/agent-RX1-key.pem"), CA: c.path("ca/ca.pem")}, identity.Agent)
	if err != nil {
		c.Fatal(err)
	}
	agent, err := client.Dial(c.address, tlsConfig, client.Deadline(20*time.Second))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = agent.Close() })
	return agent
}

const flagsFile = "nhs_number,date_of_birth,plan,start,end\n9990000107,2019-06-07,CPP,2025-01-02,\n"

func query(t *testing.T, visit string) safeguard.Query {
	t.Helper()
	var q safeguard.Query
	var err error
	if q.Number, err = safeguard.ParseNHSNumber("9990000107"); err != nil {
		t.Fatal(err)
	}
	born, err := safeguard.ParseDate("2019-06-07")
	if err != nil {
		t.Fatal(err)
	}
	q.Born = safeguard.Hide(born)
	q.Purpose = safeguard.Unscheduled
	q.Author.Device = "agent one"
	if q.Author.Organisation, err = safeguard.ParseODSCode("RX1"); err != nil {
		t.Fatal(err)
	}
	if q.Author.Site, err = safeguard.ParseODSCode("RX1RA"); err != nil {
		t.Fatal(err)
	}
	q.Author.Setting = safeguard.EmergencyDepartment
	q.Attendance = safeguard.NewAttendanceID(q.Author.Organisation, visit)
	q.At = time.Now()
	return q
}

// notification is one as the program's JSON shows it.
type notification struct {
	ID         string `json:"id"`
	NHSNumber  string `json:"nhs_number"`
	Attendance string `json:"attendance"`
}

func (c *centre) notifications(args ...string) []notification {
	c.Helper()
	out, code := c.authority(append([]string{"notifications", "list", "--json"}, args...)...)
	if code != 0 {
		c.Fatalf("notifications list: %d: %s", code, out)
	}
	var list []notification
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		c.Fatalf("notifications list: %v: %s", err, out)
	}
	return list
}

// What an operator and a local authority do on the first day.
func TestFirstDay(t *testing.T) {
	c := newPlace(t).start()

	c.write("flags.csv", flagsFile)
	if out, code := c.authority("upload", "flags.csv"); code != 0 || !strings.Contains(out, "flags.csv: all 1 rows loaded (CPF02, upload ") {
		t.Errorf("import: %d: %s", code, out)
	}
	c.write("some.csv", flagsFile+"9990000108,2019-06-07,CPP,2025-01-02,\n9990000115,7/6/19,CPP,2025-01-02,\n")
	want := "some.csv:3: nhs_number: wrong check digit (CPR04)\n" +
		"some.csv:4: date_of_birth: has a year of two digits, want YYYY-MM-DD (CPR07)\n" +
		"some.csv: note: not checked against a demographic service: numbers that are not in use, superseded or of other persons are not found\n" +
		"some.csv: 1 of 3 rows loaded, 2 rejected (CPF03, upload "
	if out, code := c.authority("upload", "some.csv"); code != 3 || !strings.HasPrefix(out, want) {
		t.Errorf("import with bad rows: %d: %s", code, out)
	}
	out, code := c.authority("upload", "some.csv", "--json")
	var report client.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 3 || report.Verdict != "CPF03" || len(report.Verdicts) != 3 {
		t.Errorf("import as JSON: %d, %v: %s", code, err, out)
	}

	answer, err := c.agent().Lookup(t.Context(), query(t, "visit 1"))
	if err != nil || answer.Status != safeguard.Held {
		t.Fatalf("lookup: %+v, %v", answer, err)
	}
	out, code = c.authority("notifications", "list")
	if code != 0 || !strings.Contains(out, "*** *** 0107") || !strings.Contains(out, "Example Infirmary") || !strings.Contains(out, "Dr A Example") || strings.Contains(out, "9990000107") {
		t.Errorf("notifications list: %d: %s", code, out)
	}
	waiting := c.notifications()
	if len(waiting) != 1 || waiting[0].NHSNumber != "*** *** 0107" {
		t.Fatalf("waiting %v, want one, masked", waiting)
	}
	if shown := c.notifications("--reveal"); shown[0].NHSNumber != "9990000107" {
		t.Errorf("revealed %v", shown)
	}
	if out, code := c.authority("notifications", "ack", waiting[0].ID); code != 0 || out != "1 acknowledged\n" {
		t.Errorf("ack: %d: %s", code, out)
	}
	if out, code := c.authority("notifications", "list"); code != 0 || out != "no notification is waiting\n" {
		t.Errorf("after the acknowledgement: %d: %s", code, out)
	}
	if out, code := c.authority("notifications", "ack", "--all"); code != 0 || out != "0 acknowledged\n" {
		t.Errorf("ack --all of nothing: %d: %s", code, out)
	}

	if err := c.interrupt(); err != nil {
		t.Errorf("stop: %v\n%s", err, c.log)
	}
	if log := c.log.String(); runtime.GOOS != "windows" && (!strings.Contains(log, "central started") || !strings.Contains(log, "central stopped")) || strings.Contains(log, "9990000107") {
		t.Errorf("log:\n%s", log)
	}
}

// Each is one clear line: what, where, and what would be right.
func TestWrongUse(t *testing.T) {
	p := newPlace(t)
	p.write("bad.yaml", strings.Replace(config, "production_checks", "production_check", 1))
	p.write("nocert.yaml", strings.Replace(config, "ca/centre.pem", "ca/none.pem", 1))
	p.write("agent.yaml", strings.NewReplacer("ca/centre", "ca/agent-RX1").Replace(config))
	p.write("flags.csv", flagsFile)
	p.write("nohead.csv", "9990000107,2019-06-07,CPP,2025-01-02\n")
	as := func(cert, key, ca string) []string {
		return []string{"upload", "flags.csv", "--server", "127.0.0.1:1", "--cert", cert, "--key", key, "--ca", ca}
	}
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"no configuration", []string{"run", "--config", "none.yaml"}, []string{"none.yaml: no such file"}},
		{"unknown key", []string{"run", "--config", "bad.yaml"}, []string{"bad.yaml:7:1", `"production_check"`, `"production_checks"`}},
		{"missing certificate", []string{"run", "--config", "nocert.yaml"}, []string{"certificate", "none.pem: no such file", "dev-ca"}},
		{"an agent's certificate for the centre", []string{"run", "--config", "agent.yaml"}, []string{"agent-RX1.pem", "want one of kind centre"}},
		{"missing file", append([]string{"upload", "none.csv"}, as("ca/authority-806.pem", "ca/authority-806-key.pem", "ca/ca.pem")[2:]...), []string{"none.csv"}},
		{"no header", append([]string{"upload", "nohead.csv"}, as("ca/authority-806.pem", "ca/authority-806-key.pem", "ca/ca.pem")[2:]...), []string{"nohead.csv: line 1: no column nhs_number", "want"}},
		{"no such certificate", as("none.pem", "ca/authority-806-key.pem", "ca/ca.pem"), []string{"none.pem: no such file"}},
		{"an agent's certificate", as("ca/agent-RX1.pem", "ca/agent-RX1-key.pem", "ca/ca.pem"), []string{"agent/RX1", "want one of kind authority"}},
		{"nobody there", as("ca/authority-806.pem", "ca/authority-806-key.pem", "ca/ca.pem"), []string{"centre unreachable", "127.0.0.1:1"}},
		{"missing flags", []string{"upload", "flags.csv"}, []string{"--server"}},
		{"bad code", []string{"dev-ca", "ca", "--agent", "R"}, []string{"three to six"}},
		{"neither ids nor all", append([]string{"notifications", "ack"}, as("ca/authority-806.pem", "ca/authority-806-key.pem", "ca/ca.pem")[2:]...), []string{"either ids or --all"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, code := p.run(tt.args...)
			if code != 1 || strings.Count(out, "\n") != 1 {
				t.Errorf("exit code %d, want 1 and one line:\n%s", code, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q does not say %q", out, want)
				}
			}
			if strings.Contains(out, "9990000107") {
				t.Errorf("%q repeats an NHS number", out)
			}
		})
	}
	if out, code := p.run("version"); code != 0 || !strings.HasPrefix(out, "safeguard-central ") {
		t.Errorf("version: %d: %s", code, out)
	}
}

// The centre is killed while lookups are on their way, until at least once a
// lookup was committed and its answer lost. Asked again, each attendance still
// gives one notification, with the same id.
func TestKilledBetweenCommitAndAnswer(t *testing.T) {
	p := newPlace(t)
	p.write("flags.csv", flagsFile)
	ids := map[string]string{} // by attendance
	lost := 0
	for round := 0; lost == 0; round++ {
		if round == 20 {
			t.Fatal("in 20 rounds no answer was lost after its commit")
		}
		c := p.start()
		if round == 0 {
			if out, code := c.authority("upload", "flags.csv"); code != 0 {
				t.Fatalf("import: %s", out)
			}
		}
		visits := make([]safeguard.Query, 64)
		for i := range visits {
			visits[i] = query(t, fmt.Sprintf("round %d visit %d", round, i))
		}
		answered := askAndKill(c, visits)

		c = p.start()
		for _, n := range c.notifications() {
			ids[n.Attendance] = n.ID
		}
		for _, q := range visits {
			committed := ids[q.Attendance.String()] != ""
			if answered[q.Attendance] && !committed {
				t.Errorf("answered, and not recorded: %s", q.Attendance)
			}
			if committed && !answered[q.Attendance] {
				lost++
			}
		}

		agent := c.agent()
		for _, q := range visits {
			answer, err := agent.Lookup(t.Context(), q)
			if err != nil || answer.Status != safeguard.Held {
				t.Fatalf("asked again: %+v, %v", answer, err)
			}
		}
		seen := map[string]bool{}
		for _, n := range c.notifications() {
			if before := ids[n.Attendance]; seen[n.Attendance] || before != "" && before != n.ID {
				t.Errorf("attendance %s: id %s, before %s, seen %v", n.Attendance, n.ID, before, seen[n.Attendance])
			}
			seen[n.Attendance], ids[n.Attendance] = true, n.ID
		}
		if want := (round + 1) * len(visits); len(seen) != want {
			t.Errorf("%d notifications, want %d", len(seen), want)
		}
		c.kill()
	}
	t.Logf("%d answers were lost after their commit", lost)
}

// askAndKill asks all at once, kills the centre with the first answer, and tells
// which were answered.
func askAndKill(c *centre, visits []safeguard.Query) map[safeguard.AttendanceID]bool {
	agent := c.agent()
	ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	answered := map[safeguard.AttendanceID]bool{}
	var once sync.Once
	var wait sync.WaitGroup
	for _, q := range visits {
		wait.Go(func() {
			if _, err := agent.Lookup(ctx, q); err != nil {
				return
			}
			once.Do(func() { _ = c.process.Process.Kill() })
			mu.Lock()
			defer mu.Unlock()
			answered[q.Attendance] = true
		})
	}
	wait.Wait()
	c.kill()
	return answered
}

// What an operator does beside the running centre, and what the centre makes of
// it, without a restart.
func TestOperator(t *testing.T) {
	c := newPlace(t).start()
	operate := func(want int, args ...string) string {
		t.Helper()
		out, code := c.run(append(args, "--config", "central.yaml")...)
		if code != want {
			t.Fatalf("%v: exit code %d, want %d:\n%s", args, code, want, out)
		}
		return out
	}
	if out := operate(0, "site", "list"); !strings.Contains(out, "RX1RA  live   Example Infirmary") {
		t.Errorf("the configuration's site:\n%s", out)
	}
	add := []string{"site", "add", "RX1", "RX1RB", "--name", "Example Walk-in Centre", "--setting", "walk-in-centre", "--accountable", "Sister B Example", "--role", "Nurse in charge"}
	if out := operate(0, add...); out != "RX1 RX1RB: Example Walk-in Centre, invited\n" {
		t.Errorf("site add: %s", out)
	}
	q := query(t, "visit 1")
	q.Author.Setting = safeguard.WalkInCentre
	if err := q.Author.Site.UnmarshalText([]byte("RX1RB")); err != nil {
		t.Fatal(err)
	}
	agent := c.agent()
	c.until(func() bool {
		_, err := agent.Lookup(t.Context(), q)
		return errors.Is(err, safeguard.ErrRefused) && strings.Contains(err.Error(), "invited")
	})
	operate(0, "site", "stage", "RX1", "RX1RB", "live")
	c.until(func() bool {
		answer, err := agent.Lookup(t.Context(), q)
		return err == nil && answer.Status == safeguard.NoneHeld
	})
	if out := operate(1, "site", "stage", "RX1", "RX9", "live"); !strings.Contains(out, "not in the directory") {
		t.Errorf("stage of what is not there: %s", out)
	}
	operate(0, "authority", "add", "373", "--name", "Sheffield", "--emergency-duty-phone", "01632 960373", "--opened", "1974-04-01", "--successor", "806")
	operate(0, "authority", "stage", "373", "testing")
	var list []struct{ Code, Stage, Opened string }
	if err := json.Unmarshal([]byte(operate(0, "authority", "list", "--json")), &list); err != nil || len(list) != 2 || list[0].Code != "373" || list[0].Stage != "testing" || list[0].Opened != "1974-04-01" {
		t.Errorf("authority list: %v, %v", list, err)
	}

	if out := operate(0, "audit", "verify"); !strings.Contains(out, "verified") {
		t.Errorf("audit verify: %s", out)
	}
	report := operate(0, "audit", "verify", "--json")
	c.write("noted.json", report)
	operate(0, "audit", "export", "--output", c.path("audit.jsonl"))
	text, err := os.ReadFile(c.path("audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"act":"looked"`, `"device":"agent one"`, `"site":"RX1RB"`, `"purpose":"unscheduled"`, q.Attendance.String(), `"caller":"operator `} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the audit does not hold %s", want)
		}
	}
	if strings.Contains(string(text), "9990000107") {
		t.Error("the audit holds an NHS number")
	}
	if out, code := c.run("audit", "verify", "--file", "audit.jsonl", "--noted", "noted.json"); code != 0 {
		t.Errorf("verify the export: %d: %s", code, out)
	}
	c.write("bad.jsonl", strings.Replace(string(text), "agent one", "agent two", 1))
	if out, code := c.run("audit", "verify", "--file", "bad.jsonl"); code != 4 || !strings.Contains(out, "changed") {
		t.Errorf("verify a changed export: %d: %s", code, out)
	}
	if out, code := c.run("audit", "verify"); code != 1 || !strings.Contains(out, "--config") {
		t.Errorf("verify nothing: %d: %s", code, out)
	}
}

// until waits until what is asked holds.
func (c *centre) until(holds func() bool) {
	c.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatal("it does not come to hold")
		}
	}
}

// Two centres on one PostgreSQL are one: what one commits the other gives.
func TestTwoCentresOnPostgres(t *testing.T) {
	server, err := storetest.StartPostgres(false)
	if errors.Is(err, storetest.ErrNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	dsn, err := server.Empty(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	p.write("secret/dsn", dsn+"\n")
	p.write("central.yaml", config+"store: {postgres: {dsn_file: secret/dsn}}\n")
	one, two := p.start(), p.start()
	p.write("flags.csv", flagsFile)
	if out, code := one.authority("upload", "flags.csv"); code != 0 {
		t.Fatalf("import: %d: %s", code, out)
	}
	var ids []string
	for _, c := range []*centre{two, one} {
		answer, err := c.agent().Lookup(t.Context(), query(t, "visit 1"))
		if err != nil || answer.Status != safeguard.Held {
			t.Fatalf("lookup: %+v, %v", answer, err)
		}
		for _, n := range c.notifications() {
			ids = append(ids, n.ID)
		}
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("notifications %v, want the same one from both", ids)
	}
	for _, c := range []*centre{one, two} {
		if err := c.interrupt(); err != nil {
			t.Errorf("stop: %v\n%s", err, c.log)
		}
	}
	if out, code := p.run("audit", "verify", "--config", "central.yaml"); code != 0 || !strings.Contains(out, "in 2 chains verified") && !strings.Contains(out, "in 3 chains verified") {
		t.Errorf("audit verify: %d: %s", code, out)
	}
}
