package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// running serves the handlers until the test ends, and returns the address.
func running(t *testing.T, handlers map[string]Handler) string {
	t.Helper()
	address := Address(Agent, t.TempDir())
	s, err := Listen(address, handlers, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server did not end")
		}
	})
	return address
}

// ask calls and collects the rows.
func ask(t *testing.T, address, command string, args any) (rows []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = Call(ctx, address, command, args, func(row json.RawMessage) error {
		rows = append(rows, string(row))
		return nil
	})
	return rows, err
}

func echo(_ context.Context, who string, args json.RawMessage, send func(any) error) error {
	if err := send(map[string]string{"who": who}); err != nil {
		return err
	}
	return send(args)
}

func TestRowsComeInOrderAndTheSystemSaysWhoCalls(t *testing.T) {
	address := running(t, map[string]Handler{"echo": echo})
	rows, err := ask(t, address, "echo", map[string]int{"n": 7})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[1] != `{"n":7}` {
		t.Fatalf("got rows %q", rows)
	}
	if self := fmt.Sprintf("uid %d", os.Getuid()); runtime.GOOS == "linux" && !strings.Contains(rows[0], self) {
		t.Errorf("the handler was told %s, want it to hold %q", rows[0], self)
	}
}

func TestManyRows(t *testing.T) {
	const many = 20_000
	address := running(t, map[string]Handler{"count": func(_ context.Context, _ string, _ json.RawMessage, send func(any) error) error {
		for i := range many {
			if err := send(i); err != nil {
				return err
			}
		}
		return nil
	}})
	rows, err := ask(t, address, "count", nil)
	if err != nil || len(rows) != many || rows[many-1] != fmt.Sprint(many-1) {
		t.Errorf("%d rows, want %d: %v", len(rows), many, err)
	}
}

func TestErrorsReachTheCaller(t *testing.T) {
	address := running(t, map[string]Handler{
		"refuse": func(context.Context, string, json.RawMessage, func(any) error) error {
			return errors.New("no such entry")
		},
		"break": func(context.Context, string, json.RawMessage, func(any) error) error { panic("broken") },
		"echo":  echo,
	})
	for _, c := range []struct {
		command, want string
		code          Code
	}{
		{"refuse", "no such entry", CodeFailed},
		{"break", "see the service's log", CodeFailed},
		{"unheard", `does not know the command "unheard"`, CodeUnknown},
	} {
		_, err := ask(t, address, c.command, nil)
		var e *Error
		if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s and %q", c.command, err, c.code, c.want)
		}
	}
	if _, err := ask(t, address, "echo", nil); err != nil {
		t.Errorf("after a broken command: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	_, err := ask(t, Address(Agent, t.TempDir()), "echo", nil)
	if !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v, want %v", err, ErrNotRunning)
	}
}

// Who tries both programs on one machine may give them one folder.
func TestBothServicesMayHaveOneDataFolder(t *testing.T) {
	data := t.TempDir()
	if a, b := Address(Agent, data), Address(Centre, data); a == b {
		t.Errorf("both are operated at %s", a)
	}
}

func TestAddressOfAServiceThatRunsIsNotTaken(t *testing.T) {
	address := running(t, map[string]Handler{"echo": echo})
	if s, err := Listen(address, nil, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrTaken) {
		t.Errorf("got %v, %v, want %v", s, err, ErrTaken)
	}
	if _, err := ask(t, address, "echo", nil); err != nil {
		t.Errorf("the first is not reached any more: %v", err)
	}
}

func TestRawRequests(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("speaks to a socket")
	}
	address := running(t, map[string]Handler{"echo": echo})
	for name, c := range map[string]struct{ send, want string }{
		"another version": {`{"version":99,"command":"echo"}` + "\n", string(CodeVersion)},
		"not JSON":        {"GET / HTTP/1.1\n", string(CodeRequest)},
		"without an end":  {`{"version":1,"command":"echo"}`, string(CodeRequest)},
		"far too long":    {strings.Repeat("x", maxRequest+1), string(CodeRequest)},
	} {
		conn, err := net.Dial("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Logf("%s: %v", name, err) // the server need not read it all
		}
		_ = conn.(*net.UnixConn).CloseWrite()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		if !strings.Contains(line, `"code":"`+c.want+`"`) {
			t.Errorf("%s: got %q, want code %s", name, line, c.want)
		}
		_ = conn.Close()
	}
}

func TestCallerWhoLeavesEndsTheCommand(t *testing.T) {
	ended := make(chan error, 1)
	address := running(t, map[string]Handler{"flood": func(_ context.Context, _ string, _ json.RawMessage, send func(any) error) error {
		for {
			if err := send(strings.Repeat("x", 1000)); err != nil {
				ended <- err
				return err
			}
		}
	}})
	enough := errors.New("enough")
	if err := Call(t.Context(), address, "flood", nil, func(json.RawMessage) error { return enough }); !errors.Is(err, enough) {
		t.Fatalf("got %v", err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the command goes on for nobody")
	}
}

func TestCallsOverTheLimitAreTurnedAway(t *testing.T) {
	entered, let := make(chan bool), make(chan bool)
	address := running(t, map[string]Handler{"wait": func(context.Context, string, json.RawMessage, func(any) error) error {
		entered <- true
		<-let
		return nil
	}})
	var calls sync.WaitGroup
	for range maxCalls {
		calls.Go(func() {
			if _, err := ask(t, address, "wait", nil); err != nil {
				t.Error(err)
			}
		})
		<-entered
	}
	_, err := ask(t, address, "wait", nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeBusy {
		t.Errorf("got %v, want %s", err, CodeBusy)
	}
	close(let)
	calls.Wait()
}

func TestStopEndsCallsUnderWay(t *testing.T) {
	address := Address(Agent, t.TempDir())
	entered := make(chan bool)
	s, err := Listen(address, map[string]Handler{"wait": func(ctx context.Context, _ string, _ json.RawMessage, _ func(any) error) error {
		entered <- true
		<-ctx.Done()
		return ctx.Err()
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, answered := make(chan error, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	go func() {
		answered <- Call(context.Background(), address, "wait", nil, func(json.RawMessage) error { return nil })
	}()
	<-entered
	cancel()
	for what, c := range map[string]chan error{"server": ended, "call": answered} {
		select {
		case err := <-c:
			if (err != nil) != (what == "call") {
				t.Errorf("%s ended with %v", what, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the %s did not end", what)
		}
	}
	if _, err := os.Stat(address); runtime.GOOS != "windows" && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays behind: %v", err)
	}
}

func TestAddressThatIsTooLongForASocketOrTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	address := Address(Agent, dir)
	// What a killed agent left behind is in nobody's way.
	if err := os.WriteFile(address, nil, 0o600); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	s, err := Listen(address, map[string]Handler{"echo": echo}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if _, err := ask(t, address, "echo", nil); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(address); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm() != 0o600) {
		t.Errorf("mode of the socket: %v %v", info.Mode(), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
