package installer_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/safeguard-edge/safeguard/installer"
)

var service = installer.Service{Name: "safeguard-test", DisplayName: "Safeguard test", Description: "A test"}

// TestMain lets the test binary be the program that TestSIGTERMEndsRunCleanly stops.
func TestMain(m *testing.M) {
	if os.Getenv("SAFEGUARD_TEST_PROGRAM") == "" {
		os.Exit(m.Run())
	}
	err := service.Run(context.Background(), func(ctx context.Context) error {
		_, _ = os.Stdout.WriteString("running\n")
		<-ctx.Done()
		return nil
	})
	if err != nil {
		os.Exit(1)
	}
}

func TestRunReturnsWhatTheProgramReturns(t *testing.T) {
	failed := errors.New("feed pas: listen: address in use")
	if err := service.Run(t.Context(), func(context.Context) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v, want the program's own error", err)
	}
}

func TestSIGTERMEndsRunCleanly(t *testing.T) {
	program := exec.CommandContext(t.Context(), os.Args[0])
	program.Env = append(os.Environ(), "SAFEGUARD_TEST_PROGRAM=1")
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("stopped by SIGTERM: %v, want a clean end", err)
	}
}
