package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Server answers calls from Run until its context ends.
type Server struct {
	listener listener
	handlers map[string]Handler
	log      *slog.Logger
}

// Listen takes the address, so that calls wait from here on. An ErrTaken means
// that another service has it.
func Listen(address string, handlers map[string]Handler, log *slog.Logger) (*Server, error) {
	l, err := listen(address)
	if err != nil {
		return nil, fmt.Errorf("open control channel %s: %w", address, err)
	}
	return &Server{l, handlers, log}, nil
}

// Close gives the address up without Run.
func (s *Server) Close() error {
	s.listener.close()
	if _, _, err := s.listener.accept(); !errors.Is(err, errClosed) { // lets go of what waits for a client
		return err
	}
	return nil
}

// Run answers until ctx ends, and waits for the calls under way.
func (s *Server) Run(ctx context.Context) error {
	defer s.listener.close()
	defer context.AfterFunc(ctx, s.listener.close)()
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, maxCalls)
	for {
		c, who, err := s.listener.accept()
		if errors.Is(err, errClosed) {
			return nil
		}
		if err != nil {
			s.log.Warn("control call refused", "err", err)
			select {
			case <-time.After(100 * time.Millisecond): // an error that stays must not take the processor
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			calls.Go(func() {
				defer func() { <-slots }()
				s.serve(ctx, c, who)
			})
		default:
			_ = c.SetDeadline(time.Now().Add(writeWait))
			_ = reply(c, response{Error: &Error{CodeBusy, fmt.Sprintf("%d calls are under way: try again", maxCalls)}})
			_ = c.Close()
		}
	}
}

// serve answers one call.
func (s *Server) serve(ctx context.Context, c stream, who string) {
	defer func() { _ = c.Close() }()
	// At a stop a caller that does not read must not hold the service up.
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now().Add(goodbyeWait)) })()
	if err := c.SetDeadline(time.Now().Add(requestWait)); err != nil {
		return
	}
	r, err := readRequest(c)
	if err == nil {
		err = s.handle(ctx, c, who, r)
	}
	last := response{End: true}
	if err != nil {
		last = response{Error: asError(err)}
	}
	if s.extend(ctx, c, writeWait) != nil || reply(c, last) != nil {
		return
	}
	// What was written is dropped on some systems when the writer closes first.
	if s.extend(ctx, c, goodbyeWait) == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}

// extend gives the caller more time, unless the server stops.
func (s *Server) extend(ctx context.Context, c stream, by time.Duration) error {
	if ctx.Err() != nil {
		return nil
	}
	return c.SetDeadline(time.Now().Add(by))
}

func readRequest(c stream) (r request, err error) {
	line, err := bufio.NewReaderSize(io.LimitReader(c, maxRequest), 4096).ReadBytes('\n')
	if err != nil {
		return r, &Error{CodeRequest, "no request came: want one line of JSON"}
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, &Error{CodeRequest, "want a request as JSON"}
	}
	if r.Version != Version {
		return r, &Error{CodeVersion, fmt.Sprintf("the command speaks version %d and the service %d: restart the service after an update", r.Version, Version)}
	}
	return r, nil
}

// handle runs the handler. One that panics is a fault of the command, and no
// reason for the service to stop.
func (s *Server) handle(ctx context.Context, c stream, who string, r request) (err error) {
	handler, ok := s.handlers[r.Command]
	if !ok {
		return &Error{CodeUnknown, fmt.Sprintf("the service does not know the command %q", r.Command)}
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("control command failed", "command", r.Command, "panic", p, "stack", string(debug.Stack()))
			err = errors.New("the command failed: see the service's log")
		}
	}()
	return handler(ctx, who, r.Args, func(row any) error {
		raw, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if err := s.extend(ctx, c, writeWait); err != nil {
			return err
		}
		return reply(c, response{Row: raw})
	})
}

func reply(c stream, r response) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = c.Write(append(line, '\n'))
	return err
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{CodeFailed, err.Error()}
}
