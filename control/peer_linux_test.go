package control

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRootAndTheAgentsUserMayCall(t *testing.T) {
	for _, c := range []struct {
		caller uint32
		self   int
		want   bool
	}{{0, 999, true}, {999, 999, true}, {1000, 999, false}, {65534, 0, false}} {
		if got := allowed(c.caller, c.self); got != c.want {
			t.Errorf("caller %d of an agent run by %d: %v, want %v", c.caller, c.self, got, c.want)
		}
	}
}

const reach = "CONTROL_TEST_SOCKET"

// TestMain lets the test's own program be the caller under another user.
func TestMain(m *testing.M) {
	if address := os.Getenv(reach); address != "" {
		c, err := net.Dial("unix", address)
		if err != nil {
			println(err.Error())
			os.Exit(2)
		}
		got, _ := io.ReadAll(c)
		println("answer", len(got))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestOtherUsersAreTurnedAway opens the folder and the socket to everybody, as
// an administrator might by mistake: the system still tells who calls.
func TestOtherUsersAreTurnedAway(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to call as another user")
	}
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "caller")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for path, mode := range map[string]os.FileMode{dir: 0o755, program: 0o755, filepath.Join(dir, "s"): 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	accepted := make(chan error, 1)
	go func() {
		_, _, err := l.accept()
		accepted <- err
	}()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), reach+"="+filepath.Join(dir, "s"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "answer 0") {
		t.Errorf("the caller got %q: %v", out, err)
	}
	if err := <-accepted; err == nil || !strings.Contains(err.Error(), "uid 65534") {
		t.Errorf("got %v, want a refusal that names the user", err)
	}
}
