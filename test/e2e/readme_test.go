package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// TestREADMEWalksThrough enters what the README says, in its order, in a folder with
// nothing but the programs, and then a flagged child attends.
func TestREADMEWalksThrough(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(programs, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	child := hospital.Plan
	flags := "nhs_number,date_of_birth,plan,start,end\n" + child.Number + "," + child.Born.Format(time.DateOnly) + ",CPP," + time.Now().AddDate(0, -3, 0).Format(time.DateOnly) + ",\n"
	if err := os.WriteFile(filepath.Join(dir, "flags.csv"), []byte(flags), 0o600); err != nil {
		t.Fatal(err)
	}
	free := func() string {
		address, err := world.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	epr, err := hospital.NewEPR("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(epr.Close)
	centre, feed := free(), free()
	_, port, _ := net.SplitHostPort(centre)
	here := strings.NewReplacer(
		"--public-address central.example.nhs.uk:7443", "--listen "+centre+" --public-address localhost:"+port,
		"--host central.example.nhs.uk", "--host localhost",
		"central.example.nhs.uk:7443", "localhost:"+port,
		"10.20.30.40:2575", feed, "epr.example.nhs.uk:2576", epr.Addr(),
	)
	listens := map[string]string{"bin/safeguard-central": centre, "bin/safeguard-agent": feed}
	ran := 0
	for _, c := range commands(t) {
		if c.page != "README.md" || !strings.HasPrefix(c.text, "bin/") {
			continue
		}
		ran++
		text := here.Replace(c.text)
		if strings.Contains(text, " run ") {
			program, _, _ := strings.Cut(text, " ")
			keepRunning(t, dir, text, listens[program])
			continue
		}
		// A running centre knows within seconds who takes part.
		known := time.Now().Add(30 * time.Second)
		for {
			out, err := enter(t.Context(), dir, text)
			if err != nil && strings.Contains(out, "is not registered at the centre") && time.Now().Before(known) {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			if err != nil {
				t.Fatalf("README.md:%d: %s\n%v: %s", c.line, text, err, out)
			}
			break
		}
		if strings.Contains(text, " config init ") {
			onFreePorts(t, dir)
		}
	}
	if ran < 12 {
		t.Fatalf("the README has %d commands, want the whole way", ran)
	}
	pas := hospital.NewPAS(feed, "RX101")
	t.Cleanup(pas.Close)
	if _, err := pas.Send(t.Context(), pas.Message("A04", child, "R1", time.Now())); err != nil {
		t.Fatal(err)
	}
	// Nobody has confirmed the EPR's release settings yet, so it only observes.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := enter(t.Context(), dir, "bin/safeguard-agent attendances --all --config agent.yaml --json")
		if err == nil && strings.Contains(out, `"shown":"flags held"`) {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(dir, "safeguard-agent.log"))
			t.Fatalf("no attendance with flags: %v: %s\n%s", err, out, said)
		}
	}
}

// onFreePorts has the pages and metrics of a new configuration listen where nobody
// else does.
func onFreePorts(t *testing.T, dir string) {
	t.Helper()
	fixed := regexp.MustCompile(`(?m)^( +(?:listen|metrics): 127\.0\.0\.1):\d+`)
	for _, name := range []string{"central.yaml", "agent.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue // not written yet
		}
		if name == "agent.yaml" {
			text = append(text, "\nstatus: {listen: 127.0.0.1:0}\n"...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), fixed.ReplaceAll(text, []byte("$1:0")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func enter(ctx context.Context, dir, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", text)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// keepRunning starts a program that runs until the test's end, and waits until it
// listens.
func keepRunning(t *testing.T, dir, text, address string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", "exec "+text)
	cmd.Dir = dir
	log, err := os.Create(filepath.Join(dir, filepath.Base(strings.Fields(text)[0])+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			said, _ := os.ReadFile(log.Name())
			t.Errorf("%s: %v: %s", text, err, said)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("%s does not listen on %s: %s", text, address, said)
		}
	}
}
