package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/safeguard-edge/safeguard"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// migrate brings the tables up to this version, and only ever forward. The
// numbers of both kinds of database go together; PostgreSQL begins with 3.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, v vault) error {
	folder, options := "migrations/postgres", []goose.ProviderOption(nil)
	if dialect == goose.DialectSQLite3 {
		folder = "migrations/sqlite"
		options = append(options, goose.WithGoMigrations(
			goose.NewGoMigration(3, &goose.GoFunc{RunTx: v.reseal}, nil)))
	}
	dir, err := fs.Sub(migrations, folder)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, db, dir, options...)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	sources := provider.ListSources()
	known := sources[len(sources)-1].Version
	for before := int64(-1); ; {
		found, err := provider.GetDBVersion(ctx)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if found > known {
			return fmt.Errorf("its version is %d, this program knows up to %d; want the newer program that wrote it", found, known)
		}
		if found == known {
			return nil
		}
		// Another process may be doing the same: then this one fails where the
		// other has come further.
		if _, err := provider.Up(ctx); err != nil && found == before {
			return fmt.Errorf("migrate: %w", err)
		}
		before = found
	}
}

// reseal is the migration that gives each person a data key, and seals under it
// what was sealed under the ring's.
func (v vault) reseal(ctx context.Context, tx *sql.Tx) error {
	r := &resealing{vault: v, ctx: ctx, tx: tx, keys: map[string]dataKey{}}
	for _, table := range []struct {
		name, columns string
		each          func(row []any) error
	}{
		{"persons", "token, number", r.person},
		{"flags", "id, person, authority, content", r.flag},
		{"lookups", "id, person, organisation, attendance, content", r.lookup},
		{"notifications", "position, person, authority, id, content", r.notification},
	} {
		rows, err := r.all(`SELECT ` + table.columns + ` FROM ` + table.name)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := table.each(row); err != nil {
				return fmt.Errorf("seal %s anew: %w", table.name, err)
			}
		}
	}
	return nil
}

type resealing struct {
	vault
	ctx  context.Context
	tx   *sql.Tx
	keys map[string]dataKey // by the person's token
}

func (r *resealing) all(query string) ([][]any, error) {
	rows, err := r.tx.QueryContext(r.ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all [][]any
	for rows.Next() {
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// again gives what the ring sealed, sealed by k.
func (r *resealing) again(k dataKey, sealed, ad []byte) ([]byte, error) {
	plain, err := r.ring.Open(sealed, ad)
	if err != nil {
		return nil, err
	}
	return k.seal(plain, ad), nil
}

// keyOf gives the person's key, and makes one with a row for who has none: the
// person had been looked up, and no flag is held.
func (r *resealing) keyOf(person []byte, number func() (string, error)) (dataKey, error) {
	if k, ok := r.keys[string(person)]; ok {
		return k, nil
	}
	revealed, err := number()
	if err != nil {
		return dataKey{}, err
	}
	c, k, err := r.candidateOf(person, revealed)
	if err != nil {
		return dataKey{}, err
	}
	r.keys[string(person)] = k
	_, err = r.tx.ExecContext(r.ctx, `INSERT INTO persons (token, key, number) VALUES (?, ?, ?)
		ON CONFLICT (token) DO UPDATE SET key = excluded.key, number = excluded.number`, c.person, c.key, c.number)
	return k, err
}

func (r *resealing) person(row []any) error {
	person, sealed := row[0].([]byte), row[1].([]byte)
	_, err := r.keyOf(person, func() (number string, err error) {
		return number, r.open(sealed, personAD(person), &number)
	})
	return err
}

func (r *resealing) update(table, id string, row []any, person, sealed, ad []byte) error {
	k, err := r.keyOf(person, func() (string, error) {
		var s struct {
			Number string `json:"number"`
		}
		return s.Number, r.open(sealed, ad, &s)
	})
	if err != nil {
		return err
	}
	content, err := r.again(k, sealed, ad)
	if err != nil {
		return err
	}
	_, err = r.tx.ExecContext(r.ctx, `UPDATE `+table+` SET content = ? WHERE `+id+` = ?`, content, row[0])
	return err
}

func (r *resealing) flag(row []any) error {
	person := row[1].([]byte)
	return r.update("flags", "id", row, person, row[3].([]byte), key("flag", row[2].(string), string(person)))
}

func (r *resealing) lookup(row []any) error {
	person := row[1].([]byte)
	organisation, err := safeguard.ParseODSCode(row[2].(string))
	if err != nil {
		return err
	}
	var attendance safeguard.AttendanceID
	copy(attendance[:], row[3].([]byte))
	return r.update("lookups", "id", row, person, row[4].([]byte), accessAD(person, organisation, attendance))
}

func (r *resealing) notification(row []any) error {
	return r.update("notifications", "position", row, row[1].([]byte), row[4].([]byte), key("notification", row[3].(string), row[2].(string)))
}
