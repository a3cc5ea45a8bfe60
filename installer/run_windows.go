package installer

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
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

// events is a log handler that writes to the Event Log, where each entry has its
// time and its level already.
type events struct {
	slog.Handler
	out *eventWriter
}

type eventWriter struct {
	mu   sync.Mutex // held while an entry is written
	log  *eventlog.Log
	text strings.Builder
}

func (w *eventWriter) Write(p []byte) (int, error) { return w.text.Write(p) }

func newEvents(log *eventlog.Log) events {
	w := &eventWriter{log: log}
	return events{slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}), w}
}

func (e events) WithAttrs(attrs []slog.Attr) slog.Handler {
	return events{e.Handler.WithAttrs(attrs), e.out}
}

func (e events) WithGroup(name string) slog.Handler { return events{e.Handler.WithGroup(name), e.out} }

// Event ids, which rules that watch the Event Log can name.
const (
	eventInfo    = 1
	eventWarning = 2
	eventError   = 3
)

// Handle writes one entry, of at most the size that the Event Log takes.
func (e events) Handle(ctx context.Context, r slog.Record) error {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	e.out.text.Reset()
	if err := e.Handler.Handle(ctx, r); err != nil {
		return err
	}
	const longest = 31_000 // UTF-16 characters, ReportEvent
	text := strings.ReplaceAll(e.out.text.String(), "\x00", "")
	text = text[:min(len(text), longest)]
	switch {
	case r.Level >= slog.LevelError:
		return e.out.log.Error(eventError, text)
	case r.Level >= slog.LevelWarn:
		return e.out.log.Warning(eventWarning, text)
	}
	return e.out.log.Info(eventInfo, text)
}
