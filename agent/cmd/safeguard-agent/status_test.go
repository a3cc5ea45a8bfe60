package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/control"
)

// TestMain lets the test's own program be safeguard-agent.
func TestMain(m *testing.M) {
	if os.Getenv("SAFEGUARD_TEST_AS_AGENT") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// answering is an agent of which there is no more than how it is.
type answering struct {
	t      *testing.T
	config string

	mu    sync.Mutex // guards the field below
	shown statuspage.Shown
}

// shownIn gives how an agent is that has a day behind it.
func shownIn(state safeguard.AgentState, warnings ...safeguard.Warning) statuspage.Shown {
	now := time.Now()
	s := statuspage.Shown{Report: safeguard.Heartbeat{
		At: now, State: state, Since: now.Add(-40 * time.Minute), Device: "rx1-ed-1", Version: "1.4.0", Config: strings.Repeat("ab", 32), Started: now.Add(-20 * time.Hour),
		Feeds:       []safeguard.FeedHealth{{Name: "pas", Transport: "mllp", LastMessage: now.Add(-12 * time.Second)}},
		Sinks:       []safeguard.SinkHealth{{Name: "epr", Live: true, Carrier: "mllp", Answered: now.Add(-6 * time.Minute), Took: now.Add(-6 * time.Minute)}},
		Centre:      safeguard.CentreHealth{Latency: 18 * time.Millisecond},
		Cache:       safeguard.CacheHealth{State: safeguard.CacheReady, Entries: 5120, Newest: now.Add(-time.Minute), Oldest: now.Add(-80 * time.Hour)},
		Certificate: safeguard.CertificateHealth{From: now, Until: now.Add(60 * 24 * time.Hour)},
		Disk:        safeguard.DiskHealth{Free: 80 << 30, Floor: 1 << 30},
		Warnings:    warnings,
	}}
	for i := range 240 {
		p := safeguard.Period{Start: now.Truncate(5 * time.Minute).Add(-time.Duration(239-i) * 5 * time.Minute), Length: 5 * time.Minute, State: safeguard.Working,
			Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: 5 + i%23}}}
		if i > 150 && i < 170 {
			p.State = safeguard.Degraded
		}
		if i > 230 {
			p.State = state
		}
		s.Day = append(s.Day, p)
	}
	return s
}

var quiet = safeguard.Warning{Code: safeguard.FeedQuiet, Part: "pas", Since: time.Now().Add(-40 * time.Minute), Detail: "nothing for 52 min, in which 190 messages usually come"}

// configuration is a configuration whose data folder is beside it.
func configuration(t *testing.T) string {
	t.Helper()
	return sample(t, "data: /var/lib/safeguard-agent", "data: data")
}

func answer(t *testing.T, shown statuspage.Shown) *answering {
	t.Helper()
	a := &answering{t: t, config: configuration(t), shown: shown}
	data := filepath.Join(filepath.Dir(a.config), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := control.Listen(control.Address(control.Agent, data), map[string]control.Handler{
		"status": func(_ context.Context, _ string, _ json.RawMessage, send func(any) error) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			return send(a.shown)
		},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

func (a *answering) set(shown statuspage.Shown) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown = shown
}

// asAgent is the program with these arguments, which ends with the test.
func asAgent(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SAFEGUARD_TEST_AS_AGENT=1", "TERM=xterm-256color", "NO_COLOR=")
	return cmd
}

func TestStatusToldToScripts(t *testing.T) {
	setAside := safeguard.Warning{Code: safeguard.SetAsideWaiting, Since: time.Now()}
	observing := safeguard.Warning{Code: safeguard.SinkObserving, Part: "epr", Since: time.Now()}
	for _, c := range []struct {
		name  string
		shown statuspage.Shown
		code  int
		want  []string
	}{
		{"it works", shownIn(safeguard.Working), 0, []string{"✓ It works\n", "Feeds    ✓ well       pas: last message ", "until "}},
		{"with something to know of", shownIn(safeguard.Working, observing), 0, []string{"● It works", "Sink epr observes"}},
		{"with something to see to", shownIn(safeguard.Working, setAside), exitWarnings, []string{"▲ It works; 1 warning to see to", "docs/runbook.md#messages-set-aside", "Journal  ▲ attention"}},
		{"without the centre", shownIn(safeguard.Degraded, safeguard.Warning{Code: safeguard.CentreAway, Since: time.Now()}), exitNotWorking, []string{"It works without the centre", "Centre   ■ critical"}},
		{"it starts", shownIn(safeguard.Starting), 0, []string{"● It starts", "Feeds    not seen yet\n", "EPR      not seen yet\n"}},
		{"it fails", shownIn(safeguard.Failing, quiet), exitNotWorking, []string{"■ It fails: Feed pas is quiet", "Ask who runs the integration engine", "█"}},
	} {
		a := answer(t, c.shown)
		out, err := asAgent(t, "status", "--config", a.config).Output()
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != c.code || bytes.Contains(out, []byte("\x1b")) {
			t.Errorf("%s: exit code %d, want %d, and nothing that commands a terminal:\n%s", c.name, code, c.code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, out)
			}
		}
		out, _ = asAgent(t, "status", "--json", "--config", a.config).Output()
		var got statuspage.Shown
		if err := json.Unmarshal(out, &got); err != nil || got.Report.State != c.shown.Report.State || len(got.Day) != 240 {
			t.Errorf("%s: as JSON: %v, %v", c.name, got.Report.State, err)
		}
	}
}

func TestStatusWithoutAnAgent(t *testing.T) {
	err := asAgent(t, "status", "--config", configuration(t)).Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitNotRunning {
		t.Errorf("got %v, want exit code %d", err, exitNotRunning)
	}
}

// screen is what is to be seen on a terminal of which only what status uses of
// ECMA-48 is known: home, erase to the end of line and screen, and colours.
func screen(sent string) (lines []string, unknown []string) {
	sequence := regexp.MustCompile(`\x1b\[[?0-9;]*[A-Za-z]`)
	grid, row, column := map[int][]rune{}, 0, 0
	put := func(text string) {
		for _, c := range text {
			switch c {
			case '\r':
				column = 0
			case '\n':
				row++
			default:
				for len(grid[row]) <= column {
					grid[row] = append(grid[row], ' ')
				}
				grid[row][column] = c
				column++
			}
		}
	}
	at := 0
	for _, found := range sequence.FindAllStringIndex(sent, -1) {
		put(sent[at:found[0]])
		at = found[1]
		switch s := sent[found[0]:found[1]]; {
		case s == "\x1b[H":
			row, column = 0, 0
		case s == "\x1b[K":
			grid[row] = grid[row][:min(column, len(grid[row]))]
		case s == "\x1b[J":
			for r := range grid {
				if r > row {
					delete(grid, r)
				}
			}
		case strings.HasSuffix(s, "m"), strings.HasPrefix(s, "\x1b[?"):
		default:
			unknown = append(unknown, s)
		}
	}
	put(sent[at:])
	for r := range 200 {
		lines = append(lines, strings.TrimRight(string(grid[r]), " "))
	}
	return lines, unknown
}

func TestStatusWatchedInATerminal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a pseudo-terminal of Unix")
	}
	a := answer(t, shownIn(safeguard.Failing, quiet))
	cmd := asAgent(t, "status", "--watch", "--config", a.config)
	const width, height = 80, 34
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: height, Cols: width})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var mu sync.Mutex
	var sent strings.Builder
	changed := make(chan struct{}, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		chunk := make([]byte, 4096)
		for {
			n, err := terminal.Read(chunk)
			mu.Lock()
			sent.Write(chunk[:n])
			mu.Unlock()
			select {
			case changed <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	// until waits for a whole picture with the words, and without those others.
	until := func(with, without string) []string {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			mu.Lock()
			text := sent.String()
			mu.Unlock()
			lines, unknown := screen(text)
			all := strings.Join(lines, "\n")
			if len(unknown) > 0 {
				t.Fatalf("sequences %q", unknown)
			}
			if strings.HasSuffix(text, "\x1b[J") && strings.Contains(all, with) && (without == "" || !strings.Contains(all, without)) {
				for i, line := range lines {
					if n := len([]rune(line)); n > width || i >= height && n > 0 {
						t.Errorf("line %d of a terminal of %d by %d has %d characters: %s", i+1, width, height, n, line)
					}
				}
				return lines
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("never saw %q without %q:\n%s", with, without, all)
			}
		}
	}
	failing := until("It fails: Feed pas is quiet", "")
	if os.Getenv("SAFEGUARD_SCREENS") != "" {
		t.Logf("\n%s", strings.TrimSpace(strings.Join(failing, "\n")))
	}
	a.set(shownIn(safeguard.Working))
	well := until("✓ It works", "quiet")
	if os.Getenv("SAFEGUARD_SCREENS") != "" {
		t.Logf("\n%s", strings.TrimSpace(strings.Join(well, "\n")))
	}
	if strings.Count(strings.Join(well, "\n"), "It works") != 1 {
		t.Error("it was not drawn over what was there")
	}
	if _, err := io.WriteString(terminal, "\x03"); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	<-gone
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	text := sent.String()
	if !strings.HasPrefix(text, "\x1b[?1049h\x1b[?25l") || !strings.HasSuffix(text, "\x1b[?25h\x1b[?1049l") {
		t.Error("the terminal is not left as it was")
	}
}

func TestStatusWatchedByAProgramSaysWhatChanges(t *testing.T) {
	a := answer(t, shownIn(safeguard.Working))
	cmd := asAgent(t, "status", "--watch", "--config", a.config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 10)
	go func() {
		chunk := make([]byte, 4096)
		for {
			n, err := out.Read(chunk)
			if err != nil {
				close(lines)
				return
			}
			lines <- string(chunk[:n])
		}
	}()
	for _, want := range []string{"working: It works\n", "failing: It fails: Feed pas is quiet"} {
		select {
		case line := <-lines:
			if !strings.Contains(line, want) || strings.Count(line, "\n") != 1 {
				t.Errorf("got %q, want one line with %q", line, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no line with %q", want)
		}
		a.set(shownIn(safeguard.Failing, quiet))
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestPasswordsForTheStatusPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status.txt")
	for _, name := range []string{"ada", "otto", "ada"} {
		cmd := asAgent(t, "status", "password", name, "--output", file)
		cmd.Stdin = strings.NewReader("correct horse battery\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := statuspage.ParsePasswords(text); err != nil || len(got) != 2 {
		t.Errorf("got %d names, %v, want 2", len(got), err)
	}
	for name, in := range map[string]string{"ada": "short\n", "a:da": "correct horse battery\n"} {
		cmd := asAgent(t, "status", "password", name, "--output", file)
		cmd.Stdin = strings.NewReader(in)
		if err := cmd.Run(); err == nil {
			t.Errorf("name %q with %q was taken", name, in)
		}
	}
}
