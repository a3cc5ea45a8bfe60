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
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
)

const (
	readers         = 8           // connections that read
	checkpointEvery = time.Second // the log goes into the file, beside whoever writes
	checkpointPages = 8192        // at 4 KiB; a log that has grown to that waits for nobody
)

// OpenSQLite opens the store in the file at path, which it makes, readable by
// its owner only, when there is none; its folder must exist. It needs nothing
// else: WAL mode, each commit synced before it counts. Other processes of this
// machine may have the same file open. A store whose persons are sealed under
// other keys, or that a newer version wrote, is refused.
func OpenSQLite(ctx context.Context, path string, ring *keys.Ring) (*DB, error) {
	e := &sqlite{prepared: map[string]*sql.Stmt{}, closing: make(chan struct{})}
	s, err := e.open(ctx, path, ring)
	if err != nil {
		_ = e.close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

// sqlite is the engine that needs nothing.
type sqlite struct {
	path string

	read    *sql.DB
	reading sync.Map // statements on read, by text

	write    *sql.DB
	conn     *sql.Conn            // the only one of write; the writer's
	prepared map[string]*sql.Stmt // on conn

	closing       chan struct{}
	checkpointing sync.WaitGroup
}

func (e *sqlite) open(ctx context.Context, path string, ring *keys.Ring) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	e.path = path
	// SQLite gives its log the permissions of the file it belongs to.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// What is deleted is overwritten: an erased key must not stay in a free page.
	if e.write, err = sql.Open("sqlite", dataSource(path, fmt.Sprintf("_txlock=immediate&_pragma=secure_delete(1)&_pragma=wal_autocheckpoint(%d)", checkpointPages))); err != nil {
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
	e.checkpointing.Go(e.checkpoint)
	return start(ctx, e, newVault(ring))
}

func dataSource(path, more string) string {
	return fileURL(path) + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + more
}

// fileURL names the file at path so that no character of it is taken for
// something else.
func fileURL(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/data
	}
	file := url.URL{Scheme: "file", Path: path}
	return file.String()
}

// checkpoint brings into the file what the log holds. Left to the writer, every
// so many commits one of them would wait for it, with the lookups that share it.
// What fails here is tried again, and by the writer in the end.
func (e *sqlite) checkpoint() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = e.read.Exec(`PRAGMA wal_checkpoint(PASSIVE)`)
		case <-e.closing:
			return
		}
	}
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

// held asks about all in one statement, and so in one read transaction: what a
// connection has in memory is of no use to it once another has written.
func (e *sqlite) held(ctx context.Context, persons [][]byte) ([]heldRow, error) {
	size := 1 // few different ones, that each is prepared once
	for size < len(persons) {
		size *= 4
	}
	args := make([]any, size)
	for i := range args {
		args[i] = persons[min(i, len(persons)-1)]
	}
	var held []heldRow
	err := e.query(ctx, func(row scanner) error {
		h, err := scanHeld(row)
		held = append(held, h)
		return err
	}, stmt(heldOf[size], args...))
	return held, err
}

// heldOf is the statement for so many persons.
var heldOf = map[int]string{}

func init() {
	for size := 1; size <= heldTogether; size *= 4 {
		heldOf[size] = `SELECT f.person, f.id, p.key, f.authority, f.content FROM flags f JOIN persons p ON p.token = f.person
			WHERE f.person IN (?` + strings.Repeat(", ?", size-1) + `) AND f.closed_at IS NULL ORDER BY f.id`
	}
}

func (e *sqlite) snapshot(ctx context.Context, do func(tx transaction) error) error {
	conn, err := e.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	tx := &sqliteTransaction{conn: conn}
	if err := tx.begin(ctx, `BEGIN`); err != nil {
		return err
	}
	defer tx.rollback()
	return do(tx)
}

func (e *sqlite) begin(ctx context.Context) (openTransaction, error) {
	tx := &sqliteTransaction{conn: e.conn, prepared: e.prepared}
	if err := tx.begin(ctx, `BEGIN IMMEDIATE`); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return tx, nil
}

func (e *sqlite) atomically(ctx context.Context, statements ...statement) error {
	tx, err := e.begin(ctx)
	if err != nil {
		return err
	}
	return tx.commit(ctx, statements...)
}

func (e *sqlite) insertAudit(records []audit.Record) []statement {
	return inserts(`INSERT INTO audit (chain, seq, at, body, hash, subject, salt) VALUES `, "", records, func(args []any, r audit.Record) []any {
		return append(args, r.Chain, int64(r.Seq), millis(r.At), r.Body, r.Hash, r.Token, r.Salt)
	})
}

func (e *sqlite) noteAsked(notes []asking) []statement {
	return inserts(`INSERT INTO asked (person, organisation, site, at, attended_at, attended_as) VALUES `, keepAsked,
		notes, func(args []any, a asking) []any {
			return append(args, a.person, a.organisation, a.site, a.at, a.attendedAt, a.attendedAs)
		})
}

// lock has nothing to do where transactions follow one another.
func (e *sqlite) lock(context.Context, transaction, string) error { return nil }

// announce is nothing: whoever changes the file beside a centre is an operator,
// who can wait for the next look.
func (e *sqlite) announce() []statement { return nil }

func (e *sqlite) listen(ctx context.Context, _ func()) { <-ctx.Done() }

func (e *sqlite) clock() string { return `CAST(unixepoch('subsec') * 1000 AS INTEGER)` }

func (e *sqlite) parallel() bool { return false }

// scrub empties the log, which may hold pages as they were. Deleted values are
// overwritten in the file itself.
func (e *sqlite) scrub(ctx context.Context) error {
	_, err := e.read.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

func (e *sqlite) close() error {
	close(e.closing)
	e.checkpointing.Wait()
	var errs []error
	// With a statement open, SQLite leaves the log as it is.
	for _, p := range e.prepared {
		errs = append(errs, p.Close())
	}
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

// begin leaves nothing begun where it fails: the statement of a caller who has gone
// fails although it was done, and the connection is the next one's.
func (t *sqliteTransaction) begin(ctx context.Context, how string) error {
	_, err := t.conn.ExecContext(ctx, how)
	if err != nil {
		t.rollback()
	}
	return err
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
	// A caller who goes now is not told that it failed although it was done.
	if _, err := t.conn.ExecContext(context.WithoutCancel(ctx), `COMMIT`); err != nil {
		t.rollback()
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// rollback has nothing to say: where it fails, SQLite has rolled back already.
func (t *sqliteTransaction) rollback() {
	_, _ = t.conn.ExecContext(context.Background(), `ROLLBACK`)
}
