package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/control"
)

type statusCommands struct {
	Show     statusShow     `cmd:"" default:"withargs" help:"Show how the running agent is: whether it works and since when not, which part of the way is at fault, what waits, warnings with their remedies, the last day. Exit code 0: it works and needs nobody, 1: failed, 4: no agent runs or it does not let this user in, 5: it fails, or works without the centre, 6: it works, and a warning is to be seen to."`
	Password statusPassword `cmd:"" help:"Write a name and the hash of its password for status.password_file, which lets people look at the status page from other machines."`
}

type statusShow struct {
	running
	Watch bool `help:"Show it again and again, until interrupted: on a terminal in place, else a line, or with --json an object, when something has changed."`
}

// exitNotWorking says that the agent fails, or has to do without the centre.
const exitNotWorking = 5

const (
	watchEach = 2 * time.Second
	askTime   = 10 * time.Second
)

func (c statusShow) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	zone, err := config.Zone()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := statusScreen{address: control.Address(control.Agent, config.Data), zone: zone, json: c.JSON, out: os.Stdout}
	s.terminal = !c.JSON && onTerminal(os.Stdout)
	if c.Watch {
		return s.watch(ctx)
	}
	shown, err := s.ask(ctx)
	if err != nil {
		return err
	}
	if err := s.print(shown); err != nil {
		return err
	}
	if code := exitOf(shown.Report); code != 0 {
		os.Exit(code)
	}
	return nil
}

// exitOf is what a script is told of the state.
func exitOf(h safeguard.Heartbeat) int {
	switch {
	case h.State == safeguard.Failing || h.State == safeguard.Degraded:
		return exitNotWorking
	case h.Worst() >= safeguard.Attention:
		return exitWarnings
	}
	return 0
}

// statusScreen shows how the agent is.
type statusScreen struct {
	address  string
	zone     *time.Location
	json     bool
	terminal bool // may be drawn on
	out      io.Writer
}

func (s statusScreen) ask(ctx context.Context) (shown statuspage.Shown, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err = control.Call(ctx, s.address, "status", nil, func(row json.RawMessage) error { return json.Unmarshal(row, &shown) })
	return shown, err
}

func (s statusScreen) print(shown statuspage.Shown) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(shown)
	}
	width, _ := size()
	if !s.terminal {
		width = 100
	}
	_, err := io.WriteString(s.out, s.drawn(shown, width))
	return err
}

func (s statusScreen) drawn(shown statuspage.Shown, width int) string {
	d := statusDrawing{width: width, colours: s.terminal && os.Getenv("NO_COLOR") == "", now: time.Now().In(s.zone)}
	d.all(shown)
	return d.b.String()
}

// watch shows it until ctx ends. An agent that does not run may be started again.
func (s statusScreen) watch(ctx context.Context) error {
	if s.terminal {
		// On the other screen, as editors do, so that what was there comes back.
		fmt.Fprint(s.out, "\x1b[?1049h\x1b[?25l")
		defer fmt.Fprint(s.out, "\x1b[?25h\x1b[?1049l")
	}
	var before string
	for {
		shown, err := s.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, control.ErrDenied) {
			return err
		}
		if err := s.next(shown, err, &before); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEach):
		}
	}
}

// next shows what has come, or why nothing has.
func (s statusScreen) next(shown statuspage.Shown, failed error, before *string) error {
	if s.terminal {
		return s.redraw(shown, failed)
	}
	line := "not known: " + fmt.Sprint(failed)
	key := line
	if failed == nil {
		h := shown.Report
		line = h.State.String() + ": " + statuspage.Look(shown, time.Now().In(s.zone)).Verdict
		codes := []string{line}
		for _, w := range h.Warnings {
			codes = append(codes, string(w.Code)+" "+w.Part)
		}
		key = strings.Join(codes, ",")
	}
	if key == *before {
		return nil
	}
	*before = key
	if s.json && failed == nil {
		return json.NewEncoder(s.out).Encode(shown)
	}
	if s.json {
		return json.NewEncoder(s.out).Encode(map[string]string{"error": failed.Error()})
	}
	_, err := fmt.Fprintf(s.out, "%s %s\n", time.Now().In(s.zone).Format("2006-01-02 15:04:05"), line)
	return err
}

// redraw draws over what is there, line by line, so that nothing flickers.
func (s statusScreen) redraw(shown statuspage.Shown, failed error) error {
	width, height := size()
	text := fmt.Sprintf("%v\n\nTrying again every %v; Ctrl-C ends this.\n", failed, watchEach)
	if failed == nil {
		text = s.drawn(shown, width)
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if height > 1 && len(lines) > height {
		lines = append(lines[:height-1], "… more than this terminal is high")
	}
	var out bytes.Buffer
	out.WriteString("\x1b[H")
	for i, line := range lines {
		out.WriteString(line + "\x1b[K")
		if i < len(lines)-1 {
			out.WriteString("\r\n")
		}
	}
	out.WriteString("\x1b[J")
	_, err := s.out.Write(out.Bytes())
	return err
}

// onTerminal tells whether f is a terminal that can be drawn on, and sees to it
// that it can.
func onTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && drawable(f)
}

// size is the terminal's, in characters.
func size() (width, height int) {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || width < 20 {
		return 100, 0
	}
	return min(width, 140), height
}

type statusPassword struct {
	Name   string `arg:"" help:"Who is to look; a name without spaces and colons."`
	Output string `help:"The password file to add the name to; standard output without it. A name that is there gets the new password." type:"path" placeholder:"FILE"`
}

// Run asks for the password, or reads it from standard input: it is never an
// argument, which others could see.
func (c statusPassword) Run() error {
	if c.Name == "" || strings.ContainsAny(c.Name, ": \t\r\n#") {
		return fmt.Errorf("name %q: want one without spaces, colons and #", c.Name)
	}
	password, err := askPassword()
	if err != nil {
		return err
	}
	hash, err := keys.HashPassword(password)
	if err != nil {
		return err
	}
	line := c.Name + ":" + hash + "\n"
	if c.Output == "" {
		return print(line)
	}
	var lines []string
	text, err := os.ReadFile(c.Output)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for l := range strings.Lines(string(text)) {
		if !strings.HasPrefix(l, c.Name+":") {
			lines = append(lines, strings.TrimRight(l, "\r\n")+"\n")
		}
	}
	aside := c.Output + ".new"
	if err := os.WriteFile(aside, []byte(strings.Join(lines, "")+line), 0o600); err != nil {
		return err
	}
	return os.Rename(aside, c.Output)
}

func askPassword() (string, error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 4096))
		return strings.TrimRight(string(text), "\r\n"), err
	}
	var typed [2]string
	for i, ask := range []string{"Password: ", "Again: "} {
		fmt.Fprint(os.Stderr, ask)
		text, err := term.ReadPassword(in)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same")
	}
	return typed[0], nil
}
