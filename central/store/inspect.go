package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// Inspection is what is known of a store without opening it as one: nothing is
// brought forward, nothing written.
type Inspection struct {
	Version int64         // of its tables; 0 where there are none
	Want    int64         // that this program needs
	Keys    bool          // it was written under the ring's keys; also where it was written under none yet
	Clock   time.Duration // of the database, before this machine's; 0 of a file
}

// InspectSQLite looks at the file at path; where there is none (fs.ErrNotExist), a
// centre makes one.
func InspectSQLite(ctx context.Context, path string, ring *keys.Ring) (i Inspection, err error) {
	if _, err := os.Stat(path); err != nil {
		return Inspection{}, err
	}
	db, err := sql.Open("sqlite", fileURL(path)+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return Inspection{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return inspect(ring, func(query string, each func(scanner) error) error {
		rows, err := db.QueryContext(ctx, query)
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
	}, `SELECT COUNT(*) FROM sqlite_master WHERE name = 'meta'`)
}

// InspectPostgres looks at the database that dsn names. No error repeats dsn.
func InspectPostgres(ctx context.Context, dsn string, ring *keys.Ring) (i Inspection, err error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return Inspection{}, errDSN("look at store")
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return Inspection{}, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	query := func(query string, each func(scanner) error) error {
		rows, err := conn.Query(ctx, query)
		if err != nil {
			return plain(err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	if i, err = inspect(ring, query, `SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = 'meta'`); err != nil {
		return i, err
	}
	begun := time.Now()
	err = query(`SELECT clock_timestamp()`, func(row scanner) error {
		var at time.Time
		err := row.Scan(&at)
		half := time.Since(begun) / 2
		i.Clock = at.Sub(begun.Add(half))
		return err
	})
	return i, err
}

func inspect(ring *keys.Ring, query func(query string, each func(scanner) error) error, there string) (i Inspection, err error) {
	i.Keys = true
	if i.Want, err = latestMigration(); err != nil {
		return i, err
	}
	tables := 0
	if err := query(there, func(row scanner) error { return row.Scan(&tables) }); err != nil || tables == 0 {
		return i, err
	}
	if err := query(`SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`, func(row scanner) error { return row.Scan(&i.Version) }); err != nil {
		return i, err
	}
	want := map[string]string{"key_ring": ring.ID(), "key_mark": hex.EncodeToString(markOf(ring))}
	err = query(`SELECT name, value FROM meta WHERE name IN ('key_mark', 'key_ring')`, func(row scanner) error {
		var name, have string
		err := row.Scan(&name, &have)
		i.Keys = i.Keys && have == want[name]
		return err
	})
	return i, err
}
