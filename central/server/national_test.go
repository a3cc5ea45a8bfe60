package server_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/store/storetest"
	"github.com/safeguard-edge/safeguard/test/interleave"
)

// Refreshing as an agent does it, so many questions a call, through the whole
// centre, with the audit entry of each on disk before the answers, beside floors
// that do one at a time: an answer of the same size over the same mutual TLS from a
// bare gRPC server that does nothing, a bare select by primary key in the same
// database, and that server doing that select. Each caller is an agent with a
// connection of its own; half of whom they ask about have a flag.
func BenchmarkRefresh(b *testing.B) {
	const together = 50
	forNational(b, func(b *testing.B, n *national, callers int) {
		agents := n.agents(b, n.centre, callers)
		interleave.Run(b, callers, "lookups/s",
			interleave.Side{Name: "refresh", Count: together, Do: func(caller int) error { return n.refresh(agents[caller], together) }},
			n.floors(b, callers)...)
	})
}

// One silent lookup a call, beside the same floors.
func BenchmarkLookup(b *testing.B) {
	forNational(b, func(b *testing.B, n *national, callers int) {
		agents := n.agents(b, n.centre, callers)
		interleave.Run(b, callers, "lookups/s",
			interleave.Side{Name: "lookup", Do: func(caller int) error { return n.ask(agents[caller], safeguard.Refresh) }},
			n.floors(b, callers)...)
	})
}

func (n *national) floors(b *testing.B, callers int) []interleave.Side {
	b.Helper()
	ask := func(of []*client.Client) func(caller int) error {
		return func(caller int) error {
			_, err := of[caller].Lookup(context.Background(), n.query(mathrand.IntN(n.numbers.len()), safeguard.Refresh))
			return err
		}
	}
	return []interleave.Side{
		{Name: "echo", Do: ask(n.agents(b, n.echo, callers))},
		{Name: "select", Do: func(int) error { return n.findAny(context.Background()) }},
		{Name: "echo+select", Do: ask(n.agents(b, n.echoSelect, callers))},
	}
}

// An unscheduled lookup, with access history, notification and audit entry on
// disk, beside a bare durable insert of as many bytes in the same database.
func BenchmarkUnscheduled(b *testing.B) {
	content := make([]byte, 1000)
	_, _ = rand.Read(content)
	forNational(b, func(b *testing.B, n *national, callers int) {
		agents := n.agents(b, n.centre, callers)
		interleave.Run(b, callers, "lookups/s",
			interleave.Side{Name: "lookup", Do: func(caller int) error { return n.ask(agents[caller], safeguard.Unscheduled) }},
			interleave.Side{Name: "insert", Do: func(int) error { return n.insert(context.Background(), content) }},
		)
	})
}

func forNational(b *testing.B, run func(b *testing.B, n *national, callers int)) {
	for _, kind := range []string{"sqlite", "postgres"} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", kind, callers), func(b *testing.B) {
				n, err := nationals[kind]()
				if errors.Is(err, storetest.ErrNoPostgres) {
					b.Skip(err)
				}
				if err != nil {
					b.Fatal(err)
				}
				run(b, n, callers)
			})
		}
	}
}

// national is a running centre with the national set, an echo beside it, and its
// database as someone has it who goes round the centre.
type national struct {
	certificates string
	numbers      digits       // the first half has flags
	visits       atomic.Int64 // make each attendance another

	centre, echo, echoSelect net.Addr

	tokens tokens // of persons that are there, and as many that are not
	find   func(ctx context.Context, token []byte) error
	insert func(ctx context.Context, content []byte) error
}

// digits and tokens are many NHS numbers and keyed hashes without a pointer: as
// values of their own they would have the garbage collector of the centre that is
// measured go through a million things that no centre holds.
type (
	digits []byte
	tokens []byte
)

const (
	numberSize = 10
	tokenSize  = 32
)

func (d digits) len() int { return len(d) / numberSize }

func (d digits) at(i int) safeguard.NHSNumber {
	n, err := safeguard.ParseNHSNumber(string(d[i*numberSize : (i+1)*numberSize]))
	if err != nil {
		panic(err) // it was one before
	}
	return n
}

func (t tokens) any() []byte {
	i := mathrand.IntN(len(t) / tokenSize)
	return t[i*tokenSize : (i+1)*tokenSize]
}

// nationals are made once for all benchmarks of a run.
var nationals = map[string]func() (*national, error){
	"sqlite":   sync.OnceValues(func() (*national, error) { return newNational((*national).onSQLite) }),
	"postgres": sync.OnceValues(func() (*national, error) { return newNational((*national).onPostgres) }),
}

// atEnd is done when all tests and benchmarks are.
var atEnd []func()

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range atEnd {
		end()
	}
	os.Exit(code)
}

func newNational(on func(n *national, dir string, r *keys.Ring) (*store.DB, *sql.DB, error)) (*national, error) {
	dir, err := os.MkdirTemp("", "safeguard-national-")
	if err != nil {
		return nil, err
	}
	atEnd = append(atEnd, func() { _ = os.RemoveAll(dir) })
	r, err := keys.Open(filepath.Join(dir, "ring"), keys.FileMaster(filepath.Join(dir, "master.key")))
	if err != nil {
		return nil, err
	}
	n := &national{certificates: filepath.Join(dir, "certificates")}
	s, raw, err := on(n, dir, r)
	if err != nil {
		return nil, err
	}
	if err := n.load(s, raw); err != nil {
		return nil, err
	}
	return n, n.serve(s)
}

func (n *national) onSQLite(dir string, r *keys.Ring) (*store.DB, *sql.DB, error) {
	path := filepath.Join(dir, "central.db")
	s, err := store.OpenSQLite(context.Background(), path, r)
	if err != nil {
		return nil, nil, err
	}
	read, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_pragma=query_only(1)")
	if err != nil {
		return nil, nil, err
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	write, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if _, err := write.Exec(`CREATE TABLE bare (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT`); err != nil {
		return nil, nil, err
	}
	find, err := read.Prepare(`SELECT number FROM persons WHERE token = ?`)
	if err != nil {
		return nil, nil, err
	}
	insert, err := write.Prepare(`INSERT INTO bare (content) VALUES (?)`)
	if err != nil {
		return nil, nil, err
	}
	n.find = func(ctx context.Context, token []byte) error {
		var content []byte
		if err := find.QueryRowContext(ctx, token).Scan(&content); !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return nil
	}
	n.insert = func(ctx context.Context, content []byte) error {
		_, err := insert.ExecContext(ctx, content)
		return err
	}
	return s, read, nil
}

func (n *national) onPostgres(_ string, r *keys.Ring) (*store.DB, *sql.DB, error) {
	server, err := storetest.StartPostgres(true)
	if err != nil {
		return nil, nil, err
	}
	atEnd = append(atEnd, func() { _ = server.Stop() })
	dsn, err := server.Empty(context.Background())
	if err != nil {
		return nil, nil, err
	}
	s, err := store.OpenPostgres(context.Background(), dsn, r)
	if err != nil {
		return nil, nil, err
	}
	raw, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, nil, err
	}
	if _, err := raw.Exec(`CREATE TABLE bare (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, content bytea NOT NULL)`); err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.New(context.Background(), dsn+"&pool_max_conns=16")
	if err != nil {
		return nil, nil, err
	}
	n.find = func(ctx context.Context, token []byte) error {
		rows, err := pool.Query(ctx, `SELECT number FROM persons WHERE token = $1`, token)
		if err != nil {
			return err
		}
		for rows.Next() {
			var content []byte
			if err := rows.Scan(&content); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	n.insert = func(ctx context.Context, content []byte) error {
		_, err := pool.Exec(ctx, `INSERT INTO bare (content) VALUES ($1)`, content)
		return err
	}
	return s, raw, nil
}

// load fills the store, and takes note of tokens for the bare select.
func (n *national) load(s *store.DB, raw *sql.DB) error {
	numbers := storetest.Numbers(2 * storetest.NationalFlags)
	for _, number := range numbers {
		n.numbers = append(n.numbers, number.Reveal()...)
	}
	if err := storetest.LoadNational(context.Background(), s, numbers[:storetest.NationalFlags]); err != nil {
		return err
	}
	rows, err := raw.Query(`SELECT token FROM persons`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var token []byte
		if err := rows.Scan(&token); err != nil {
			return err
		}
		none := make([]byte, len(token))
		_, _ = rand.Read(none)
		n.tokens = append(append(n.tokens, token...), none...)
	}
	return rows.Err()
}

// serve starts the centre, and a bare gRPC server beside it.
func (n *national) serve(s *store.DB) error {
	if _, err := identity.WriteDevelopment(n.certificates, identity.Development{Agents: []safeguard.ODSCode{trust}}); err != nil {
		return err
	}
	config, err := identity.ServerTLS(n.files("centre"))
	if err != nil {
		return err
	}
	var authorities []server.Authority
	uploaded := map[safeguard.ODSCode]time.Time{}
	for i := range storetest.NationalAuthorities {
		a := safeguard.Authority{Code: storetest.NationalAuthority(i), Name: fmt.Sprintf("Example Council %d", i), EmergencyDutyPhone: "01632 960001"}
		authorities = append(authorities, server.Authority{Authority: a, Stage: store.Live})
		uploaded[a.Code] = time.Now()
	}
	site := store.Site{Stage: store.Live, Organisation: trust, Code: infirmary, Name: "Example Infirmary", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}}
	directory := server.NewDirectory([]store.Site{site}, authorities)
	directory.SetUploaded(uploaded)
	policy := server.DefaultPolicy()
	policy.ProductionChecks = false // the numbers are of the range for tests
	centre, err := server.Listen("127.0.0.1:0", config, s, directory, policy, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- centre.Run(ctx) }()

	bare, err := n.bare(config.Config())
	if err != nil {
		stop()
		return err
	}
	n.centre = centre.Addr()
	atEnd = append([]func(){func() {
		bare()
		stop()
		<-ended
		_ = s.Close()
	}}, atEnd...)
	return nil
}

// bare starts the two servers that are floors.
func (n *national) bare(config *tls.Config) (stop func(), err error) {
	var servers []*grpc.Server
	for _, s := range []struct {
		at   *net.Addr
		echo *echo
	}{{&n.echo, &echo{}}, {&n.echoSelect, &echo{find: n.findAny}}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		g := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.NumStreamWorkers(64)) // as the centre has
		flagpb.RegisterFlagsServer(g, s.echo)
		go func() { _ = g.Serve(listener) }()
		*s.at, servers = listener.Addr(), append(servers, g)
	}
	return func() {
		for _, g := range servers {
			g.Stop()
		}
	}, nil
}

// findAny is the bare select of someone who is there, or not.
func (n *national) findAny(ctx context.Context) error {
	return n.find(ctx, n.tokens.any())
}

func (n *national) files(name string) identity.Files {
	file := func(name string) string { return filepath.Join(n.certificates, name+".pem") }
	return identity.Files{Certificate: file(name), Key: file(name + "-key"), CA: file("ca")}
}

// echo answers as the centre does, one half held and one half none, and does
// nothing for it, or no more than find.
type echo struct {
	flagpb.UnimplementedFlagsServer
	find  func(ctx context.Context) error
	asked atomic.Int64
}

// Lookup implements flagpb.FlagsServer.
func (e *echo) Lookup(ctx context.Context, _ *flagpb.LookupRequest) (*flagpb.LookupResponse, error) {
	if e.find != nil {
		if err := e.find(ctx); err != nil {
			return nil, err
		}
	}
	now := timestamppb.Now()
	ages := &flagpb.Ages{Fresh: durationpb.New(time.Hour), Usable: durationpb.New(24 * time.Hour)}
	r := &flagpb.LookupResponse{
		AsOf:      now,
		Answer:    &flagpb.LookupResponse_NoneHeld{NoneHeld: &flagpb.NoneHeld{}},
		Policy:    &flagpb.CachePolicy{Held: ages, None: ages},
		OwedPause: durationpb.New(time.Second),
	}
	if e.asked.Add(1)%2 == 0 {
		r.Answer = &flagpb.LookupResponse_Held{Held: &flagpb.Held{Flags: []*flagpb.Flag{{
			Plan:      flagpb.Plan_PLAN_CHILD_PROTECTION,
			Start:     "2025-02-03",
			Authority: &flagpb.Authority{Code: "200", Name: "Example Council 100", EmergencyDutyPhone: "01632 960001"},
		}}}}
		r.Data = []*flagpb.DataAge{{Authority: "200", Name: "Example Council 100", UploadedAt: now}}
	}
	return r, nil
}

func (n *national) agents(b *testing.B, of net.Addr, callers int) []*client.Client {
	b.Helper()
	agents := make([]*client.Client, callers)
	for i := range agents {
		config, err := identity.ClientTLS(n.files("agent-RX1"), identity.Agent)
		if err != nil {
			b.Fatal(err)
		}
		if agents[i], err = client.Dial(of.String(), config, client.Deadline(30*time.Second)); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = agents[i].Close() })
	}
	return agents
}

// query is about the i-th person, with an attendance of its own.
func (n *national) query(i int, purpose safeguard.Purpose) safeguard.Query {
	q := query(n.numbers.at(i), fmt.Sprint("visit ", n.visits.Add(1)))
	q.Born, q.Purpose = safeguard.Hide(storetest.Born(i)), purpose
	return q
}

// ask looks up someone, and sees that the answer is right.
func (n *national) ask(agent *client.Client, purpose safeguard.Purpose) error {
	i := mathrand.IntN(n.numbers.len())
	answer, err := agent.Lookup(context.Background(), n.query(i, purpose))
	if err != nil {
		return err
	}
	return right(i, answer)
}

// refresh asks about so many, and sees that each answer is right.
func (n *national) refresh(agent *client.Client, together int) error {
	who, queries := make([]int, together), make([]safeguard.Query, together)
	for i := range who {
		who[i] = mathrand.IntN(n.numbers.len())
		queries[i] = n.query(who[i], safeguard.Refresh)
	}
	all, _, err := agent.Refresh(context.Background(), queries)
	for i, r := range all {
		err = errors.Join(err, r.Err, right(who[i], r.Answer))
	}
	return err
}

// right tells whether the answer is that about the i-th person.
func right(i int, answer safeguard.Answer) error {
	want := safeguard.NoneHeld
	if i < storetest.NationalFlags {
		want = safeguard.Held
	}
	if answer.Status != want {
		return fmt.Errorf("answer %v for number %d, want %v", answer.Status, i, want)
	}
	return nil
}
