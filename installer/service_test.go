package installer_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/installer"
)

var service = installer.Service{
	Name: "safeguard-test", WindowsName: "SafeguardTest", DisplayName: "Safeguard test", Description: "A test", Config: "test.yaml",
}

// TestMain lets the test binary be the program that a service manager runs.
func TestMain(m *testing.M) {
	does := os.Getenv("SAFEGUARD_TEST_PROGRAM")
	if does == "" {
		os.Exit(m.Run())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := service.Run(context.Background(), true, log, func(ctx context.Context, ready installer.Ready) error {
		asked := 0
		switch does {
		case "fails":
			return errors.New("feed pas: listen tcp 10.0.0.1:2575:\n bind: address already in use")
		case "hangs":
			ready(func(ctx context.Context) error {
				if asked++; asked <= 2 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			})
		default:
			ready(func(context.Context) error { return nil })
		}
		<-ctx.Done()
		return nil
	})
	if err != nil {
		os.Exit(1)
	}
}

// managed is a program and the service manager's ends of it.
type managed struct {
	*exec.Cmd
	notices *net.UnixConn
	folder  string
	log     strings.Builder
}

// manage starts the program as systemd would: with a real datagram socket, and a
// watchdog of 300 ms.
func manage(t *testing.T, does string) *managed {
	t.Helper()
	folder, err := os.MkdirTemp("", "") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	address := filepath.Join(folder, "notify")
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notices.Close() })
	m := &managed{Cmd: exec.CommandContext(t.Context(), os.Args[0]), notices: notices, folder: folder}
	m.Env = append(os.Environ(), "SAFEGUARD_TEST_PROGRAM="+does, "NOTIFY_SOCKET="+address, "RUNTIME_DIRECTORY="+folder, "WATCHDOG_USEC=300000")
	m.Stderr = &m.log
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

// want reads notices until one has the line.
func (m *managed) want(t *testing.T, line string) {
	t.Helper()
	if err := m.notices.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for buffer := make([]byte, 4096); ; {
		n, err := m.notices.Read(buffer)
		if err != nil {
			t.Fatalf("no notice %s, but %q: %v", line, seen, err)
		}
		seen = append(seen, string(buffer[:n]))
		for l := range strings.SplitSeq(string(buffer[:n]), "\n") {
			if l == line {
				return
			}
		}
	}
}

func (m *managed) state(t *testing.T) (s installer.State) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(m.folder, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheManagerIsToldWhenItIsReadyAndWhenItStops(t *testing.T) {
	m := manage(t, "works")
	m.want(t, "STATUS=starting")
	m.want(t, "READY=1")
	if got := m.state(t); got.Phase != installer.Up || got.PID != m.Process.Pid || time.Since(got.Since) > time.Minute {
		t.Errorf("state %+v, want ready", got)
	}
	for range 3 {
		m.want(t, "WATCHDOG=1")
	}
	if err := m.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.want(t, "STOPPING=1")
	if err := m.Wait(); err != nil {
		t.Errorf("stopped by SIGTERM: %v, want a clean end", err)
	}
	if got := m.state(t); got.Phase != installer.Stopped {
		t.Errorf("state %+v, want stopped", got)
	}
}

func TestTheManagerIsToldWhyItFailed(t *testing.T) {
	m := manage(t, "fails")
	m.want(t, "STATUS=feed pas: listen tcp 10.0.0.1:2575: bind: address already in use")
	var exit *exec.ExitError
	if err := m.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v, want exit code 1", err)
	}
	got := m.state(t)
	if got.Phase != installer.Failed || got.Reason != "feed pas: listen tcp 10.0.0.1:2575: bind: address already in use" {
		t.Errorf("state %+v, want failed with its reason in one line", got)
	}
}

func TestTheWatchdogIsNotFedByAProgramThatDoesNotAnswer(t *testing.T) {
	m := manage(t, "hangs")
	m.want(t, "WATCHDOG=1")
	m.want(t, "WATCHDOG=1")
	if err := m.notices.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := m.notices.Read(make([]byte, 4096)); err == nil {
		t.Errorf("a notice of %d bytes, want silence", n)
	}
	if err := m.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = m.Wait()
	if !strings.Contains(m.log.String(), "not alive") {
		t.Errorf("log %q, want it to say that the watchdog will act", m.log.String())
	}
}

func TestRunReturnsWhatTheProgramReturns(t *testing.T) {
	failed := errors.New("feed pas: listen: address in use")
	err := service.Run(t.Context(), false, slog.New(slog.DiscardHandler), func(context.Context, installer.Ready) error { return failed })
	if !errors.Is(err, failed) {
		t.Errorf("got %v, want the program's own error", err)
	}
}
