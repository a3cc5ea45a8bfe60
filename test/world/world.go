// Package world runs a centre, an agent and a simulated hospital on the loopback
// interface: the two programs as processes of their own, as they are built, the
// hospital in this process.
package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/loopback"
)

// World is all of it. What is exported as JSON is what another process needs to
// join in.
type World struct {
	Dir      string        `json:"dir"`      // everything that is written lies here
	Programs string        `json:"programs"` // folder of the two programs
	Central  string        `json:"central"`  // address
	Second   string        `json:"second"`   // address of a second process of the centre; empty without one
	Feed     string        `json:"feed"`     // address
	EPR      *hospital.EPR `json:"-"`
	PAS      *hospital.PAS `json:"-"`

	central *exec.Cmd
	second  *exec.Cmd
	agent   *exec.Cmd
}

const (
	organisation = "RX1"
	site         = "RX101"
	authority    = "906"
)

// New makes certificates and configurations in the folder, and starts nothing but
// the EPR. feeds are further feeds of the agent, as sections of its configuration
// such as "http: {address: …}". A world that comes with an error is still to be
// closed.
func New(ctx context.Context, dir, programs string, feeds ...string) (*World, error) {
	w := &World{Dir: dir, Programs: programs}
	var err error
	if w.Central, err = FreeAddress(); err != nil {
		return w, err
	}
	if w.Feed, err = FreeAddress(); err != nil {
		return w, err
	}
	if w.EPR, err = hospital.NewEPR("127.0.0.1:0"); err != nil {
		return w, err
	}
	w.PAS = hospital.NewPAS(w.Feed, site)
	if _, err := w.Run(ctx, "safeguard-central", "dev-ca", w.Path("certificates"), "--authority", authority); err != nil {
		return w, err
	}
	for name, text := range map[string]string{"central.yaml": w.centralConfig(), "agent.yaml": w.agentConfig(feeds), "flags.csv": flags()} {
		if err := os.WriteFile(w.Path(name), []byte(text), 0o600); err != nil {
			return w, err
		}
	}
	// The agent enrols by a token, as in a hospital, so the centre issues certificates.
	if _, err := w.Run(ctx, "safeguard-central", "ca", "init", "--config", w.Path("central.yaml")); err != nil {
		return w, err
	}
	if err := os.MkdirAll(w.Path("alerts"), 0o700); err != nil {
		return w, err
	}
	state, err := json.Marshal(w)
	if err != nil {
		return w, err
	}
	return w, os.WriteFile(w.Path("world.json"), state, 0o600)
}

// Join is the world that another process keeps running.
func Join(dir string) (*World, error) {
	state, err := os.ReadFile(filepath.Join(dir, "world.json"))
	if err != nil {
		return nil, fmt.Errorf("nothing is running in %s: %w", dir, err)
	}
	w := &World{}
	if err := json.Unmarshal(state, w); err != nil {
		return nil, err
	}
	w.PAS = hospital.NewPAS(w.Feed, site)
	return w, nil
}

// Close stops everything. What was written stays.
func (w *World) Close() error {
	if w.PAS != nil {
		w.PAS.Close()
	}
	err := errors.Join(w.StopAgent(), w.StopCentral(), w.StopSecond())
	if w.EPR != nil {
		w.EPR.Close()
	}
	return err
}

// Path is of a file in the world's folder.
func (w *World) Path(name ...string) string {
	return filepath.Join(append([]string{w.Dir}, name...)...)
}

// Through has the agent reach the centre and the EPR at other addresses, from its
// next start on.
func (w *World) Through(central, epr string) error {
	text, err := os.ReadFile(w.Path("agent.yaml"))
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte("address: "+w.Central), []byte("address: "+central))
	text = bytes.ReplaceAll(text, []byte("address: "+w.EPR.Addr()), []byte("address: "+epr))
	return os.WriteFile(w.Path("agent.yaml"), text, 0o600)
}

// StartCentral starts the centre and waits until it listens.
func (w *World) StartCentral(ctx context.Context) (err error) {
	w.central, err = w.start(ctx, "safeguard-central", "central.yaml", w.Central)
	return err
}

// StopCentral stops the centre in order.
func (w *World) StopCentral() error {
	cmd := w.central
	w.central = nil
	return stop(cmd)
}

// Share puts the centre, before its first start, into a PostgreSQL database, and
// adds a second process on it that the agent knows too.
func (w *World) Share(ctx context.Context, dsn string) (err error) {
	if w.Second, err = FreeAddress(); err != nil {
		return err
	}
	first, err := os.ReadFile(w.Path("central.yaml"))
	if err != nil {
		return err
	}
	first = append(first, "store: {postgres: {dsn_file: postgres.dsn}}\n"...)
	second := bytes.Replace(first, []byte("listen: "+w.Central+"\ndata: central\n"), []byte("listen: "+w.Second+"\ndata: second\n"), 1)
	agent, err := os.ReadFile(w.Path("agent.yaml"))
	if err != nil {
		return err
	}
	agent = bytes.Replace(agent, []byte("  address: "+w.Central), []byte("  address: "+w.Central+"\n  others: [\""+w.Second+"\"]"), 1)
	for name, text := range map[string][]byte{"postgres.dsn": []byte(dsn), "central.yaml": first, "second.yaml": second, "agent.yaml": agent} {
		if err := os.WriteFile(w.Path(name), text, 0o600); err != nil {
			return err
		}
	}
	if _, err := w.Run(ctx, "safeguard-central", "ca", "init", "--config", w.Path("central.yaml")); err != nil {
		return err
	}
	return os.CopyFS(w.Path("second", "keys"), os.DirFS(w.Path("central", "keys")))
}

// StartSecond is StartCentral for the second process.
func (w *World) StartSecond(ctx context.Context) (err error) {
	w.second, err = w.start(ctx, "safeguard-central", "second.yaml", w.Second)
	return err
}

// StopSecond stops the second process in order.
func (w *World) StopSecond() error {
	cmd := w.second
	w.second = nil
	return stop(cmd)
}

// KillCentral ends the centre as a power cut does.
func (w *World) KillCentral() error {
	cmd := w.central
	w.central = nil
	return kill(cmd)
}

// KillSecond is KillCentral for the second process.
func (w *World) KillSecond() error {
	cmd := w.second
	w.second = nil
	return kill(cmd)
}

// Enrol has the agent enrol, running or not.
func (w *World) Enrol(ctx context.Context) error {
	token := w.Path("token")
	if err := w.token(ctx, token); err != nil {
		return err
	}
	_, err := w.Run(ctx, "safeguard-agent", "enrol", "--config", w.Path("agent.yaml"), "--token-file", token)
	return err
}

// token has the centre write an enrolment token for the agent's site.
func (w *World) token(ctx context.Context, file string) error {
	_, err := w.Run(ctx, "safeguard-central", "enrol", "token", "--config", w.Path("central.yaml"), "--organisation", organisation, "--site", site,
		"--address", w.Central, "--output", file)
	return err
}

// StartAgent starts the agent, with a token left for it where it is not enrolled
// yet, and waits until its feed listens.
func (w *World) StartAgent(ctx context.Context) (err error) {
	folder := w.Path("agent")
	if _, err := os.Stat(filepath.Join(folder, "central.pem")); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := w.token(ctx, filepath.Join(folder, "enrolment.token")); err != nil {
			return err
		}
	}
	w.agent, err = w.start(ctx, "safeguard-agent", "agent.yaml", w.Feed)
	return err
}

// StopAgent stops the agent in order.
func (w *World) StopAgent() error {
	cmd := w.agent
	w.agent = nil
	return stop(cmd)
}

// AgentProcess is the number of the agent's process.
func (w *World) AgentProcess() int { return w.agent.Process.Pid }

// CentralProcess is the number of the centre's process.
func (w *World) CentralProcess() int { return w.central.Process.Pid }

// SecondProcess is that of the centre's second process.
func (w *World) SecondProcess() int { return w.second.Process.Pid }

// KillAgent ends the agent as a power cut does: kill -9.
func (w *World) KillAgent() error {
	cmd := w.agent
	w.agent = nil
	return kill(cmd)
}

// kill is kill -9.
func kill(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", filepath.Base(cmd.Path), err)
	}
	_ = cmd.Wait() // says that it was killed
	return nil
}

// start runs a program and waits until it listens.
func (w *World) start(ctx context.Context, program, config, address string) (*exec.Cmd, error) {
	log, err := os.OpenFile(w.Path(program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(w.Programs, program), "run", "--config", w.Path(config))
	cmd.Stdout, cmd.Stderr = log, log
	// A child of its own group is not interrupted with this process: it is
	// stopped in order.
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			return cmd, conn.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			_ = stop(cmd)
			text, _ := os.ReadFile(w.Path(program + ".log"))
			return nil, fmt.Errorf("%s does not listen on %s; it said:\n%s", program, address, text)
		}
	}
}

// stop ends a program and waits for it.
func stop(cmd *exec.Cmd) error {
	if cmd == nil || cmd.Process == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		_ = cmd.Process.Kill()
	}
	killer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("stop %s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}

// Run runs a command of one of the programs and returns what it printed.
func (w *World) Run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(w.Programs, program), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// AsAuthority runs a command of the central program with the local authority's
// certificate.
func (w *World) AsAuthority(ctx context.Context, args ...string) (string, error) {
	return w.Run(ctx, "safeguard-central", append(args, w.AuthorityFlags()...)...)
}

// AuthorityFlags are those of every command that speaks for the local authority.
func (w *World) AuthorityFlags() []string {
	return []string{
		"--server", w.Central,
		"--cert", w.Path("certificates", "authority-"+authority+".pem"),
		"--key", w.Path("certificates", "authority-"+authority+"-key.pem"),
		"--ca", w.Path("certificates", "ca.pem"),
	}
}

// FreeAddress is one of the loopback interface where nobody listens.
func FreeAddress() (string, error) { return loopback.Free() }
