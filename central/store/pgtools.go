package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// A backup of a store in PostgreSQL is made, and restored, by PostgreSQL's own
// programs (pg_dump, pg_restore), in their custom format.

// backup writes one state of the database into a new file at path.
func (e *postgres) backup(ctx context.Context, path string) error {
	return intoNewFile(path, func(f *os.File) error {
		if err := e.tools.run(ctx, "pg_dump", f, "--format=custom", "--no-owner", "--no-privileges", "--dbname="+e.tools.connection); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		return e.tools.run(ctx, "pg_restore", io.Discard, "--file=-", path) // it can be read through
	})
}

// RestorePostgres puts the backup in the file from into the database that dsn names,
// which must be empty (fs.ErrExist). A backup of a store with other keys, or of a newer
// version, is refused before anything is written.
func RestorePostgres(ctx context.Context, from, dsn string, ring *keys.Ring, by audit.Who) (Restored, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return Restored{}, errDSN("restore")
	}
	tools := toolsFor(dsn, config)
	if err := tools.mayRestore(ctx, from, ring); err != nil {
		return Restored{}, fmt.Errorf("restore %s: %w", from, err)
	}
	if err := empty(ctx, config); err != nil {
		return Restored{}, fmt.Errorf("restore into %s: %w", config.ConnConfig.Database, err)
	}
	err = tools.run(ctx, "pg_restore", io.Discard, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--dbname="+tools.connection, from)
	if err != nil {
		return Restored{}, fmt.Errorf("restore %s: %w", from, err)
	}
	s, err := OpenPostgres(ctx, dsn, ring)
	if err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	r, err := s.PutBack(ctx, time.Time{}, by)
	return r, errors.Join(err, s.Close())
}

func errDSN(what string) error {
	return fmt.Errorf("%s: the connection string can not be read, want postgres://user:password@host:5432/database?sslmode=verify-full", what)
}

func empty(ctx context.Context, config *pgxpool.Config) error {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	var tables int
	if err := pool.QueryRow(ctx, `SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables); err != nil {
		return plain(err)
	}
	if tables > 0 {
		return fmt.Errorf("%w: it has %d tables, want an empty database: CREATE DATABASE ... and name it in the connection string", fs.ErrExist, tables)
	}
	return nil
}

// mayRestore reads from the backup whose keys it was written under, and by which
// version.
func (t tools) mayRestore(ctx context.Context, from string, ring *keys.Ring) error {
	if _, err := os.Stat(from); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.run(ctx, "pg_restore", &out, "--data-only", "--table=meta", "--table=goose_db_version", "--file=-", from); err != nil {
		return err
	}
	want := map[string]string{"key_ring": ring.ID(), "key_mark": hex.EncodeToString(markOf(ring))}
	latest, err := latestMigration()
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		columns := strings.Split(line, "\t") // as COPY has them
		if len(columns) == 2 && want[columns[0]] != "" {
			if columns[1] != want[columns[0]] {
				return errOtherKeys(ring)
			}
			delete(want, columns[0])
		}
		if len(columns) == 4 { // goose_db_version: id, version, is it applied, when
			if version, err := strconv.ParseInt(columns[1], 10, 64); err == nil && version > latest {
				return fmt.Errorf("its version is %d, this program knows up to %d; want the newer program that wrote it", version, latest)
			}
		}
	}
	if len(want) > 0 {
		return errors.New("it is no backup of a store of this program")
	}
	return nil
}

// tools are PostgreSQL's programs, for one database.
type tools struct {
	connection string // without the password, since arguments can be seen
	password   string
}

func toolsFor(dsn string, config *pgxpool.Config) tools {
	return tools{withoutSecrets(dsn), config.ConnConfig.Password}
}

// ofPgx are parameters of a connection string that PostgreSQL's own programs do not
// know.
var ofPgx = []string{"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conn_idle_time",
	"pool_health_check_period", "default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity"}

var keyword = regexp.MustCompile(`(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s']*)`)

// withoutSecrets is the connection string as others may see it, and PostgreSQL's own
// programs read it.
func withoutSecrets(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return keyword.ReplaceAllStringFunc(dsn, func(part string) string {
			name := keyword.FindStringSubmatch(part)[1]
			if name == "password" || name == "sslpassword" || slices.Contains(ofPgx, name) {
				return ""
			}
			return part
		})
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	for _, name := range append([]string{"password", "sslpassword"}, ofPgx...) {
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// run runs one of the programs.
func (t tools) run(ctx context.Context, program string, out io.Writer, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
		if len(found) == 0 {
			return fmt.Errorf("%s is not installed here, want PostgreSQL's client programs, of the server's version or newer", program)
		}
		path = found[len(found)-1]
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+t.password, "PGCONNECT_TIMEOUT=10")
	cmd.Stdout = out
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		// The first line says what is wrong; the next may show what is in a row.
		first, _ := bufio.NewReader(&said).ReadString('\n')
		return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(first))
	}
	return nil
}
