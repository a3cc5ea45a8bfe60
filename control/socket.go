//go:build !windows

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Address is where the service with that data folder is operated.
func Address(s Service, data string) string { return filepath.Join(data, string(s)+".sock") }

// socket is a listening Unix socket.
type socket struct {
	*net.UnixListener
	address string
	once    sync.Once
}

func listen(address string) (listener, error) {
	answering, cancel := context.WithTimeout(context.Background(), dialWait)
	defer cancel()
	if c, err := dial(answering, address); err == nil {
		return nil, errors.Join(ErrTaken, c.Close())
	}
	// What a service that was killed left behind is nobody's: the folder is ours.
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var l *net.UnixListener
	err := short(address, func(name string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by close, under its full name
	if err := os.Chmod(address, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{UnixListener: l, address: address}, nil
}

func (s *socket) accept() (stream, string, error) {
	c, err := s.AcceptUnix()
	if errors.Is(err, net.ErrClosed) {
		return nil, "", errClosed
	}
	if err != nil {
		return nil, "", err
	}
	who, err := identify(c)
	if err != nil {
		return nil, "", errors.Join(err, c.Close())
	}
	return c, who, nil
}

func (s *socket) close() {
	s.once.Do(func() { _ = errors.Join(s.Close(), os.Remove(s.address)) })
}

func dial(ctx context.Context, address string) (c stream, err error) {
	err = short(address, func(name string) (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, "unix", name)
		return err
	})
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (nobody listens at %s)", ErrNotRunning, address)
	case errors.Is(err, os.ErrPermission):
		return nil, ErrDenied
	}
	return nil, err
}

// maxName is how long the name of a socket may be.
const maxName = 100

// short calls do with a name for address that is not too long for a socket.
func short(address string, do func(name string) error) error {
	if len(address) <= maxName {
		return do(address)
	}
	dir, err := os.Open(filepath.Dir(address))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return do(filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(address)))
}
