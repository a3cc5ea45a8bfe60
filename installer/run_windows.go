package installer

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sys/windows/svc"
)

// underManager gives the program to the service control manager. The library's
// own runner is not used: it asks whether this is a service before it says so,
// and can not be told to take its time at a shutdown.
func (s Service) underManager(ctx context.Context, log *slog.Logger, run func(context.Context) error) error {
	h := &handler{ctx: ctx, run: run, log: log}
	if err := svc.Run(s.WindowsName, h); err != nil {
		return fmt.Errorf("run as service %s: %w", s.WindowsName, err)
	}
	return h.err
}

type handler struct {
	ctx context.Context
	run func(context.Context) error
	log *slog.Logger
	err error // what run returned, once Execute has
}

// Execute reports the service as running at once and starts the program in the
// background, so that a slow start is never taken for a failed one (error 1053).
// How far it is, its state tells.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptPreShutdown}
	for {
		select {
		case h.err = <-ended:
			return h.end()
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.PreShutdown, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: stopHint}
				cancel()
				h.err = <-ended
				return h.end()
			}
		}
	}
}

// stopHint is how long a stop may take, in milliseconds.
const stopHint = 45_000

// end says why in the Event Log: all that the manager itself says is a number.
func (h *handler) end() (specific bool, code uint32) {
	if h.err == nil {
		return false, 0
	}
	h.log.Error("service failed", "err", h.err)
	return true, 1
}
