// Package installer gets the programs onto a machine and runs them as its
// services. It is the only door to kardianos/service.
package installer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Service is how the operating system's service manager knows a program.
type Service struct {
	Name        string // of the unit, the user and the folders on Linux, such as safeguard-agent
	WindowsName string // of the service and its virtual account, such as SafeguardAgent
	DisplayName string
	Description string
	Config      string // file name of the configuration in ConfigFolder, such as agent.yaml

	Token string // where below ConfigFolder it finds an enrolment token at its start; empty for nowhere

	// Shred destroys the keys of all that the program keeps under a configuration.
	Shred func(config string) error
}

// Ready is what a program calls when it does its work: it listens. From then on
// alive is asked again and again, where a watchdog wants to know; an alive that
// fails, or does not answer, gets the program killed and started anew.
type Ready func(alive func(context.Context) error)

// Run runs the program until it ends by itself, the service manager stops it, or
// it is interrupted (SIGINT, SIGTERM). run must return soon after its context
// ends. managed says that a service manager has started the program: then that
// is told how it goes, and so is who asks for the service's status.
func (s Service) Run(ctx context.Context, managed bool, log *slog.Logger, run func(context.Context, Ready) error) error {
	if !managed {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, func(func(context.Context) error) {})
	}
	return s.underManager(ctx, log, func(ctx context.Context) error { return s.report(ctx, log, run) })
}

// report runs the program, and tells each step to the service manager and to the
// state file.
func (s Service) report(ctx context.Context, log *slog.Logger, run func(context.Context, Ready) error) error {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	s.tell(log, State{Phase: Starting}, "STATUS=starting")
	var ready atomic.Bool
	err := run(ctx, func(alive func(context.Context) error) {
		if ready.Swap(true) {
			return
		}
		s.tell(log, State{Phase: Up}, daemon.SdNotifyReady+"\nSTATUS=ready")
		if every, err := daemon.SdWatchdogEnabled(false); err == nil && every > 0 {
			go feed(watch, every/3, alive, log)
		}
	})
	if err != nil {
		reason := oneLine(err.Error())
		s.tell(log, State{Phase: Failed, Reason: reason}, "STATUS="+reason)
		return err
	}
	s.tell(log, State{Phase: Stopped}, daemon.SdNotifyStopping)
	return nil
}

// tell is best effort: a program must not fail because nobody hears how it does.
func (s Service) tell(log *slog.Logger, state State, notice string) {
	state.Since, state.PID = time.Now().UTC().Truncate(time.Second), os.Getpid()
	err := s.writeState(state) // first: who is told that it is ready may ask at once
	_, notified := daemon.SdNotify(false, notice)
	if err = errors.Join(err, notified); err != nil {
		log.Warn("service state not told", "state", state.Phase, "err", err)
	}
}

// feed keeps the watchdog quiet while the program is alive. It does not stop the
// program itself: one that does not answer can not be trusted to stop.
func feed(ctx context.Context, every time.Duration, alive func(context.Context) error, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, every)
		err := alive(asked)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("not alive: the watchdog will end the program", "err", err)
		default:
			if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
				log.Warn("watchdog not told", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// DefaultConfig is where the service's configuration is unless it is told
// otherwise.
func (s Service) DefaultConfig() string {
	return s.configFolder() + string(os.PathSeparator) + s.Config
}

// hint adds what to do to an error that only an administrator is spared.
func hint(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %s", err, needsAdministrator)
	}
	return err
}
