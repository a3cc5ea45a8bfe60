package store

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// engine is one kind of database. The SQL is the same for each, with ? for the
// arguments; what differs is how it gets there.
type engine interface {
	transaction // each statement for itself; for reading

	// begin starts a transaction, of the writer alone where parallel says false.
	begin(ctx context.Context) (openTransaction, error)

	// atomically executes the statements, which need no answer, in one
	// transaction of the writer.
	atomically(ctx context.Context, statements ...statement) error

	// snapshot has do read one state of the database, whatever is written
	// meanwhile.
	snapshot(ctx context.Context, do func(tx transaction) error) error

	// held gives the rows of Flags for some persons, at most heldTogether.
	held(ctx context.Context, persons [][]byte) ([]heldRow, error)

	// insertAudit is how records are appended to the audit.
	insertAudit(records []audit.Record) []statement

	// noteAsked is how notes are kept, each of its own person, organisation and
	// site, of which the latest counts.
	noteAsked(notes []asking) []statement

	// lock keeps other transactions that lock the same name waiting until tx
	// has ended.
	lock(ctx context.Context, tx transaction, name string) error

	// announce are statements that, once they are committed, wake whoever listens
	// on the same database; listen is until ctx ends.
	announce() []statement
	listen(ctx context.Context, woken func())

	// clock is SQL for the database's time in milliseconds.
	clock() string

	// parallel tells whether transactions may be written beside the writer's.
	parallel() bool

	// backup writes one state into a new file at path, and sees that it can be read.
	backup(ctx context.Context, path string) error

	// scrub takes what was deleted off the disk, as far as the database can.
	scrub(ctx context.Context) error

	close() error
}

// statement is SQL with its arguments.
type statement struct {
	text string
	args []any
}

func stmt(text string, args ...any) statement { return statement{text, args} }

// scanner is a row.
type scanner interface{ Scan(into ...any) error }

type transaction interface {
	// exec gives how many rows each statement touched. They go to the database
	// together.
	exec(ctx context.Context, statements ...statement) ([]int64, error)

	// query hands each row of each statement to each, in their order.
	query(ctx context.Context, each func(row scanner) error, statements ...statement) error
}

// openTransaction ends by one of its two methods.
type openTransaction interface {
	transaction
	commit(ctx context.Context, last ...statement) error
	rollback()
}

// heldRow is one flag that is held, with the person's wrapped key.
type heldRow struct {
	person    []byte
	id        int64
	key       []byte
	authority string
	content   []byte
}

func scanHeld(row scanner) (heldRow, error) {
	var h heldRow
	err := row.Scan(&h.person, &h.id, &h.key, &h.authority, &h.content)
	return h, err
}

// millis is a moment as the tables have it.
func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// largest is how many rows or values one statement is for, at most.
const largest = 256

// sizes cuts rows into parts of few different sizes, so that the statement for
// each is prepared once.
func sizes[T any](rows []T) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(rows) > 0 {
			size := largest
			for size > len(rows) {
				size /= 4
			}
			if !yield(rows[:size]) {
				return
			}
			rows = rows[size:]
		}
	}
}

// inserts are statements for several rows each, between head and tail.
func inserts[T any](head, tail string, rows []T, values func(args []any, row T) []any) []statement {
	var statements []statement
	for some := range sizes(rows) {
		var args []any
		for _, r := range some {
			args = values(args, r)
		}
		one := "(?" + strings.Repeat(", ?", len(args)/len(some)-1) + ")"
		statements = append(statements, stmt(head+one+strings.Repeat(", "+one, len(some)-1)+tail, args...))
	}
	return statements
}

// among are statements about several values each, which stand as a list in
// parentheses between head and tail, after the first arguments.
func among[T any](head, tail string, values []T, first ...any) []statement {
	var statements []statement
	for some := range sizes(values) {
		args := slices.Clone(first)
		for _, v := range some {
			args = append(args, v)
		}
		statements = append(statements, stmt(head+" (?"+strings.Repeat(", ?", len(some)-1)+")"+tail, args...))
	}
	return statements
}
