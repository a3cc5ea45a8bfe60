// Package installer gets the programs onto a machine and runs them as its
// services. It is the only door to kardianos/service.
package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/kardianos/service"
)

// Service is how the operating system's service manager knows a program.
type Service struct {
	Name        string // without spaces
	DisplayName string
	Description string
}

// Run runs the program until it ends by itself, the service manager stops it, or
// it is interrupted (SIGINT, SIGTERM). run must return soon after its context
// ends.
func (s Service) Run(ctx context.Context, run func(context.Context) error) error {
	if runtime.GOOS == "windows" && !service.Interactive() {
		return s.underManager(ctx, run)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx)
}

// underManager reports the program to the Windows service control manager as
// running at once, and starts it in the background, so that a slow start is never
// taken for a failed one.
func (s Service) underManager(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &program{ctx: ctx, cancel: cancel, run: run, ended: make(chan error, 1)}
	svc, err := service.New(p, &service.Config{Name: s.Name, DisplayName: s.DisplayName, Description: s.Description})
	if err != nil {
		return fmt.Errorf("run as service %s: %w", s.Name, err)
	}
	return errors.Join(svc.Run(), p.err)
}

// program is what the service manager starts and stops.
type program struct {
	ctx    context.Context
	cancel context.CancelFunc
	run    func(context.Context) error
	ended  chan error // holds what run returned
	err    error      // the same, once Stop has returned
}

// Start begins run and returns.
func (p *program) Start(svc service.Service) error {
	go func() {
		p.ended <- p.run(p.ctx)
		if p.ctx.Err() == nil {
			// It ended by itself: without this, the service would seem to run on.
			_ = svc.Stop()
		}
	}()
	return nil
}

// Stop ends run and waits for it.
func (p *program) Stop(service.Service) error {
	p.cancel()
	p.err = <-p.ended
	return nil
}
