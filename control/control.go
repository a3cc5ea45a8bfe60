// Package control is the one local channel through which commands operate a
// running service, so that no command opens a store which the service has open. It
// is a Unix socket on Linux and a named pipe on Windows, for the system's
// administrators and the service's own user only.
//
// A connection carries one call: the client writes a request, the server answers
// with rows and an end, each a line of JSON. What the commands are is up to the
// handlers.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/safeguard-edge/safeguard/configs"
)

// Handler answers one command. who is whom the system says the caller to be, args
// what the caller wrote, and send sends one row. The context ends with the
// server; send fails when the caller is gone.
type Handler func(ctx context.Context, who string, args json.RawMessage, send func(row any) error) error

// Version is that of the protocol. Program and service are installed together, so
// another one means that the service was not restarted after an update.
const Version = 1

// Code tells the kinds of errors apart.
type Code string

// The codes.
const (
	CodeFailed  Code = "failed"  // the command said so
	CodeUnknown Code = "unknown" // no such command
	CodeVersion Code = "version" // another version of the protocol
	CodeRequest Code = "request" // not a request
	CodeBusy    Code = "busy"    // too many calls at once
)

// Error is what the server answers instead of an end.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// ErrNotRunning means that nobody listens.
var ErrNotRunning = errors.New("the service is not running")

// ErrTaken means that another service listens at the address.
var ErrTaken = errors.New("another service with this data folder runs")

// ErrDenied means that the system does not let this user in.
var ErrDenied = errors.New("not allowed: use an administrator's account or that of the service")

type request struct {
	Version int             `json:"version"`
	Command string          `json:"command"`
	Args    json.RawMessage `json:"args,omitempty"`
}

type response struct {
	Row   json.RawMessage `json:"row,omitempty"`
	Error *Error          `json:"error,omitempty"`
	End   bool            `json:"end,omitempty"`
}

// What bounds a call.
const (
	maxRequest   = 1 << 20
	maxCalls     = 8
	requestWait  = 5 * time.Second  // for the whole request
	writeWait    = 10 * time.Second // for one row to be taken
	goodbyeWait  = 2 * time.Second  // for the client to close
	responseWait = time.Minute      // for the next row to come
	dialWait     = 3 * time.Second
)

// stream is a connection on either system.
type stream interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
}

// listener takes connections from those who may connect.
type listener interface {
	// accept waits for the next client and tells who it is. After an error that
	// is not errClosed there may be a next one.
	accept() (c stream, who string, err error)
	close()
}

var errClosed = errors.New("control channel closed")

// The exit codes of commands that ask a running service.
const (
	exitRestart    = 3
	exitNotRunning = 4
)

// ExitCode is the code that a program ends with after the error of a call, by
// which scripts tell what to do; 1 where nothing special is.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrRestart):
		return exitRestart
	case errors.Is(err, ErrNotRunning), errors.Is(err, ErrDenied):
		return exitNotRunning
	}
	return 1
}

// Service is which program runs: both may have the same data folder, as where
// somebody tries them on one machine.
type Service string

// The services.
const (
	Agent  Service = "agent"
	Centre Service = "central"
)

// CallOf calls the command of the service that runs with the configuration file.
// The file may be bad: only its data folder is needed.
func CallOf(ctx context.Context, s Service, file, command string, args any, take func(row json.RawMessage) error) error {
	data, err := configs.DataFolder(file)
	if err != nil {
		return err
	}
	return Call(ctx, Address(s, data), command, args, take)
}

// Call calls the command of the service at address, and hands each row to take.
func Call(ctx context.Context, address, command string, args any, take func(row json.RawMessage) error) error {
	if err := call(ctx, address, command, args, take); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func call(ctx context.Context, address, command string, args any, take func(row json.RawMessage) error) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	line, err := json.Marshal(request{Version, command, raw})
	if err != nil {
		return err
	}
	if len(line) >= maxRequest {
		return errors.New("request too long: name fewer ids")
	}
	dialing, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	c, err := dial(dialing, address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if err := c.SetDeadline(time.Now().Add(requestWait)); err != nil {
		return err
	}
	_, unsent := c.Write(append(line, '\n'))
	err = receive(ctx, c, take)
	// A server that turns a call away answers and closes, maybe before it was
	// asked: its answer says more than the failed write.
	var answer *Error
	if unsent != nil && !errors.As(err, &answer) {
		return fmt.Errorf("send request: %w", unsent)
	}
	return err
}

func receive(ctx context.Context, c stream, take func(row json.RawMessage) error) error {
	in := json.NewDecoder(bufio.NewReader(c))
	for {
		if err := c.SetDeadline(time.Now().Add(responseWait)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err() // set the deadline back in vain
		}
		var r response
		if err := in.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("the service stopped answering: %w", err)
		}
		switch {
		case r.Error != nil:
			return r.Error
		case r.End:
			return nil
		}
		if err := take(r.Row); err != nil {
			return err
		}
	}
}
