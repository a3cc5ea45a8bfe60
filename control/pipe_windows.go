package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Address is where the service with that data folder is operated.
func Address(s Service, data string) string {
	if full, err := filepath.Abs(data); err == nil {
		data = full
	}
	sum := sha256.Sum256([]byte(strings.ToLower(data)))
	return `\\.\pipe\safeguard-` + string(s) + "-" + hex.EncodeToString(sum[:8])
}

// administrators is an access list of the system, the administrators and the
// user that the service runs as.
const administrators = "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"

// pipes are the instances of a named pipe; one of them waits for a client.
type pipes struct {
	name     *uint16
	security *windows.SecurityAttributes
	stop     windows.Handle // an event

	mu     sync.Mutex // guards the fields below
	next   windows.Handle
	closed bool
}

func listen(address string) (listener, error) {
	name, err := windows.UTF16PtrFromString(address)
	if err != nil {
		return nil, err
	}
	sd, err := windows.SecurityDescriptorFromString(administrators)
	if err != nil {
		return nil, err
	}
	p := &pipes{name: name, security: &windows.SecurityAttributes{SecurityDescriptor: sd}}
	p.security.Length = uint32(unsafe.Sizeof(*p.security))
	if p.stop, err = windows.CreateEvent(nil, 1, 0, nil); err != nil {
		return nil, err
	}
	// The first instance: another program that has the name already must not be
	// taken for us.
	p.next, err = p.instance(windows.FILE_FLAG_FIRST_PIPE_INSTANCE)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		err = ErrTaken
	}
	if err != nil {
		return nil, errors.Join(err, windows.CloseHandle(p.stop))
	}
	return p, nil
}

func (p *pipes) instance(first uint32) (windows.Handle, error) {
	const size, wait = 64 << 10, 1000
	return windows.CreateNamedPipe(p.name, windows.PIPE_ACCESS_DUPLEX|windows.FILE_FLAG_OVERLAPPED|first,
		windows.PIPE_TYPE_BYTE|windows.PIPE_READMODE_BYTE|windows.PIPE_WAIT|windows.PIPE_REJECT_REMOTE_CLIENTS,
		windows.PIPE_UNLIMITED_INSTANCES, size, size, wait, p.security)
}

func (p *pipes) accept() (stream, string, error) {
	p.mu.Lock()
	h, closed := p.next, p.closed
	p.mu.Unlock()
	if closed {
		p.release()
		return nil, "", errClosed
	}
	if h == 0 {
		return nil, "", p.renew()
	}
	if err := p.connect(h); err != nil {
		if errors.Is(err, errClosed) {
			p.release()
			return nil, "", err
		}
		return nil, "", errors.Join(err, windows.CloseHandle(h), p.renew())
	}
	renewed := p.renew()
	who, err := identify(h)
	if err = errors.Join(renewed, err); err != nil {
		return nil, "", errors.Join(err, windows.CloseHandle(h))
	}
	return os.NewFile(uintptr(h), "control pipe"), who, nil
}

// connect waits for a client, or for close.
func (p *pipes) connect(h windows.Handle) error {
	event, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(event) }()
	o := windows.Overlapped{HEvent: event}
	err = windows.ConnectNamedPipe(h, &o)
	if errors.Is(err, windows.ERROR_PIPE_CONNECTED) {
		return nil
	}
	if !errors.Is(err, windows.ERROR_IO_PENDING) {
		return err
	}
	which, err := windows.WaitForMultipleObjects([]windows.Handle{event, p.stop}, false, windows.INFINITE)
	stopped := err == nil && which == windows.WAIT_OBJECT_0+1
	if err != nil || stopped {
		_ = windows.CancelIoEx(h, &o)
	}
	// Until the system is done with it, o must stay.
	var n uint32
	result := windows.GetOverlappedResult(h, &o, &n, true)
	switch {
	case err != nil:
		return err
	case stopped:
		return errClosed
	}
	return result
}

// renew makes the instance that waits for the next client.
func (p *pipes) renew() error {
	next, err := p.instance(0)
	if err != nil {
		next = 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = next
	return err
}

func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		_ = windows.SetEvent(p.stop)
	}
}

// release closes what waits for no client any more.
func (p *pipes) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next != 0 {
		_ = windows.CloseHandle(p.next)
		p.next = 0
	}
	if p.stop != 0 {
		_ = windows.CloseHandle(p.stop)
		p.stop = 0
	}
}

// identify asks the system whose process is at the other end. Who may connect at
// all, the access list has decided.
func identify(pipe windows.Handle) (who string, err error) {
	var id uint32
	if err := windows.GetNamedPipeClientProcessId(pipe, &id); err != nil {
		return "", fmt.Errorf("ask who calls: %w", err)
	}
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, id)
	if err != nil {
		return "", fmt.Errorf("ask who calls: %w", err)
	}
	defer func() { _ = windows.CloseHandle(process) }()
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return "", fmt.Errorf("ask who calls: %w", err)
	}
	defer func() { _ = token.Close() }()
	user, err := token.GetTokenUser()
	if err != nil {
		return "", fmt.Errorf("ask who calls: %w", err)
	}
	account, domain, _, err := user.User.Sid.LookupAccount("")
	if err != nil {
		return user.User.Sid.String(), nil // an account that was removed has no name
	}
	return domain + `\` + account, nil
}

func dial(ctx context.Context, address string) (stream, error) {
	name, err := windows.UTF16PtrFromString(address)
	if err != nil {
		return nil, err
	}
	for {
		// Whoever listens learns who we are, and can not act as us.
		const flags = windows.FILE_FLAG_OVERLAPPED | windows.SECURITY_SQOS_PRESENT | windows.SECURITY_IDENTIFICATION
		h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, flags, 0)
		switch {
		case err == nil:
			return os.NewFile(uintptr(h), "control pipe"), nil
		case errors.Is(err, windows.ERROR_FILE_NOT_FOUND):
			return nil, fmt.Errorf("%w (nobody listens at %s)", ErrNotRunning, address)
		case errors.Is(err, windows.ERROR_ACCESS_DENIED):
			return nil, ErrDenied
		case !errors.Is(err, windows.ERROR_PIPE_BUSY):
			return nil, err
		}
		select {
		case <-time.After(20 * time.Millisecond): // between two clients there is none to take us
		case <-ctx.Done():
			return nil, fmt.Errorf("every instance is busy: %w", ctx.Err())
		}
	}
}
