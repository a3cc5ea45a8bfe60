package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/kardianos/service"
)

// Exit codes of "service status", as the Linux Standard Base has them for init
// scripts (LSB 5.0, 22.2). The program exits with the Code of a *StatusError.
const (
	exitStopped      = 3
	exitNotInstalled = 4
)

// StatusError says that the service is not as it should be, and by Code how a
// script is to know.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return e.Text }

// Commands are what an administrator does with the service, as flags of a
// program.
type Commands struct {
	Install   installCommand   `cmd:"" help:"Register the program with the system's service manager under an account of its own, with the least rights that do, and start it at each boot. Done again, it renews what has changed."`
	Uninstall uninstallCommand `cmd:"" help:"Stop the service and take it out of the service manager. What it keeps stays."`
	Start     startCommand     `cmd:"" help:"Start the service and wait until it does its work, or say why it does not."`
	Stop      stopCommand      `cmd:"" help:"Stop the service."`
	Restart   restartCommand   `cmd:"" help:"Stop the service and start it, as start does."`
	Status    statusCommand    `cmd:"" help:"Say whether the service does its work, and if not why. Exit code 0: it does, 1: that could not be told, 3: it does not, 4: it is not installed."`
	Prepare   prepareCommand   `cmd:"" help:"Make the service's account and folders, and set who may read and write them. Installing does this too."`
	Purge     purgeCommand     `cmd:"" help:"Destroy the keys of all that the service keeps, then remove it. Nothing of it can be read any more, here or in a backup."`
	Unit      unitCommand      `cmd:"" help:"Print what would be registered: a systemd unit, or an init script."`
}

type placed struct {
	Config string `help:"Configuration file; by default the one in the service's own folder." type:"path" placeholder:"FILE"`
}

// file is the configuration by its whole path: a service manager starts
// programs in a folder of its own.
func (p placed) file(s Service) (string, error) {
	if p.Config == "" {
		return s.DefaultConfig(), nil
	}
	return filepath.Abs(p.Config)
}

type installCommand struct {
	placed
	From      string `name:"config-from" help:"Copy this file to where the configuration is expected, unless there is one." placeholder:"FILE"`
	TokenFrom string `help:"Move the enrolment token in this file to where the service finds it at its next start." placeholder:"FILE"`
}

// Run is called by the command line, as are those of the other commands.
func (c installCommand) Run(s Service) error {
	config, err := c.file(s)
	if err != nil {
		return err
	}
	// The configuration first: then its folder is prepared, and it with it.
	if err := c.adopt(config); err != nil {
		return hint(fmt.Errorf("install service: configuration: %w", err))
	}
	if err := s.install(config); err != nil {
		return hint(fmt.Errorf("install service: %w", err))
	}
	if err := c.takeToken(s); err != nil {
		return hint(fmt.Errorf("install service: enrolment token: %w", err))
	}
	fmt.Printf("service %s is installed; it reads %s\n", s.managed(), config)
	if _, err := os.Stat(config); errors.Is(err, os.ErrNotExist) {
		fmt.Printf("that file is not there yet: make it, then run: %s service start\n", s.Name)
	}
	return nil
}

// adopt makes the file the configuration. One that is there is an
// administrator's, and stays as it is.
func (c installCommand) adopt(config string) error {
	if _, err := os.Lstat(config); c.From == "" || err == nil {
		return nil
	}
	text, err := os.ReadFile(c.From)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		return err
	}
	return os.WriteFile(config, text, 0o640)
}

// maxToken bounds a token file, in bytes.
const maxToken = 64 << 10

// takeToken moves the token, if there is one.
func (c installCommand) takeToken(s Service) error {
	switch {
	case c.TokenFrom == "":
		return nil
	case s.Token == "":
		return fmt.Errorf("%s enrols with none", s.Name)
	}
	return moveToken(c.TokenFrom, filepath.Join(s.configFolder(), s.Token))
}

// moveToken leaves the token in a folder that only the service and administrators
// may read, and nothing of it where it was.
func moveToken(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > maxToken {
		return fmt.Errorf("%s: want a file of 1 to %d bytes", from, maxToken)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		return err
	}
	if err := ownedAsFolder(to); err != nil {
		return err
	}
	if err := errors.Join(overwrite(from, info.Size()), os.Remove(from)); err != nil {
		return fmt.Errorf("taken, but it is still where it was: remove it: %w", err)
	}
	return nil
}

type uninstallCommand struct{}

func (uninstallCommand) Run(s Service) error {
	if _, err := s.registered(); errors.Is(err, service.ErrNotInstalled) {
		return notInstalled(s)
	}
	_ = s.manager().Stop() // it may not run
	if err := s.uninstall(); err != nil {
		return hint(fmt.Errorf("uninstall service: %w", err))
	}
	fmt.Printf("service %s is uninstalled; what it keeps stays\n", s.managed())
	return nil
}

// waits says how long a start is waited for.
type waits struct {
	Wait         time.Duration `help:"How long to wait until it does its work." default:"2m"`
	IfConfigured bool          `help:"Do nothing while there is no configuration. For installers."`
}

func (w waits) start(s Service) error {
	if _, err := os.Stat(s.DefaultConfig()); w.IfConfigured && errors.Is(err, os.ErrNotExist) {
		fmt.Printf("service %s is not started: make %s first, then run: %s service start\n", s.managed(), s.DefaultConfig(), s.Name)
		return nil
	}
	return s.launch(w.Wait)
}

type startCommand struct{ waits }

func (c startCommand) Run(s Service) error { return c.start(s) }

type stopCommand struct{}

func (stopCommand) Run(s Service) error {
	if err := s.stop(); err != nil {
		return err
	}
	fmt.Printf("service %s is stopped\n", s.managed())
	return nil
}

type restartCommand struct{ waits }

func (c restartCommand) Run(s Service) error {
	if status, err := s.registered(); err == nil && status == service.StatusRunning {
		if err := s.stop(); err != nil {
			return err
		}
	}
	return c.start(s)
}

// stop stops the service and waits until its process is gone. A manager says before
// that it has stopped, when Windows does not yet let go of its files.
func (s Service) stop() error {
	state, err := s.readState()
	if err != nil {
		return err
	}
	if err := s.manager().Stop(); err != nil {
		return hint(s.failed("stop", err))
	}
	for deadline := time.Now().Add(stopWait); state.PID != 0 && exists(state.PID); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("service %s has stopped, but its process %d has not ended after %s", s.managed(), state.PID, stopWait)
		}
	}
	return nil
}

// stopWait is how long a process may take to end once its service has stopped.
const stopWait = 10 * time.Second

// launch starts the service and waits for its own word. What the manager says is
// less: Windows holds a service for running before it listens.
func (s Service) launch(wait time.Duration) error {
	start := s.begin
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	before, err := s.readState()
	if err != nil {
		return err
	}
	if status, err := s.registered(); err == nil && status == service.StatusRunning {
		start = func() error { return nil }
	}
	if err := start(); err != nil {
		err = s.failed("start", err)
		if state, e := s.readState(); e == nil && state.Phase == Failed && state != before {
			err = fmt.Errorf("start service %s: %s", s.managed(), state.Reason)
		}
		return hint(err)
	}
	state, err := s.await(ctx, wait, before)
	if err != nil {
		return err
	}
	return s.say(os.Stdout, state)
}

// await waits until the service does its work or does not. A state that equals
// before is the last run's.
func (s Service) await(ctx context.Context, wait time.Duration, before State) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	silent := time.After(silence)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		state, err := s.readState()
		if err != nil {
			return State{}, err
		}
		if state != before && (state.Phase == Up || state.Phase == Failed || state.Phase == Stopped) ||
			state == before && state.Phase == Up {
			return state, nil
		}
		select {
		case <-tick.C:
		case <-silent:
			if state == before {
				return State{}, fmt.Errorf("service %s: the program has not said a word in %s: see %s", s.managed(), silence, whereLogged(s))
			}
		case <-ctx.Done():
			return State{}, fmt.Errorf("service %s is not ready after %s: it may be still: see %s service status, and %s", s.managed(), wait, s.Name, whereLogged(s))
		}
	}
}

// silence is how long a program may take for its first word, which it says
// before it does anything else.
const silence = 30 * time.Second

func (s Service) failed(do string, err error) error {
	if errors.Is(err, service.ErrNotInstalled) {
		return notInstalled(s)
	}
	return fmt.Errorf("%s service %s: %w", do, s.managed(), err)
}

func notInstalled(s Service) error {
	return &StatusError{exitNotInstalled, fmt.Sprintf("service %s is not installed: run: %s service install", s.managed(), s.Name)}
}

type statusCommand struct {
	JSON bool `name:"json" help:"One JSON object."`
	// Init scripts wait with it, after they have started the program.
	Await time.Duration `help:"Wait so long until it does its work, or fails." hidden:""`
}

func (c statusCommand) Run(s Service) error {
	var state State
	var err error
	if c.Await > 0 {
		state, err = s.await(context.Background(), c.Await, State{})
	} else {
		state, err = s.status()
	}
	if err != nil {
		return hint(err)
	}
	if c.JSON {
		err := s.say(io.Discard, state)
		return errors.Join(json.NewEncoder(os.Stdout).Encode(state), err)
	}
	return s.say(os.Stdout, state)
}

// status is the manager's word about whether the service runs, and the
// program's about how it does.
func (s Service) status() (State, error) {
	manager, err := s.registered()
	if errors.Is(err, service.ErrNotInstalled) {
		return State{}, notInstalled(s)
	}
	state, stateErr := s.readState()
	if stateErr != nil {
		return State{}, stateErr
	}
	working := state.Phase == Starting || state.Phase == Up
	switch running := err == nil && manager == service.StatusRunning; {
	case running && !working: // it has not said a word yet, or is being started again
		state.Phase = Starting
	case !running && (working || state.Phase == ""):
		state.Phase = Stopped
	}
	return state, nil
}

// say prints the state, and gives an error unless the service does its work.
func (s Service) say(w io.Writer, state State) error {
	since := ""
	if !state.Since.IsZero() {
		since = " since " + state.Since.Local().Format(time.DateTime)
	}
	switch state.Phase {
	case Up:
		_, err := fmt.Fprintf(w, "service %s is ready%s\n", s.managed(), since)
		return err
	case Failed:
		return &StatusError{exitStopped, fmt.Sprintf("service %s has failed%s: %s", s.managed(), since, state.Reason)}
	case Starting:
		text := fmt.Sprintf("service %s is starting%s", s.managed(), since)
		if state.Reason != "" {
			text += ", after it failed: " + state.Reason
		}
		return &StatusError{exitStopped, text}
	}
	return &StatusError{exitStopped, fmt.Sprintf("service %s is stopped%s", s.managed(), since)}
}

type prepareCommand struct{}

func (prepareCommand) Run(s Service) error { return hint(s.prepare()) }

type purgeCommand struct {
	placed
	Yes bool `help:"Do it. It can not be undone." required:""`
}

// Run destroys keys first: should removing be cut short, what is left can not be
// read.
func (c purgeCommand) Run(s Service) error {
	config, err := c.file(s)
	if err != nil {
		return err
	}
	if status, err := s.registered(); err == nil && status == service.StatusRunning {
		return fmt.Errorf("service %s runs: stop it first: %s service stop", s.managed(), s.Name)
	}
	if _, err := os.Stat(config); err == nil && s.Shred != nil {
		if err := s.Shred(config); err != nil {
			// What can not be read as a configuration can still be removed.
			fmt.Fprintf(os.Stderr, "%s: keys of %s: %v; the service's own folders are removed nevertheless\n", s.Name, config, err)
		}
	}
	for _, folder := range s.kept() {
		if err := shredAll(folder); err != nil {
			return hint(fmt.Errorf("purge: %w", err))
		}
	}
	fmt.Printf("keys destroyed, and removed: %v\n", s.kept())
	return nil
}

type unitCommand struct {
	placed
	Program string `help:"Path of the program; by default this one's." type:"path" placeholder:"FILE"`
	Init    bool   `help:"The init script, for systems without systemd."`
}

func (c unitCommand) Run(s Service) error {
	config, err := c.file(s)
	if err != nil {
		return err
	}
	program := c.Program
	if program == "" {
		if program, err = executable(); err != nil {
			return err
		}
	}
	text, err := s.script(c.Init, program, config)
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(text)
	return err
}

// executable is this program's file, by its whole path and under its own name.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}
