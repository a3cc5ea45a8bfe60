package installer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var tested = Service{Name: "safeguard-test", WindowsName: "SafeguardTest", DisplayName: "Safeguard test", Description: "A test", Config: "test.yaml"}

// ended is the id of a process that there was.
func ended(t *testing.T) int {
	t.Helper()
	program := exec.Command("true")
	if err := program.Run(); err != nil {
		t.Fatal(err)
	}
	return program.Process.Pid
}

func TestStateIsSaidInOneLine(t *testing.T) {
	since := time.Date(2026, 3, 14, 9, 30, 0, 0, time.Local)
	for name, c := range map[string]struct {
		state State
		out   string
		code  int
		err   string
	}{
		"ready":            {State{Phase: Up, Since: since}, "service safeguard-test is ready since 2026-03-14 09:30:00\n", 0, ""},
		"starting":         {State{Phase: Starting, Since: since}, "", 3, "is starting since 2026-03-14 09:30:00"},
		"started again":    {State{Phase: Starting, Since: since, Reason: "open journal: locked"}, "", 3, "is starting since 2026-03-14 09:30:00, after it failed: open journal: locked"},
		"failed":           {State{Phase: Failed, Since: since, Reason: "open journal: locked"}, "", 3, "has failed since 2026-03-14 09:30:00: open journal: locked"},
		"stopped":          {State{Phase: Stopped, Since: since}, "", 3, "is stopped since 2026-03-14 09:30:00"},
		"never started":    {State{}, "", 3, "is stopped"},
		"stopped, no time": {State{Phase: Stopped}, "", 3, "is stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := tested.say(&out, c.state)
			if out.String() != c.out {
				t.Errorf("said %q, want %q", out.String(), c.out)
			}
			var status *StatusError
			switch {
			case c.code == 0 && err != nil:
				t.Errorf("got %v, want none", err)
			case c.code != 0 && (!errors.As(err, &status) || status.Code != c.code || !strings.HasSuffix(err.Error(), c.err)):
				t.Errorf("got %v, want code %d and %q", err, c.code, c.err)
			}
		})
	}
}

func TestStateOfAProgramThatWasKilledIsThatItFailed(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	if state, err := tested.readState(); err != nil || state != (State{}) {
		t.Errorf("got %+v, %v before the first run, want nothing", state, err)
	}
	for pid, want := range map[int]Phase{os.Getpid(): Up, ended(t): Failed} {
		if err := tested.writeState(State{Phase: Up, PID: pid}); err != nil {
			t.Fatal(err)
		}
		if state, err := tested.readState(); err != nil || state.Phase != want {
			t.Errorf("process %d: got %+v, %v, want %s", pid, state, err, want)
		}
	}
}

func TestStartWaitsForTheProgramsOwnWord(t *testing.T) {
	before := State{Phase: Failed, PID: 1, Reason: "of the last run"}
	for name, c := range map[string]struct {
		says State
		want Phase
	}{
		"ready":  {State{Phase: Up, PID: os.Getpid()}, Up},
		"failed": {State{Phase: Failed, PID: os.Getpid(), Reason: "why"}, Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
			for _, s := range []State{before, {Phase: Starting, PID: os.Getpid()}} {
				if err := tested.writeState(s); err != nil {
					t.Fatal(err)
				}
			}
			go func() { _ = tested.writeState(c.says) }()
			if state, err := tested.await(t.Context(), 30*time.Second, before); err != nil || state.Phase != c.want {
				t.Errorf("got %+v, %v, want %s", state, err, c.want)
			}
		})
	}
	t.Run("neither in time", func(t *testing.T) {
		t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
		if err := tested.writeState(State{Phase: Starting, PID: os.Getpid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := tested.await(context.Background(), time.Millisecond, before); err == nil || !strings.Contains(err.Error(), "not ready after 1ms") {
			t.Errorf("got %v, want one that says it is not ready", err)
		}
	})
}

func TestAScriptIsRefusedAPathThatItWouldMisread(t *testing.T) {
	for _, path := range []string{"/etc/a b/agent.yaml", "/etc/$(id)/agent.yaml", "/etc/%n.yaml", `/etc/"`} {
		if _, err := tested.script(false, "/usr/bin/x", path); err == nil {
			t.Errorf("%s was taken", path)
		}
	}
}

func TestPurgeLeavesNothing(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "kept")
	key := filepath.Join(folder, "keys", "master.key")
	if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Another name of the same file shows what became of its bytes.
	witness := filepath.Join(t.TempDir(), "witness")
	if err := os.Link(key, witness); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := shredAll(folder); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", folder, err)
	}
	if left, err := os.ReadFile(witness); err != nil || string(left) == "secret" {
		t.Errorf("the key's bytes were not overwritten: %q, %v", left, err)
	}
}

func TestAnEnrolmentTokenIsMoved(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "given"), filepath.Join(t.TempDir(), "left")
	if err := os.WriteFile(from, []byte("a token"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := moveToken(from, to); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "a token" {
		t.Errorf("left %q, %v", text, err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("left as %v, %v, want it for its owner alone", info, err)
	}
	if _, err := os.Stat(from); !os.IsNotExist(err) {
		t.Errorf("it is still where it was: %v", err)
	}
}

func TestWhatIsNoEnrolmentTokenIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.WriteFile(large, make([]byte, maxToken+1), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{empty, large, dir, filepath.Join(dir, "missing")} {
		to := filepath.Join(t.TempDir(), "left")
		if err := moveToken(from, to); err == nil {
			t.Errorf("%s was taken", from)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s was left as a token", from)
		}
	}
	if _, err := os.Stat(large); err != nil {
		t.Errorf("what was not taken is gone: %v", err)
	}
}
