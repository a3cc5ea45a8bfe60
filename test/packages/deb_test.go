//go:build packages

package packages

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a root of its own over this machine's, with processes of its own:
// what is done to it is gone with it.
type machine struct {
	t    *testing.T
	pid  string
	root string // as seen from the test
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	script := `set -e
mount -t tmpfs -o mode=0755 tmpfs ` + dir + `
cd ` + dir + `; mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work root
mount --bind /dev root/dev
mount -t proc proc root/proc
mount -t tmpfs -o mode=1777 tmpfs root/tmp
mount -t tmpfs -o mode=0755 tmpfs root/run
rm -f root/usr/sbin/policy-rc.d
exec chroot root sh -c 'echo up; while :; do sleep 1000 & wait; done'` // which reaps what its parents left

	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it all that runs in it
		_ = cmd.Wait()
	})
	if n, err := out.Read(make([]byte, 8)); err != nil || n == 0 {
		t.Fatalf("make a machine: %v: it takes root, and a kernel with overlay file systems", err)
	}
	pid := strings.TrimSpace(command(t, "pgrep", "-P", fmt.Sprint(cmd.Process.Pid)))
	return &machine{t: t, pid: pid, root: "/proc/" + pid + "/root"}
}

// try runs a command in it, and gives what it wrote and its exit code.
func (m *machine) try(args ...string) (string, int) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "nsenter", append([]string{"-t", m.pid, "-m", "-p", "-r", "-w", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	case err != nil:
		m.t.Fatal(err)
	}
	return string(out), 0
}

func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, code := m.try(args...)
	if code != 0 {
		m.t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// want runs a command that is to end with the code and say the text.
func (m *machine) want(code int, text string, args ...string) {
	m.t.Helper()
	out, got := m.try(args...)
	if got != code || !strings.Contains(out, text) {
		m.t.Errorf("%s: exit code %d, %q, want %d and %q", strings.Join(args, " "), got, out, code, text)
	}
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.root+path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) has(path string) bool {
	_, err := os.Lstat(m.root + path)
	return err == nil
}

// install installs a package of a version; dpkg does not sync each file here.
func (m *machine) install(version, program string) string {
	m.t.Helper()
	deb := file(m.t, version, "safeguard-"+program+"_*_amd64.deb")
	text, err := os.ReadFile(deb)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("/tmp/package.deb", string(text))
	return m.run("dpkg", "--force-unsafe-io", "--install", "/tmp/package.deb")
}

// certificates makes those of a centre and an agent of RX1.
func (m *machine) certificates(program string) {
	m.t.Helper()
	m.run(program, "dev-ca", "--host", "127.0.0.1", "--agent", "RX1", "--authority", "906", "/tmp/ca")
}

// give copies a file to a service, as its own.
func (m *machine) give(from, name, to string) {
	m.t.Helper()
	m.run("install", "-o", name, "-g", name, "-m", "0600", from, to)
}

func TestDebOfTheAgent(t *testing.T) {
	m := newMachine(t)
	const name, config = "safeguard-agent", "/etc/safeguard-agent/agent.yaml"
	feed := freePort(t)

	t.Run("installed without a configuration it says what to do", func(t *testing.T) {
		m.t = t
		if out := m.install(older, "agent"); !strings.Contains(out, "make "+config+" first") {
			t.Errorf("the package says %q, want what to do next", out)
		}
		m.want(3, "is stopped", name, "service", "status")
		m.want(1, "no such file", name, "service", "start")
		m.want(3, "has failed", name, "service", "status")
		for path, want := range map[string]string{
			"/etc/safeguard-agent": "1770 root:safeguard-agent", "/etc/safeguard-agent/certificates": "750 safeguard-agent:safeguard-agent",
			"/var/lib/safeguard-agent": "700 safeguard-agent:safeguard-agent", "/usr/bin/safeguard-agent": "755 root:root",
		} {
			if got := strings.TrimSpace(m.run("stat", "-c", "%a %U:%G", path)); got != want {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
		m.want(1, "the package has done it", name, "service", "install")
	})

	t.Run("configured it starts and takes messages under its own account", func(t *testing.T) {
		m.t = t
		m.install(older, "central")
		m.certificates("safeguard-central")
		for from, to := range map[string]string{"agent-RX1.pem": "agent-RX1.pem", "agent-RX1-key.pem": "agent-RX1-key.pem", "ca.pem": "ca.pem"} {
			m.give("/tmp/ca/"+from, name, "/etc/safeguard-agent/certificates/"+to)
		}
		m.write(config, configuration(t, "agent", "10.20.30.40:2575", feed, "central.example.nhs.uk:7443", freePort(t)))
		m.want(0, "is ready", name, "service", "start")
		m.want(0, "is ready", name, "service", "status")
		m.want(0, `"state":"ready"`, name, "service", "status", "--json")
		admit(t, feed, "1001")
		if got := m.run("ps", "-o", "user:32=", "-C", name); strings.TrimSpace(got) != name {
			t.Errorf("it runs as %q, want its own account", got)
		}
		if got := strings.TrimSpace(m.run("stat", "-c", "%a %U", "/etc/safeguard-agent/master.key", config)); got != "600 safeguard-agent\n640 root" {
			t.Errorf("master key and configuration are %q", got)
		}
		m.want(1, "", "su", "-s", "/bin/sh", name, "-c", "echo >> "+config+" 2>/dev/null || rm -f "+config+" 2>/dev/null")
		if !m.has(config) {
			t.Error("the service may remove its configuration")
		}
	})

	t.Run("what the unit does for a reload has it read the configuration again", func(t *testing.T) {
		m.t = t
		_, reload, ok := strings.Cut(m.run(name, "service", "unit"), "\nExecReload=")
		reload, _, _ = strings.Cut(reload, "\n")
		if !ok || !strings.Contains(reload, "$MAINPID") {
			t.Fatalf("the unit reloads by %q", reload)
		}
		m.run("sh", "-c", "MAINPID=$(pgrep -x "+name+"); "+reload)
		m.run("timeout", "30", "sh", "-c", "until grep -q 'configuration taken.*by=SIGHUP' /var/log/safeguard-agent.log; do sleep 0.1; done")
	})

	t.Run("an upgrade keeps what is edited and goes on", func(t *testing.T) {
		m.t = t
		for _, path := range []string{config, "/etc/logrotate.d/safeguard-agent"} {
			m.run("sh", "-c", "echo '# edited' >> "+path)
		}
		if out := m.install(newer, "agent"); !strings.Contains(out, "is ready") {
			t.Errorf("the upgrade says %q, want that the service is ready", out)
		}
		m.want(0, "safeguard-agent 1.2.4", name, "version")
		admit(t, feed, "1002")
		for _, path := range []string{config, "/etc/logrotate.d/safeguard-agent"} {
			m.want(0, "# edited", "tail", "-n", "1", path)
		}
		if log := m.run("cat", "/var/log/safeguard-agent.log"); strings.Count(log, "agent started") != 2 || strings.Count(log, "agent stopped") != 1 {
			t.Errorf("want two starts and a clean stop between them:\n%s", log)
		}
	})

	t.Run("a rollback goes on too", func(t *testing.T) {
		m.t = t
		m.install(older, "agent")
		m.want(0, "safeguard-agent 1.2.3", name, "version")
		m.want(0, "is ready", name, "service", "status")
		admit(t, feed, "1003")
	})

	t.Run("one that an administrator has stopped stays so at an upgrade", func(t *testing.T) {
		m.t = t
		m.run(name, "service", "stop")
		m.install(newer, "agent")
		m.want(3, "is stopped", name, "service", "status")
		m.want(0, "is ready", name, "service", "restart")
	})

	t.Run("one that is killed is said to have been", func(t *testing.T) {
		m.t = t
		m.run("sh", "-c", "pkill -KILL -x "+name+"; while pgrep -x "+name+" >/dev/null; do sleep 0.05; done")
		m.want(3, "it was killed", name, "service", "status")
		m.want(0, "is ready", name, "service", "start")
		admit(t, feed, "1004")
	})

	t.Run("one that can not listen says why in one line", func(t *testing.T) {
		m.t = t
		m.run(name, "service", "stop")
		admitter, err := netListen(feed)
		if err != nil {
			t.Fatal(err)
		}
		out, code := m.try(name, "service", "start")
		if code != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "address already in use") || !strings.Contains(out, "pas") {
			t.Errorf("exit code %d, %q, want one line that names the feed and why", code, out)
		}
		_ = admitter.Close()
		m.want(3, "address already in use", name, "service", "status")
		m.want(0, "is ready", name, "service", "start")
	})

	t.Run("removed it keeps its data, and installed again goes on", func(t *testing.T) {
		m.t = t
		ring := m.run("sha256sum", "/etc/safeguard-agent/master.key")
		m.run("dpkg", "--remove", name)
		if m.has("/usr/bin/"+name) || !m.has(config) || !m.has("/var/lib/safeguard-agent/journal") {
			t.Error("want the program gone, its configuration and data kept")
		}
		if out, _ := m.try("pgrep", "-x", name); out != "" {
			t.Error("it runs on")
		}
		if out := m.install(newer, "agent"); !strings.Contains(out, "is ready") {
			t.Errorf("installed again it says %q, want that it is ready", out)
		}
		admit(t, feed, "1005")
		if got := m.run("sha256sum", "/etc/safeguard-agent/master.key"); got != ring {
			t.Error("the master key is another one")
		}
	})

	t.Run("purged nothing is left, and its keys are shredded", func(t *testing.T) {
		m.t = t
		key := m.run("cat", "/etc/safeguard-agent/master.key")
		m.run("ln", "/etc/safeguard-agent/master.key", "/etc/witness")
		m.run("dpkg", "--purge", name)
		for _, path := range []string{"/etc/safeguard-agent", "/var/lib/safeguard-agent", "/run/safeguard-agent", "/var/log/safeguard-agent.log", "/etc/init.d/safeguard-agent", "/etc/logrotate.d/safeguard-agent"} {
			if m.has(path) {
				t.Errorf("%s is left", path)
			}
		}
		if got := m.run("cat", "/etc/witness"); got == key {
			t.Error("the master key's bytes were not overwritten")
		}
		if _, code := m.try("getent", "passwd", name); code == 0 {
			t.Error("its account is left")
		}
	})

	t.Run("in an image that starts no services it is not started", func(t *testing.T) {
		m.t = t
		m.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
		m.run("chmod", "755", "/usr/sbin/policy-rc.d")
		if out := m.install(newer, "agent"); strings.Contains(out, "service safeguard-agent") {
			t.Errorf("it says %q", out)
		}
	})
}

func TestDebOfTheCentre(t *testing.T) {
	m := newMachine(t)
	const name, config = "safeguard-central", "/etc/safeguard-central/central.yaml"
	m.install(older, "central")
	m.certificates(name)
	for _, f := range []string{"centre.pem", "centre-key.pem", "ca.pem"} {
		m.give("/tmp/ca/"+f, name, "/etc/safeguard-central/certificates/"+f)
	}
	m.write(config, configuration(t, "central", "0.0.0.0:7443", freePort(t)))
	m.want(0, "is ready", name, "service", "start")
	if out := m.install(newer, "central"); !strings.Contains(out, "is ready") {
		t.Errorf("the upgrade says %q, want that the service is ready", out)
	}
	m.want(0, "is ready", name, "service", "status")
	m.run("dpkg", "--purge", name)
	for _, path := range []string{"/etc/safeguard-central", "/var/lib/safeguard-central"} {
		if m.has(path) {
			t.Errorf("%s is left", path)
		}
	}
}

// By hand: what the zip holds, where no package is wanted.
func TestServiceInstalledByHand(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	command(t, "unzip", "-q", file(t, older, "safeguard-agent_*_linux_amd64.zip"), "-d", dir)
	text, err := os.ReadFile(filepath.Join(dir, "safeguard-agent_1.2.3_linux_amd64", "safeguard-agent"))
	if err != nil {
		t.Fatal(err)
	}
	m.write("/usr/local/bin/safeguard-agent", string(text))
	m.run("chmod", "0755", "/usr/local/bin/safeguard-agent")
	m.write("/tmp/draft.yaml", "device: draft\n")
	const name = "safeguard-agent"
	m.want(4, "is not installed", name, "service", "status")
	m.want(0, "is installed", name, "service", "install", "--config-from", "/tmp/draft.yaml")
	m.want(0, "is installed", name, "service", "install", "--config-from", "/tmp/other.yaml") // again, and the file is not needed
	m.want(0, "device: draft", "cat", "/etc/safeguard-agent/agent.yaml")
	m.want(1, "organisation", name, "service", "start")
	m.want(0, "is uninstalled", name, "service", "uninstall")
	m.want(4, "is not installed", name, "service", "status")
	if out, _ := m.try("sh", "-c", "ls /etc/rc*.d /etc/init.d | grep safeguard"); out != "" {
		t.Errorf("left: %s", out)
	}
	m.want(80, "missing flags: --yes", name, "service", "purge")
	m.want(0, "keys destroyed", name, "service", "purge", "--yes")
	if m.has("/etc/safeguard-agent") || m.has("/var/lib/safeguard-agent") {
		t.Error("the purge left something")
	}
}

func TestUnitsAreWellFormedAndClosed(t *testing.T) {
	m := newMachine(t)
	for _, program := range []string{"agent", "central"} {
		m.install(older, program)
		unit := "/usr/lib/systemd/system/safeguard-" + program + ".service"
		if out := m.run("systemd-analyze", "verify", "--man=no", unit); strings.Contains(out, "safeguard") {
			t.Errorf("%s: %s", program, out)
		}
		m.run("systemd-analyze", "security", "--offline=true", "--threshold=15", unit) // 1.5 of 10
	}
}
