package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
)

const (
	postgresConnections = 16
	postgresConnect     = 10 * time.Second
)

// OpenPostgres opens the store in the PostgreSQL database that dsn names, a URL
// or key=value pairs. Many processes may serve one database, with the same keys.
// A store whose persons are sealed under other keys, or that a newer version
// wrote, is refused. No error repeats dsn, which may hold a password.
func OpenPostgres(ctx context.Context, dsn string, ring *keys.Ring) (*DB, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN("open store")
	}
	if config.MaxConns < postgresConnections {
		config.MaxConns = postgresConnections
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = postgresConnect
	}
	e := &postgres{tools: toolsFor(dsn, config)}
	s, err := e.open(ctx, config, ring)
	if err != nil {
		_ = e.close()
		return nil, fmt.Errorf("open store %s on %s: %w", config.ConnConfig.Database, config.ConnConfig.Host, err)
	}
	return s, nil
}

// postgres is the engine that many processes share.
type postgres struct {
	pool    *pgxpool.Pool
	lookups *pgxpool.Pool // what lookups are made with, whatever else goes on
	tools   tools
}

func (e *postgres) open(ctx context.Context, config *pgxpool.Config, ring *keys.Ring) (_ *DB, err error) {
	if e.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := e.migrate(ctx); err != nil {
		return nil, err
	}
	config = config.Copy()
	config.MinConns, config.MaxConns = 0, lookers+1 // and the writer
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// Otherwise each group of lookups is planned anew, since others might come
		// to be planned for more persons; which takes longer than the reading.
		_, err := conn.Exec(ctx, `SET plan_cache_mode = force_generic_plan`)
		return err
	}
	if e.lookups, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	return start(ctx, e, newVault(ring))
}

// migrate lets one process at a time bring the tables forward.
func (e *postgres) migrate(ctx context.Context) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, lockOf("migrate")); err != nil {
		return err
	}
	defer func() {
		_, _ = conn.Exec(context.Background(), `SELECT pg_advisory_unlock($1)`, lockOf("migrate"))
	}()
	db := stdlib.OpenDBFromPool(e.pool)
	defer func() { _ = db.Close() }()
	return migrate(ctx, goose.DialectPostgres, db)
}

// lockOf is a name as PostgreSQL's advisory locks want it.
func lockOf(name string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("safeguard central " + name))
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// numbered holds statements with $1, $2 for each ?, by their text.
var numbered sync.Map

func (s statement) numbered() string {
	if text, ok := numbered.Load(s.text); ok {
		return text.(string)
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(s.text, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	numbered.Store(s.text, b.String())
	return b.String()
}

func batchOf(statements []statement) *pgx.Batch {
	b := &pgx.Batch{}
	for _, s := range statements {
		b.Queue(s.numbered(), s.args...)
	}
	return b
}

// sender is a pool or one connection of it. Statements sent together without a
// BEGIN are one transaction.
type sender interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

func send(ctx context.Context, on sender, statements []statement) (touched []int64, err error) {
	if len(statements) == 0 {
		return nil, nil
	}
	results := on.SendBatch(ctx, batchOf(statements))
	defer func() { err = errors.Join(err, results.Close()) }()
	touched = make([]int64, len(statements))
	for i := range statements {
		tag, err := results.Exec()
		if err != nil {
			return nil, plain(err)
		}
		touched[i] = tag.RowsAffected()
	}
	return touched, nil
}

// plain leaves out what PostgreSQL says of the values in a row.
func plain(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return fmt.Errorf("%s (SQLSTATE %s, table %s, constraint %s)", e.Message, e.Code, e.TableName, e.ConstraintName)
	}
	return err
}

func ask(ctx context.Context, on sender, each func(row scanner) error, statements []statement) (err error) {
	if len(statements) == 0 {
		return nil
	}
	results := on.SendBatch(ctx, batchOf(statements))
	defer func() { err = errors.Join(err, results.Close()) }()
	for range statements {
		rows, err := results.Query()
		if err != nil {
			return plain(err)
		}
		for rows.Next() {
			if err := each(rows); err != nil {
				rows.Close()
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return plain(err)
		}
	}
	return nil
}

func (e *postgres) exec(ctx context.Context, statements ...statement) ([]int64, error) {
	return send(ctx, e.pool, statements)
}

func (e *postgres) query(ctx context.Context, each func(row scanner) error, statements ...statement) error {
	return ask(ctx, e.pool, each, statements)
}

func (e *postgres) atomically(ctx context.Context, statements ...statement) error {
	_, err := send(ctx, e.lookups, statements)
	return err
}

func (e *postgres) snapshot(ctx context.Context, do func(tx transaction) error) error {
	tx, err := e.beginAs(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
	if err != nil {
		return err
	}
	defer tx.rollback()
	return do(tx)
}

func (e *postgres) begin(ctx context.Context) (openTransaction, error) {
	return e.beginAs(ctx, `BEGIN`)
}

func (e *postgres) beginAs(ctx context.Context, how string) (*postgresTransaction, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &postgresTransaction{conn: conn, how: how}, nil
}

// lock is released by the end of tx.
func (e *postgres) lock(ctx context.Context, tx transaction, name string) error {
	return tx.query(ctx, func(scanner) error { return nil }, stmt(`SELECT pg_advisory_xact_lock(?)`, lockOf(name)))
}

// changesChannel is what a store notifies, and listens to, when it has logged
// changes (PostgreSQL, NOTIFY). Nothing is in the message.
const changesChannel = "safeguard_changes"

func (e *postgres) announce() []statement { return []statement{stmt(`NOTIFY ` + changesChannel)} }

// listen has a connection of its own. Where a pooler stands between that hands
// sessions round, nothing comes, and nothing is wrong.
func (e *postgres) listen(ctx context.Context, woken func()) {
	for ctx.Err() == nil {
		_ = e.listenOnce(ctx, woken) // others say that the database is away
		select {
		case <-time.After(listenAgain):
		case <-ctx.Done():
		}
	}
}

const (
	listenAgain = time.Second
	listenAlive = 30 * time.Second // how soon a connection is known to be dead
)

func (e *postgres) listenOnce(ctx context.Context, woken func()) error {
	conn, err := pgx.ConnectConfig(ctx, e.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), postgresConnect)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+changesChannel); err != nil {
		return err
	}
	for {
		woken() // also for what came while nobody listened
		for {
			waiting, cancel := context.WithTimeout(ctx, listenAlive)
			_, err := conn.WaitForNotification(waiting)
			quiet := waiting.Err() != nil && ctx.Err() == nil
			cancel()
			if err == nil {
				break
			}
			if !quiet || conn.IsClosed() {
				return err
			}
			if err := ping(ctx, conn); err != nil {
				return err
			}
		}
	}
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, postgresConnect)
	defer cancel()
	return conn.Ping(ctx)
}

func (e *postgres) clock() string {
	return `CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)`
}

func (e *postgres) parallel() bool { return true }

// insertAudit is one statement, whose arguments are the columns.
func (e *postgres) insertAudit(records []audit.Record) []statement {
	if len(records) == 0 {
		return nil
	}
	n := len(records)
	chains, seqs, ats := make([]string, n), make([]int64, n), make([]int64, n)
	bodies, hashes, tokens, salts := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
	for i, r := range records {
		chains[i], seqs[i], ats[i] = r.Chain, int64(r.Seq), millis(r.At)
		bodies[i], hashes[i], tokens[i], salts[i] = r.Body, r.Hash, r.Token, r.Salt
	}
	return []statement{stmt(`INSERT INTO audit (chain, seq, at, body, hash, subject, salt)
		SELECT * FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::bytea[], ?::bytea[], ?::bytea[], ?::bytea[])`,
		chains, seqs, ats, bodies, hashes, tokens, salts)}
}

// noteAsked is one statement, too.
func (e *postgres) noteAsked(notes []asking) []statement {
	if len(notes) == 0 {
		return nil
	}
	n := len(notes)
	persons, organisations, sites, ats := make([][]byte, n), make([]string, n), make([]string, n), make([]int64, n)
	attended, as := make([]*int64, n), make([][]byte, n)
	for i, a := range notes {
		persons[i], organisations[i], sites[i], ats[i] = a.person, a.organisation, a.site, a.at
		attended[i], as[i] = a.attendedAt, a.attendedAs
	}
	return []statement{stmt(`INSERT INTO asked (person, organisation, site, at, attended_at, attended_as)
		SELECT * FROM unnest(?::bytea[], ?::text[], ?::text[], ?::bigint[], ?::bigint[], ?::bytea[])`+keepAsked, persons, organisations, sites, ats, attended, as)}
}

// scrub has the rows removed that nobody can see any more. The server's own log
// and backups hold them for as long as they are kept.
func (e *postgres) scrub(ctx context.Context) error {
	for _, table := range []string{"persons", "flags", "lookups", "notifications", "asked", "changes", "audit"} {
		if _, err := e.pool.Exec(ctx, `VACUUM `+table); err != nil {
			return plain(err)
		}
	}
	return nil
}

func (e *postgres) close() error {
	for _, pool := range []*pgxpool.Pool{e.pool, e.lookups} {
		if pool != nil {
			pool.Close()
		}
	}
	return nil
}

// postgresTransaction has one connection until it ends. BEGIN travels with its
// first statements, COMMIT with its last.
type postgresTransaction struct {
	conn  *pgxpool.Conn
	how   string // BEGIN, until it is sent
	begun bool
}

func (t *postgresTransaction) opened(statements []statement) []statement {
	if t.begun {
		return statements
	}
	t.begun = true
	return append([]statement{stmt(t.how)}, statements...)
}

func (t *postgresTransaction) exec(ctx context.Context, statements ...statement) ([]int64, error) {
	all := t.opened(statements)
	touched, err := send(ctx, t.conn, all)
	if err != nil {
		return nil, err
	}
	return touched[len(all)-len(statements):], nil
}

func (t *postgresTransaction) query(ctx context.Context, each func(row scanner) error, statements ...statement) error {
	return ask(ctx, t.conn, each, t.opened(statements))
}

func (t *postgresTransaction) commit(ctx context.Context, last ...statement) error {
	if t.begun || len(last) > 0 {
		if _, err := send(ctx, t.conn, append(t.opened(last), stmt(`COMMIT`))); err != nil {
			t.rollback()
			return fmt.Errorf("commit: %w", err)
		}
	}
	t.conn.Release()
	return nil
}

// rollback has nothing to say: where it fails the connection is lost, and with
// it the transaction.
func (t *postgresTransaction) rollback() {
	if t.begun {
		ctx, cancel := context.WithTimeout(context.Background(), postgresConnect)
		defer cancel()
		_, _ = t.conn.Exec(ctx, `ROLLBACK`)
	}
	t.conn.Release()
}

func (e *postgres) held(ctx context.Context, persons [][]byte) ([]heldRow, error) {
	rows, err := e.lookups.Query(ctx, `SELECT f.person, f.id, p.key, f.authority, f.content FROM flags f JOIN persons p ON p.token = f.person
		WHERE f.person = ANY($1) AND f.closed_at IS NULL ORDER BY f.id`, persons)
	if err != nil {
		return nil, plain(err)
	}
	defer rows.Close()
	var held []heldRow
	for rows.Next() {
		h, err := scanHeld(rows)
		if err != nil {
			return nil, err
		}
		held = append(held, h)
	}
	if err := rows.Err(); err != nil {
		return nil, plain(err)
	}
	return held, nil
}
