package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard/test/loopback"
)

// ErrNoPostgres says that this machine has no PostgreSQL to test with.
var ErrNoPostgres = errors.New("no PostgreSQL server programs found, want them under /usr/lib/postgresql: make deps")

// Postgres is a PostgreSQL server of its own, in a temporary folder and on the
// loopback. It ends with the process that started it, however that ends.
type Postgres struct {
	bin   string // folder of its programs
	dir   string
	port  string
	held  io.WriteCloser // the server ends when it is closed
	guard *exec.Cmd
	count atomic.Int64
}

// StartPostgres starts a server. Only a durable one has its commits on disk, and
// only that tells something about speed.
func StartPostgres(durable bool) (*Postgres, error) { return startPostgres(durable, "") }

// Standby starts a server that follows p, as pg_basebackup makes one.
func (p *Postgres) Standby() (*Postgres, error) { return startPostgres(false, p.port) }

func startPostgres(durable bool, following string) (*Postgres, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "safeguard-postgres-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	options := "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c port=" + port
	if !durable {
		options += " -c fsync=off -c full_page_writes=off"
	}
	// The guard waits for its input to end, so that a test that is killed leaves
	// no server behind.
	script := `set -e
if [ -n "$4" ]; then
	"$1/pg_basebackup" -h 127.0.0.1 -p "$4" -U safeguard -D "$2/data" -R -X stream -c fast --no-sync >"$2/log" 2>&1
else
	"$1/initdb" -D "$2/data" -U safeguard -A trust -E UTF8 --locale=C --no-sync >"$2/log" 2>&1
fi
"$1/pg_ctl" -D "$2/data" -l "$2/log" -o "$3" -w start >>"$2/log" 2>&1
echo up
cat >/dev/null
"$1/pg_ctl" -D "$2/data" -m immediate -w stop >>"$2/log" 2>&1 || true # it may have crashed
rm -rf "$2"
`
	args, err := asServer(dir, "sh", "-c", script, "sh", bin, dir, options, following)
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin, dir: dir, port: port, guard: exec.Command(args[0], args[1:]...)}
	p.guard.Dir = "/"
	if p.held, err = p.guard.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.guard.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.guard.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	said := make([]byte, 3)
	if _, err := io.ReadFull(out, said); err != nil {
		_ = p.guard.Wait()
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, fmt.Errorf("start PostgreSQL: %s", log)
	}
	return p, nil
}

// postgresPrograms is the folder of the newest version's.
func postgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", ErrNoPostgres
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

func version(program string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(program))))
	return n
}

// asServer is a command that has the rights of the server, which refuses to run as
// root, in its folder.
func asServer(dir string, args ...string) ([]string, error) {
	if os.Geteuid() != 0 {
		return args, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
		return append([]string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups"}, args...), nil
	}
	return nil, errors.New("no user to run PostgreSQL as, want postgres or nobody")
}

func freePort() (string, error) {
	address, err := loopback.Free()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(address)
	return port, err
}

// Empty makes an empty database, and names it as store.OpenPostgres wants it.
func (p *Postgres) Empty(ctx context.Context) (dsn string, err error) {
	return p.make(ctx, "template0")
}

// Copy is Empty with what is in the database that dsn names, to which nobody may
// be connected.
func (p *Postgres) Copy(ctx context.Context, dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	return p.make(ctx, strings.TrimPrefix(u.Path, "/"))
}

func (p *Postgres) make(ctx context.Context, template string) (dsn string, err error) {
	bin, err := postgresPrograms()
	if err != nil {
		return "", err
	}
	name := "test" + strconv.FormatInt(p.count.Add(1), 10)
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "createdb"), "-h", "127.0.0.1", "-p", p.port, "-U", "safeguard", "-T", template, name).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make database: %s", strings.TrimSpace(string(out)))
	}
	return "postgres://safeguard@127.0.0.1:" + p.port + "/" + name + "?sslmode=disable", nil
}

// Address is where it listens.
func (p *Postgres) Address() string { return "127.0.0.1:" + p.port }

// Synchronous has each commit wait from now on until a standby has it on its disk.
func (p *Postgres) Synchronous(ctx context.Context) error {
	if _, err := p.ask(ctx, `ALTER SYSTEM SET synchronous_standby_names = '*'`); err != nil {
		return err
	}
	if _, err := p.ask(ctx, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	for {
		state, err := p.ask(ctx, `SELECT sync_state FROM pg_stat_replication`)
		if err != nil || state == "sync" {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the standby is %q, want sync", state)
		}
	}
}

// Crash ends the server at once, and nothing is written any more.
func (p *Postgres) Crash(ctx context.Context) error { return p.control(ctx, "-m", "immediate", "stop") }

// Restart starts a server anew that has crashed.
func (p *Postgres) Restart(ctx context.Context) error {
	return p.control(ctx, "-l", filepath.Join(p.dir, "log"), "restart") // with the options that it had
}

// Dir is the folder of its data and its log.
func (p *Postgres) Dir() string { return p.dir }

// Promote makes a standby the server.
func (p *Postgres) Promote(ctx context.Context) error { return p.control(ctx, "promote") }

func (p *Postgres) control(ctx context.Context, args ...string) error {
	args, err := asServer(p.dir, append([]string{filepath.Join(p.bin, "pg_ctl"), "-D", filepath.Join(p.dir, "data"), "-w"}, args...)...)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_ctl: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (p *Postgres) ask(ctx context.Context, sql string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), "-h", "127.0.0.1", "-p", p.port, "-U", "safeguard", "-d", "postgres", "-At", "-c", sql).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// Stop ends the server.
func (p *Postgres) Stop() error {
	if err := p.held.Close(); err != nil {
		return err
	}
	return p.guard.Wait()
}
