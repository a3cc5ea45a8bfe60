package server_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver "sqlite", for the floor

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
)

// BenchmarkSnapshot uploads an authority's whole snapshot through a running
// centre into an empty store, and the same again with a hundredth of it changed.
// The floor is a transaction that inserts as many rows of that size into one
// table, and does nothing else. Memory is what centre and uploader together come
// to need, at most, while the upload lasts.
func BenchmarkSnapshot(b *testing.B) {
	engines := []string{"sqlite"}
	var pg *storetest.Postgres
	if durable, err := storetest.StartPostgres(true); err == nil {
		pg, engines = durable, append(engines, "postgres")
		b.Cleanup(func() {
			if err := pg.Stop(); err != nil {
				b.Error(err)
			}
		})
	} else if !errors.Is(err, storetest.ErrNoPostgres) {
		b.Fatal(err)
	}
	for _, rows := range []int{5000, storetest.NationalFlags} {
		numbers := storetest.Numbers(rows)
		for _, engine := range engines {
			b.Run(fmt.Sprintf("bare/%s/rows=%d", engine, rows), func(b *testing.B) {
				for b.Loop() {
					b.ReportMetric(float64(rows)/bareInserts(b, engine, pg, rows).Seconds(), "rows/s")
				}
			})
			for _, again := range []bool{false, true} {
				name := fmt.Sprintf("safeguard/%s/rows=%d", engine, rows)
				if again {
					name += "/again"
				}
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						took, memory := uploadSnapshot(b, engine, pg, numbers, again)
						b.ReportMetric(float64(rows)/took.Seconds(), "rows/s")
						b.ReportMetric(memory, "MB")
					}
				})
			}
		}
	}
}

func bareInserts(b *testing.B, engine string, pg *storetest.Postgres, rows int) time.Duration {
	b.Helper()
	person, content := make([]byte, 32), make([]byte, 150)
	if engine == "postgres" {
		return barePostgres(b, pg, rows, person, content)
	}
	file := url.URL{Scheme: "file", Path: filepath.Join(b.TempDir(), "bare.db")}
	db, err := sql.Open("sqlite", file.String()+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE flags (id INTEGER PRIMARY KEY, person BLOB NOT NULL, authority TEXT NOT NULL, content BLOB NOT NULL, at INTEGER NOT NULL);
		CREATE INDEX flags_of ON flags (person)`); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	insert, err := tx.Prepare(`INSERT INTO flags (person, authority, content, at) VALUES (?, ?, ?, ?)`)
	if err != nil {
		b.Fatal(err)
	}
	for i := range rows {
		_, _ = rand.Read(person)
		if _, err := insert.Exec(person, "806", content, int64(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

func barePostgres(b *testing.B, pg *storetest.Postgres, rows int, person, content []byte) time.Duration {
	b.Helper()
	ctx := context.Background()
	dsn, err := pg.Empty(ctx)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE TABLE flags (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, person bytea NOT NULL, authority text NOT NULL, content bytea NOT NULL, at bigint NOT NULL);
		CREATE INDEX flags_of ON flags (person)`); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	tx, err := conn.Begin(ctx)
	if err != nil {
		b.Fatal(err)
	}
	const together = 500
	for first := 0; first < rows; first += together {
		batch := &pgx.Batch{}
		for i := first; i < min(first+together, rows); i++ {
			_, _ = rand.Read(person)
			batch.Queue(`INSERT INTO flags (person, authority, content, at) VALUES ($1, $2, $3, $4)`, slices.Clone(person), "806", content, int64(i))
		}
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

func uploadSnapshot(b *testing.B, engine string, pg *storetest.Postgres, numbers []safeguard.NHSNumber, again bool) (time.Duration, float64) {
	b.Helper()
	ring, err := keys.Open(filepath.Join(b.TempDir(), "ring"), keys.FileMaster(filepath.Join(b.TempDir(), "master.key")))
	if err != nil {
		b.Fatal(err)
	}
	var held *store.DB
	if engine == "postgres" {
		dsn, err := pg.Empty(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		held, err = store.OpenPostgres(b.Context(), dsn, ring)
		if err != nil {
			b.Fatal(err)
		}
	} else if held, err = store.OpenSQLite(b.Context(), filepath.Join(b.TempDir(), "central.db"), ring); err != nil {
		b.Fatal(err)
	}
	defer held.Close()
	conn, stop := serve(b, held)
	defer stop()
	send := func(change int) {
		report, err := conn.Upload(b.Context(), client.Upload{Snapshot: true}, func(yield func(client.Row, error) bool) {
			for i, n := range numbers {
				r := client.Row{Line: i + 2, NHSNumber: n.Reveal(), DateOfBirth: storetest.Born(i).Add(-2, 0, 0).String(), Plan: "CPP", Start: safeguard.DateOf(time.Now()).Add(0, 0, -i%300).String()}
				if change > 0 && i%change == 0 {
					r.End = safeguard.DateOf(time.Now()).Add(0, 1, 0).String()
				}
				if !yield(r, nil) {
					return
				}
			}
		})
		if err != nil || report.Loaded != len(numbers) {
			b.Fatalf("%d rows loaded, %v, want %d", report.Loaded, err, len(numbers))
		}
	}
	change := 0
	if again {
		send(0)
		change = 100
	}
	memory := watchMemory()
	begun := time.Now()
	send(change)
	took := time.Since(begun)
	return took, memory()
}

// serve runs a centre for one authority, and gives its client.
func serve(b *testing.B, held store.Store) (*client.Client, func()) {
	b.Helper()
	dir := b.TempDir()
	if _, err := identity.WriteDevelopment(dir, identity.Development{Authorities: []safeguard.ODSCode{middlesbrough.Code}}); err != nil {
		b.Fatal(err)
	}
	files := func(name string) identity.Files {
		return identity.Files{Certificate: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+"-key.pem"), CA: filepath.Join(dir, "ca.pem")}
	}
	config, err := identity.ServerTLS(files("centre"))
	if err != nil {
		b.Fatal(err)
	}
	policy := server.DefaultPolicy()
	policy.ProductionChecks = false
	s, err := server.Listen("127.0.0.1:0", config, held, server.NewDirectory(nil, []server.Authority{{Authority: middlesbrough, Stage: store.Live}}), policy, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	to, err := identity.ClientTLS(files("authority-"+middlesbrough.Code.String()), identity.Authority)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := client.Dial(s.Addr().String(), to)
	if err != nil {
		b.Fatal(err)
	}
	return conn, func() {
		_ = conn.Close()
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// watchMemory gives what ends it, and gives how much more memory was in use at
// most than when it began, in MB.
func watchMemory() func() float64 {
	in := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	first := in()
	most := first
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-ended:
				tick.Stop()
				return
			case <-tick.C:
				most = max(most, in())
			}
		}
	})
	return func() float64 {
		close(ended)
		watching.Wait()
		return float64(most-first) / (1 << 20)
	}
}
