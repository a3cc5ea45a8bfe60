package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// readers is how many lookups read at the same time.
const readers = 8

// OpenSQLite opens the store in the file at path, which it makes, readable by
// its owner only, when there is none; its folder must exist. It needs nothing
// else: WAL mode, each commit synced before it counts. Other processes of this
// machine may have the same file open. A store whose persons are sealed under
// other keys, or that a newer version wrote, is refused.
func OpenSQLite(ctx context.Context, path string, ring *keys.Ring) (*DB, error) {
	e := &sqlite{prepared: map[string]*sql.Stmt{}}
	s, err := e.open(ctx, path, ring)
	if err != nil {
		_ = e.close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

// sqlite is the engine that needs nothing.
type sqlite struct {
	read    *sql.DB
	reading sync.Map // statements on read, by text

	write    *sql.DB
	conn     *sql.Conn            // the only one of write; the writer's
	prepared map[string]*sql.Stmt // on conn
}

func (e *sqlite) open(ctx context.Context, path string, ring *keys.Ring) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite gives its log the permissions of the file it belongs to.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// What is deleted is overwritten: an erased key must not stay in a free page.
	if e.write, err = sql.Open("sqlite", dataSource(path, "_txlock=immediate&_pragma=secure_delete(1)")); err != nil {
		return nil, err
	}
	e.write.SetMaxOpenConns(1)
	if err := migrate(ctx, goose.DialectSQLite3, e.write); err != nil {
		return nil, err
	}
	if e.conn, err = e.write.Conn(ctx); err != nil {
		return nil, err
	}
	if e.read, err = sql.Open("sqlite", dataSource(path, "_pragma=query_only(1)")); err != nil {
		return nil, err
	}
	e.read.SetMaxOpenConns(readers)
	e.read.SetMaxIdleConns(readers)
	return start(ctx, e, newVault(ring))
}

// dataSource names the file at path so that no character of it is taken for
// something else.
func dataSource(path, more string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/data
	}
	file := url.URL{Scheme: "file", Path: path}
	return file.String() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + more
}

// reader gives the statement, prepared for all connections that read.
func (e *sqlite) reader(ctx context.Context, text string) (*sql.Stmt, error) {
	if p, ok := e.reading.Load(text); ok {
		return p.(*sql.Stmt), nil
	}
	p, err := e.read.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if other, was := e.reading.LoadOrStore(text, p); was {
		return other.(*sql.Stmt), p.Close()
	}
	return p, nil
}

// exec implements transaction; the connections that it is on refuse writing.
func (e *sqlite) exec(context.Context, ...statement) ([]int64, error) {
	return nil, errors.New("write outside of a transaction")
}

func (e *sqlite) query(ctx context.Context, each func(row scanner) error, statements ...statement) error {
	for _, s := range statements {
		p, err := e.reader(ctx, s.text)
		if err != nil {
			return err
		}
		rows, err := p.QueryContext(ctx, s.args...)
		if err := eachRow(rows, err, each); err != nil {
			return err
		}
	}
	return nil
}

func eachRow(rows *sql.Rows, err error, each func(row scanner) error) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (e *sqlite) held(ctx context.Context, person []byte) ([]heldRow, error) {
	var held []heldRow
	err := e.query(ctx, func(row scanner) error {
		var h heldRow
		if err := row.Scan(&h.id, &h.key, &h.authority, &h.content); err != nil {
			return err
		}
		held = append(held, h)
		return nil
	}, stmt(`SELECT f.id, p.key, f.authority, f.content FROM flags f JOIN persons p ON p.token = f.person
		WHERE f.person = ? AND f.closed_at IS NULL ORDER BY f.id`, person))
	return held, err
}

func (e *sqlite) snapshot(ctx context.Context, do func(tx transaction) error) error {
	conn, err := e.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	tx := &sqliteTransaction{conn: conn}
	if _, err := conn.ExecContext(ctx, `BEGIN`); err != nil {
		return err
	}
	defer tx.rollback()
	return do(tx)
}

func (e *sqlite) begin(ctx context.Context) (openTransaction, error) {
	if _, err := e.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &sqliteTransaction{conn: e.conn, prepared: e.prepared}, nil
}

func (e *sqlite) atomically(ctx context.Context, statements ...statement) error {
	tx, err := e.begin(ctx)
	if err != nil {
		return err
	}
	return tx.commit(ctx, statements...)
}

func (e *sqlite) insertAudit(records []audit.Record) []statement {
	statements := make([]statement, len(records))
	for i, r := range records {
		statements[i] = stmt(`INSERT INTO audit (chain, seq, at, body, hash, subject, salt) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			r.Chain, int64(r.Seq), millis(r.At), r.Body, r.Hash, r.Token, r.Salt)
	}
	return statements
}

// lock has nothing to do where transactions follow one another.
func (e *sqlite) lock(context.Context, transaction, string) error { return nil }

func (e *sqlite) parallel() bool { return false }

// scrub empties the log, which may hold pages as they were. Deleted values are
// overwritten in the file itself.
func (e *sqlite) scrub(ctx context.Context) error {
	_, err := e.read.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

func (e *sqlite) close() error {
	var errs []error
	if e.conn != nil {
		errs = append(errs, e.conn.Close())
	}
	for _, db := range []*sql.DB{e.read, e.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// sqliteTransaction is what is done on one connection between BEGIN and its end.
type sqliteTransaction struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt // of conn; nil where nothing is repeated
}

func (t *sqliteTransaction) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if p := t.prepared[text]; p != nil {
		return p, nil
	}
	p, err := t.conn.PrepareContext(ctx, text)
	if err == nil && t.prepared != nil {
		t.prepared[text] = p
	}
	return p, err
}

func (t *sqliteTransaction) exec(ctx context.Context, statements ...statement) ([]int64, error) {
	touched := make([]int64, len(statements))
	for i, s := range statements {
		p, err := t.prepare(ctx, s.text)
		if err != nil {
			return nil, err
		}
		result, err := p.ExecContext(ctx, s.args...)
		if err != nil {
			return nil, err
		}
		if touched[i], err = result.RowsAffected(); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

func (t *sqliteTransaction) query(ctx context.Context, each func(row scanner) error, statements ...statement) error {
	for _, s := range statements {
		p, err := t.prepare(ctx, s.text)
		if err != nil {
			return err
		}
		rows, err := p.QueryContext(ctx, s.args...)
		if err := eachRow(rows, err, each); err != nil {
			return err
		}
	}
	return nil
}

func (t *sqliteTransaction) commit(ctx context.Context, last ...statement) error {
	if _, err := t.exec(ctx, last...); err != nil {
		t.rollback()
		return err
	}
	if _, err := t.conn.ExecContext(ctx, `COMMIT`); err != nil {
		t.rollback()
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// rollback has nothing to say: where it fails, SQLite has rolled back already.
func (t *sqliteTransaction) rollback() {
	_, _ = t.conn.ExecContext(context.Background(), `ROLLBACK`)
}
