package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/store/storetest"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// startPostgres is a server of the test's own.
func startPostgres(t testing.TB, start func() (*storetest.Postgres, error)) *storetest.Postgres {
	t.Helper()
	p, err := start()
	if errors.Is(err, storetest.ErrNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// sharedWorld is a world with two processes of the centre on one database, neither
// of which runs. more is added to their configuration.
func sharedWorld(t testing.TB, dsn, more string) *world.World {
	t.Helper()
	w, err := world.New(t.Context(), t.TempDir(), programs)
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.Path("central.yaml"))
	if err == nil {
		err = os.WriteFile(w.Path("central.yaml"), append(text, more...), 0o600)
	}
	if err == nil {
		err = w.Share(t.Context(), dsn)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// begin starts both processes and the agent, with flags uploaded.
func begin(ctx context.Context, t testing.TB, w *world.World) {
	t.Helper()
	for _, start := range []func(context.Context) error{w.StartCentral, w.StartSecond} {
		if err := start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if verdict, sentence, err := w.Upload(ctx); err != nil || verdict != "CPF02" {
		t.Fatalf("upload: %s %s %v", verdict, sentence, err)
	}
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
}

// verified has the audit verified whole, and to go on from an earlier report where
// one is given; it gives the report.
func verified(ctx context.Context, t testing.TB, w *world.World, earlier string) (report string) {
	t.Helper()
	args := []string{"audit", "verify", "--config", w.Path("central.yaml"), "--json"}
	if earlier != "" {
		file := w.Path("earlier.json")
		if err := os.WriteFile(file, []byte(earlier), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--noted", file)
	}
	report, err := w.Run(ctx, "safeguard-central", args...)
	if err != nil {
		t.Errorf("audit: %v: %s", err, report)
	}
	return report
}

// receiver is a local authority's system that takes webhooks.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string]string   // by webhook-id
	of     map[string][]string // ids by attendance
	faults []string
	times  int
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{bodies: map[string]string{}, of: map[string][]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(_ http.ResponseWriter, in *http.Request) {
	body, _ := io.ReadAll(in.Body)
	id := in.Header.Get("webhook-id")
	var event struct {
		Data struct {
			ID         string `json:"id"`
			Attendance string `json:"attendance"`
		} `json:"data"`
	}
	err := json.Unmarshal(body, &event)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times++
	before, came := r.bodies[id]
	switch {
	case err != nil || event.Data.ID != id || id == "":
		r.faults = append(r.faults, fmt.Sprintf("notification %q can not be read: %v", id, err))
	case came && before != string(body):
		r.faults = append(r.faults, "notification "+id+" came again with another content")
	case !came:
		r.bodies[id] = string(body)
		r.of[event.Data.Attendance] = append(r.of[event.Data.Attendance], id)
	}
}

// wait waits until so many attendances were notified, and tells of faults.
func (r *receiver) wait(ctx context.Context, t testing.TB, attendances int) {
	t.Helper()
	for {
		r.mu.Lock()
		n := len(r.of)
		r.mu.Unlock()
		if n >= attendances {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d attendances were notified, want %d", n, attendances)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fault := range r.faults {
		t.Error(fault)
	}
	if len(r.of) != attendances {
		t.Errorf("%d attendances were notified, want %d", len(r.of), attendances)
	}
	for attendance, ids := range r.of {
		if len(ids) != 1 {
			t.Errorf("attendance %s was notified as %d notifications", attendance, len(ids))
		}
	}
	t.Logf("%d attendances were notified by %d requests", len(r.of), r.times)
}

// turning is a child in the department whose flag comes and goes.
type turning struct {
	*testing.T
	world *world.World
	from  int
	seen  map[string]bool
	held  bool
}

const turningVisit = "TURNING"

// turn uploads the flag, or takes it away, at the centre's process there, and waits
// until the EPR shows that.
func (c *turning) turn(ctx context.Context, server string) {
	c.Helper()
	child, w := hospital.NoFlag, c.world
	withdraw := ""
	if c.held {
		withdraw = time.Now().Format(time.DateOnly)
	}
	rows := fmt.Sprintf("nhs_number,date_of_birth,plan,start,end,delete\n%s,%s,CPP,%s,,%s\n", child.Number, child.Born.Format(time.DateOnly),
		time.Now().AddDate(0, -1, 0).Format(time.DateOnly), withdraw)
	if err := os.WriteFile(w.Path("turning.csv"), []byte(rows), 0o600); err != nil {
		c.Fatal(err)
	}
	flags := w.AuthorityFlags()
	flags[1] = server
	if out, err := w.Run(ctx, "safeguard-central", append([]string{"upload", w.Path("turning.csv"), "--json"}, flags...)...); err != nil || !strings.Contains(out, "CPF02") {
		c.Fatalf("upload: %v %s", err, out)
	}
	c.held = !c.held
	c.told(ctx)
}

// told waits until the EPR is told something else about the child.
func (c *turning) told(ctx context.Context) {
	c.Helper()
	r, next, err := c.world.EPR.Wait(ctx, c.from, func(r hospital.Received) bool { return visitOf(r) == turningVisit && !c.seen[r.ControlID] })
	if err != nil {
		c.Fatalf("the EPR is not told that the child's flag changed (held: %v): %v", c.held, err)
	}
	c.from, c.seen[r.ControlID] = next, true
}

// newTurning has the child arrive.
func newTurning(ctx context.Context, t *testing.T, w *world.World) *turning {
	t.Helper()
	for visit, who := range map[string]hospital.Person{turningVisit: hospital.NoFlag, "BESIDE": hospital.Plan} {
		if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", who, visit, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	settled(ctx, t, w, []string{"BESIDE"})
	return &turning{T: t, world: w, seen: map[string]bool{}}
}

// TestCentralProcessIsKilledUnderLoad runs two processes of the centre on one
// PostgreSQL, and kills the one that the agent is connected to, ten times, while a
// hospital registers patients and a flag comes and goes at the other process. Each
// acknowledged registration ends in one alert with the centre's answer, and in one
// notification, pushed; each change reaches the EPR; the audit verifies.
func TestCentralProcessIsKilledUnderLoad(t *testing.T) {
	const kills, senders, pause = 10, 6, 60 * time.Millisecond
	db := startPostgres(t, func() (*storetest.Postgres, error) { return storetest.StartPostgres(false) })
	dsn, err := db.Empty(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	council := newReceiver(t)
	w := sharedWorld(t, dsn, "webhooks: [{authority: \"906\", url: \""+council.URL+"\", secret_file: secret}]\n")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	if _, err := w.Run(ctx, "safeguard-central", "webhook", "secret", w.Path("secret")); err != nil {
		t.Fatal(err)
	}
	begin(ctx, t, w)
	children := patients(t, w, senders)
	child := newTurning(ctx, t, w)
	child.turn(ctx, w.Second) // the agent is connected to the first

	ledger, stopSending := register(ctx, t, w, children, pause)
	processes := []struct {
		address string
		kill    func() error
		start   func(context.Context) error
	}{{w.Central, w.KillCentral, w.StartCentral}, {w.Second, w.KillSecond, w.StartSecond}}
	for i := range kills {
		killed, other := processes[i%2], processes[1-i%2]
		if err := ledger.wait(ctx, 2*senders); err != nil {
			t.Fatal(err)
		}
		if err := killed.kill(); err != nil {
			t.Fatal(err)
		}
		child.turn(ctx, other.address)
		if err := killed.start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	stopSending()
	visits := ledger.visits()
	t.Logf("%d registrations acknowledged over %d kills", len(visits), kills)
	settled(ctx, t, w, visits)
	list, repeats := readLedger(t, onlyOther(w.EPR.Ledger(), turningVisit))
	for _, visit := range visits {
		if v := list[visit]; v == nil || v.final < 0 {
			t.Errorf("visit %s was acknowledged and has no alert with the centre's answer", visit)
		}
	}
	t.Logf("%d alerts, %d repeats, all recognisable", len(list), repeats)
	// The turning child's attendance too, for when it was looked up a flag was held
	// or not, and a change notifies nobody: it was not.
	council.wait(ctx, t, len(list))
	verified(ctx, t, w, "")
}

// onlyOther leaves out the messages about a visit.
func onlyOther(list []hospital.Received, visit string) (out []hospital.Received) {
	for _, r := range list {
		if visitOf(r) != visit {
			out = append(out, r)
		}
	}
	return out
}

// TestStandbyIsPromotedUnderLoad has PostgreSQL crash while a hospital registers
// patients, and its synchronous standby promoted. Nothing that the centre has
// answered may be missing: each acknowledged registration ends in one alert with the
// centre's answer and in one notification, and the audit goes on from where it was
// before the crash.
func TestStandbyIsPromotedUnderLoad(t *testing.T) {
	const senders, pause = 6, 60 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	primary := startPostgres(t, func() (*storetest.Postgres, error) { return storetest.StartPostgres(false) })
	dsn, err := primary.Empty(ctx)
	if err != nil {
		t.Fatal(err)
	}
	standby := startPostgres(t, primary.Standby)
	if err := primary.Synchronous(ctx); err != nil {
		t.Fatal(err)
	}
	dsn = strings.Replace(dsn, primary.Address(), primary.Address()+","+standby.Address(), 1) + "&target_session_attrs=read-write"
	w := sharedWorld(t, dsn, "")
	begin(ctx, t, w)
	children := patients(t, w, senders)
	ledger, stopSending := register(ctx, t, w, children, pause)
	if err := ledger.wait(ctx, 20*senders); err != nil {
		t.Fatal(err)
	}
	before := verified(ctx, t, w, "")
	if err := ledger.wait(ctx, 5*senders); err != nil {
		t.Fatal(err)
	}
	if err := primary.Crash(ctx); err != nil {
		t.Fatal(err)
	}
	crashed := time.Now()
	if err := ledger.wait(ctx, 5*senders); err != nil { // the hospital does not wait for it
		t.Fatal(err)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	promoted, from := time.Now(), len(w.EPR.Ledger())
	if _, _, err := w.EPR.Wait(ctx, from, func(r hospital.Received) bool { return strings.Contains(r.Body, heldByCentre) }); err != nil {
		t.Fatalf("no alert with the centre's answer since the standby was promoted: %v", err)
	}
	t.Logf("promoted %v after the crash, first answered alert %v later", promoted.Sub(crashed).Round(10*time.Millisecond), time.Since(promoted).Round(10*time.Millisecond))
	if err := ledger.wait(ctx, 5*senders); err != nil {
		t.Fatal(err)
	}
	stopSending()
	visits := ledger.visits()
	settled(ctx, t, w, visits)
	list, _ := readLedger(t, w.EPR.Ledger())
	notifiedOnce(ctx, t, w, len(list))
	verified(ctx, t, w, before)
	t.Logf("%d registrations, %d alerts", len(visits), len(list))
}
