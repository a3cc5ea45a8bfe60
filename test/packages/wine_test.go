//go:build packages

package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// windows is one of wine's, in a folder of its own. Its drive D: is a folder of
// the test's.
type windows struct {
	t       *testing.T
	prefix  string
	d       string   // drive D:
	entered []string // commands of the manual
}

// programFiles and programData are where the agent is, below drive C:.
const (
	programFiles = "Program Files/Safeguard/Agent"
	programData  = "ProgramData/Safeguard/Agent"
)

func newWindows(t *testing.T) *windows {
	t.Helper()
	w := &windows{t: t, prefix: filepath.Join(t.TempDir(), "prefix"), d: t.TempDir()}
	t.Cleanup(func() {
		// With it ends all that runs in it.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := w.command(ctx, "wineserver", "-k", "-w").CombinedOutput(); err != nil {
			t.Errorf("end wine: %v: %s", err, out)
		}
	})
	if out, code := w.try("wineboot", "--init"); code != 0 {
		t.Fatalf("wineboot: exit code %d: %s", code, out)
	}
	if out, err := w.command(t.Context(), "wineserver", "-k", "-w").CombinedOutput(); err != nil {
		t.Fatalf("wineserver: %v: %s", err, out)
	}
	w.addRandom()
	if err := os.Symlink(w.d, filepath.Join(w.prefix, "dosdevices", "d:")); err != nil {
		t.Fatal(err)
	}
	w.stayOn()
	return w
}

// command is one of wine's own. What the system makes is its user's alone: wine
// shows the mode of a file as its access list, and the agent takes no key that
// everybody may read.
func (w *windows) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", `umask 077; exec "$0" "$@"`, name}, args...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DISPLAY=") }),
		"WINEPREFIX="+w.prefix, "HOME="+filepath.Dir(w.prefix), "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=")
	cmd.Dir = w.d
	return cmd
}

// addRandom adds a library that programs in Go want, and wine only has under
// another name.
func (w *windows) addRandom() {
	w.t.Helper()
	dir := w.t.TempDir()
	def := filepath.Join(dir, "bcryptprimitives.def")
	if err := os.WriteFile(def, []byte("LIBRARY bcryptprimitives.dll\nEXPORTS\nProcessPrng=advapi32.SystemFunction036\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	command(w.t, "x86_64-w64-mingw32-dlltool", "-d", def, "-e", filepath.Join(dir, "exports.o"))
	command(w.t, "x86_64-w64-mingw32-ld", "-shared", "-e", "0", "-o", w.c("windows/system32/bcryptprimitives.dll"), filepath.Join(dir, "exports.o"))
}

// stayOn has somebody logged on until the test ends: wine shuts down, and ends its
// services, when the last program does that is none.
func (w *windows) stayOn() {
	w.t.Helper()
	someone := w.command(w.t.Context(), "wine", "cmd")
	in, err := someone.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := someone.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = in.Close()
		_ = someone.Wait()
	})
}

// c is a path below drive C:, as seen from the test.
func (w *windows) c(path string) string { return filepath.Join(w.prefix, "drive_c", path) }

func (w *windows) has(path string) bool {
	_, err := os.Lstat(w.c(path))
	return err == nil
}

func (w *windows) read(path string) string {
	w.t.Helper()
	text, err := os.ReadFile(w.c(path))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// ofProgram is a command that is entered in a program's own folder.
var ofProgram = regexp.MustCompile(`^(?:cmd /c )?safeguard-(agent|central)(?:\.exe)? `)

// try runs a program of the system's, and gives what it wrote and its exit code. Now
// and then wine does not get a program started, and ends with 1 without a word, which
// no program does that was: it is started again.
func (w *windows) try(args ...string) (out string, code int) {
	w.t.Helper()
	for range 3 {
		if out, code = w.once(args...); code != 1 || out != "" {
			break
		}
		w.t.Logf("wine has not started %s", strings.Join(args, " "))
	}
	return out, code
}

func (w *windows) once(args ...string) (string, int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := w.command(ctx, "wine", args...)
	cmd.WaitDelay = 5 * time.Second
	if m := ofProgram.FindStringSubmatch(strings.Join(args, " ")); m != nil {
		cmd.Dir = w.c("Program Files/Safeguard/" + strings.ToUpper(m[1][:1]) + m[1][1:])
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		w.t.Fatalf("%s: not done in time\n%s", strings.Join(args, " "), out)
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // a service that it started has its output too
		w.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), 0
}

// enter enters a command of the manual at the command prompt, which is to end
// with the code and say the text.
func (w *windows) enter(code int, text, line string) {
	w.t.Helper()
	w.entered = append(w.entered, line)
	if out, got := w.try("cmd", "/c", line); got != code || !strings.Contains(out, text) {
		w.t.Fatalf("%s: exit code %d, %q, want %d and %q", line, got, out, code, text)
	}
}

// want runs the agent's program, which is to end with the code and say the text.
func (w *windows) want(code int, text string, args ...string) {
	w.t.Helper()
	if out, got := w.try(append([]string{"safeguard-agent.exe"}, args...)...); got != code || !strings.Contains(out, text) {
		w.t.Errorf("%s: exit code %d, %q, want %d and %q", strings.Join(args, " "), got, out, code, text)
	}
}

// drop puts a file onto drive D:.
func (w *windows) drop(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.d, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

// centre is one that runs on this machine, and gives out tokens.
type centre struct {
	t       *testing.T
	program string
	dir     string
	address string
}

func newCentre(t *testing.T) *centre {
	t.Helper()
	dir := t.TempDir()
	command(t, "unzip", "-q", file(t, older, "safeguard-central_*_linux_amd64.zip"), "-d", dir)
	c := &centre{t, filepath.Join(dir, "safeguard-central_1.2.3_linux_amd64", "safeguard-central"), dir, freePort(t)}
	config := filepath.Join(dir, "central.yaml")
	command(t, c.program, "config", "init", config, "--test-numbers", "--data", filepath.Join(dir, "data"),
		"--master-key", filepath.Join(dir, "master.key"), "--public-address", c.address)
	onPorts(t, config, c.address)
	c.run("ca", "init")
	c.run("ca", "centre", "--host", "127.0.0.1")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	running := exec.Command(c.program, "run", "--config", config)
	running.Stdout, running.Stderr = log, log
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.Process.Signal(os.Interrupt)
		_ = running.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the centre's log:\n%s", text)
		}
	})
	c.run("site", "add", "RX1", "RX101", "--name", "Ashmere General Hospital", "--setting", "emergency-department", "--stage", "testing")
	return c
}

// onPorts has a new configuration of a centre listen at the address, and nowhere
// that another one may.
func onPorts(t *testing.T, config, address string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"0.0.0.0:7443": address, "127.0.0.1:7444": freePort(t), "127.0.0.1:9643": freePort(t)} {
		if !bytes.Contains(text, []byte(from)) {
			t.Fatalf("want %s in\n%s", from, text)
		}
		text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *centre) run(args ...string) {
	c.t.Helper()
	command(c.t, c.program, append(args, "--config", filepath.Join(c.dir, "central.yaml"))...)
}

// token is a new one for the agent of RX101.
func (c *centre) token() string {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "rx101.token")
	c.run("enrol", "token", "--organisation", "RX1", "--site", "RX101", "--output", path)
	text, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// TestManualForWindows does what docs/install-windows.md says: it enters each
// command there that is marked as tried, and no other is marked so.
func TestManualForWindows(t *testing.T) {
	if _, err := exec.LookPath("wine"); err != nil && os.Getenv("CI") == "" {
		t.Skip("wine is not installed: make deps")
	}
	c, w := newCentre(t), newWindows(t)
	feed := freePort(t)
	epr, err := netListen(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	defer epr.Close()
	w.drop("prepared/agent.yaml", configuration(t, "agent", "central.example.nhs.uk:7443", c.address, "10.20.30.40:2575", feed, "epr.example.nhs.uk:6661", epr.Addr().String(),
		"/var/lib/safeguard-agent ", `C:\ProgramData\Safeguard\Agent\data `, "/etc/safeguard-agent/master.key", `C:\ProgramData\Safeguard\Agent\keys\master.key`))
	w.drop("prepared/rx101.token", c.token())
	for _, msi := range []string{file(t, older, "safeguard-agent_*.msi"), file(t, newer, "safeguard-agent_*.msi"), file(t, older, "safeguard-central_*.msi")} {
		text, err := os.ReadFile(msi)
		if err != nil {
			t.Fatal(err)
		}
		w.drop(filepath.Base(msi), string(text))
	}
	const config = `C:\ProgramData\Safeguard\Agent\agent.yaml`
	story := func(name string, do func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, func(t *testing.T) {
			was := w.t
			w.t = t
			defer func() { w.t = was }()
			do(t)
		}) {
			t.FailNow() // what follows goes on from it
		}
	}

	story("installed silently with a configuration and a token it takes messages", func(t *testing.T) {
		w.enter(0, "", `msiexec /i safeguard-agent_1.2.3_windows_amd64.msi /qn CONFIGFILE=D:\prepared\agent.yaml TOKENFILE=D:\prepared\rx101.token`)
		w.enter(0, "is ready", "safeguard-agent service start") // which it has been by the MSI
		w.enter(0, "is ready", "safeguard-agent service status")
		admit(t, feed, "1001")
		for _, name := range []string{"safeguard-agent.exe", "agent.sample.yaml", "install-windows.md", "LICENSE.txt"} {
			if !w.has(filepath.Join(programFiles, name)) {
				t.Errorf("%s is not installed", name)
			}
		}
		if _, err := os.Stat(filepath.Join(w.d, "prepared", "rx101.token")); err == nil || w.has(filepath.Join(programData, "certificates", "enrolment.token")) {
			t.Error("the token is still there")
		}
		if !strings.HasPrefix(w.read(filepath.Join(programData, "certificates", "agent-RX1.pem")), "-----BEGIN CERTIFICATE-----") {
			t.Error("it has no certificate")
		}
	})

	story("it is registered as one service under its own account", func(t *testing.T) {
		out, _ := w.try("reg", "query", `HKLM\System\CurrentControlSet\Services\SafeguardAgent`)
		for _, want := range []string{
			`NT SERVICE\SafeguardAgent`, `"C:\Program Files\Safeguard\Agent\safeguard-agent.exe" run --service --config ` + config, "Safeguard agent",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not registered:\n%s", want, out)
			}
		}
		if !regexp.MustCompile(`\sStart\s+REG_DWORD\s+0x2\s`).MatchString(out) { // SERVICE_AUTO_START
			t.Errorf("it does not start by itself:\n%s", out)
		}
	})

	story("its commands reach it", func(t *testing.T) {
		w.want(0, "safeguard-agent 1.2.3", "version")
		w.enter(0, "configuration is valid", "safeguard-agent config check --config "+config)
		const warnings = 6 // of a sink that only observes
		w.enter(warnings, "the test patient's flag came back", "safeguard-agent check --config "+config)
		w.want(warnings, "the agent runs, with this configuration", "check", "--config", config)
		w.enter(0, "waiting", "safeguard-agent journal stats --config "+config)
	})

	story("it stops and starts", func(t *testing.T) {
		w.enter(0, "is stopped", "safeguard-agent service stop")
		w.want(3, "is stopped", "service", "status")
		if _, err := netDial(feed); err == nil {
			t.Error("its feed listens")
		}
		w.want(0, "is ready", "service", "restart")
		admit(t, feed, "1002")
	})

	story("an upgrade keeps what is edited and goes on", func(t *testing.T) {
		edited := w.read(filepath.Join(programData, "agent.yaml")) + "# edited\n"
		if err := os.WriteFile(w.c(filepath.Join(programData, "agent.yaml")), []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		w.enter(0, "", "msiexec /i safeguard-agent_1.2.4_windows_amd64.msi /qn")
		w.want(0, "safeguard-agent 1.2.4", "version")
		w.want(0, "is ready", "service", "start")
		admit(t, feed, "1003")
		if w.read(filepath.Join(programData, "agent.yaml")) != edited {
			t.Error("the configuration is another one")
		}
	})

	story("rolled back it goes on", func(t *testing.T) {
		key := w.read(filepath.Join(programData, "keys", "master.key"))
		w.enter(0, "", "msiexec /x safeguard-agent_1.2.4_windows_amd64.msi /qn")
		if w.has(filepath.Join(programFiles, "safeguard-agent.exe")) || !w.has(filepath.Join(programData, "agent.yaml")) || !w.has(filepath.Join(programData, "data", "journal")) {
			t.Error("want the program gone, its configuration and data kept")
		}
		if out, code := w.try("reg", "query", `HKLM\System\CurrentControlSet\Services\SafeguardAgent`); code == 0 {
			t.Errorf("the service is still registered:\n%s", out)
		}
		w.enter(0, "", "msiexec /i safeguard-agent_1.2.3_windows_amd64.msi /qn")
		w.want(0, "is ready", "service", "start")
		w.want(0, "safeguard-agent 1.2.3", "version")
		admit(t, feed, "1004")
		if w.read(filepath.Join(programData, "keys", "master.key")) != key {
			t.Error("the master key is another one")
		}
	})

	story("purged nothing is left", func(t *testing.T) {
		w.enter(0, "", "msiexec /x safeguard-agent_1.2.3_windows_amd64.msi /qn PURGE=1")
		for _, path := range []string{programData, filepath.Join(programFiles, "safeguard-agent.exe")} {
			if w.has(path) {
				t.Errorf("%s is left", path)
			}
		}
	})

	story("by hand, from the zip", func(t *testing.T) {
		dir := t.TempDir()
		command(t, "unzip", "-q", file(t, older, "safeguard-agent_*_windows_amd64.zip"), "-d", dir)
		if err := os.MkdirAll(w.c(programFiles), 0o700); err != nil {
			t.Fatal(err)
		}
		command(t, "cp", filepath.Join(dir, "safeguard-agent_1.2.3_windows_amd64", "safeguard-agent.exe"), w.c(programFiles))
		w.drop("prepared/rx101.token", c.token())
		w.want(4, "is not installed", "service", "status")
		w.enter(0, "is installed", `safeguard-agent service install --config-from D:\prepared\agent.yaml --token-from D:\prepared\rx101.token`)
		w.want(0, "is ready", "service", "start")
		admit(t, feed, "1005")
		w.want(1, "stop it first", "service", "purge", "--yes")
		w.want(0, "is stopped", "service", "stop")
		w.enter(0, "keys destroyed", "safeguard-agent service purge --yes")
		w.enter(0, "is uninstalled", "safeguard-agent service uninstall")
		w.want(4, "is not installed", "service", "status")
		if w.has(programData) {
			t.Error("the purge left something")
		}
	})

	story("the centre", func(t *testing.T) {
		const folder, config = "ProgramData/Safeguard/Central", `C:\ProgramData\Safeguard\Central\central.yaml`
		w.enter(0, "make it, then run", "msiexec /i safeguard-central_1.2.3_windows_amd64.msi /qn")
		w.enter(0, "is written", `safeguard-central config init `+config+` --public-address central.example.nhs.uk:7443 --data C:\ProgramData\Safeguard\Central\data --master-key C:\ProgramData\Safeguard\Central\keys\master.key`)
		address := freePort(t)
		onPorts(t, w.c(folder+"/central.yaml"), address)
		w.enter(0, "", "safeguard-central ca init --config "+config)
		w.enter(0, "", "safeguard-central ca centre --config "+config+" --host central.example.nhs.uk")
		w.enter(0, "is ready", "safeguard-central service start")
		conn, err := netDial(address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		w.enter(0, "nothing has changed", "safeguard-central config reload --config "+config)
		w.enter(0, "info", "safeguard-central log level --config "+config)
		w.enter(0, "", "msiexec /x safeguard-central_1.2.3_windows_amd64.msi /qn PURGE=1")
		if w.has(folder) || w.has("Program Files/Safeguard/Central/safeguard-central.exe") {
			t.Error("the purge left something")
		}
	})

	if tried := marked(t); !slices.Equal(tried, slices.Compact(slices.Sorted(slices.Values(w.entered)))) {
		t.Errorf("marked as tried are\n%s\nentered were\n%s", strings.Join(tried, "\n"), strings.Join(slices.Compact(slices.Sorted(slices.Values(w.entered))), "\n"))
	}
}

// marked are the commands in the docs that are marked as tried.
func marked(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(fmt.Errorf("no docs: %w", err))
	}
	block := regexp.MustCompile("(?ms)^\\*Tried under wine:\\*\n\n```bat\n(.*?)^```$")
	var all []string
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(text, -1) {
			all = append(all, strings.Split(strings.TrimSpace(string(m[1])), "\n")...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
