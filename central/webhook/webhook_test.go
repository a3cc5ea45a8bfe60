package webhook_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	signer "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/notice"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/webhook"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

var (
	alice     = must(safeguard.ParseNHSNumber("9990000107"))
	born      = must(safeguard.ParseDate("2015-06-07"))
	trust     = must(safeguard.ParseODSCode("RX1"))
	islington = must(safeguard.ParseODSCode("206"))
	sheffield = must(safeguard.ParseODSCode("373"))
	morning   = time.Date(2026, 3, 1, 9, 30, 15, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func openStore(t *testing.T) *store.DB {
	t.Helper()
	ring, err := keys.Open(filepath.Join(t.TempDir(), "ring"), keys.FileMaster(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "central.db"), ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func access(visit string) store.Access {
	return store.Access{
		Number: alice, Organisation: trust, Attendance: safeguard.NewAttendanceID(trust, visit), Site: must(safeguard.ParseODSCode("RX1RA")),
		Setting: safeguard.EmergencyDepartment, Device: "agent one", At: morning, Recorded: morning,
	}
}

// attend owes each authority a notification.
func attend(t *testing.T, s store.Store, visit string, authorities ...safeguard.ODSCode) {
	t.Helper()
	a := access(visit)
	var owed []safeguard.Notification
	for _, authority := range authorities {
		owed = append(owed, safeguard.Notification{Authority: authority, Number: alice, Born: safeguard.Hide(born), Plans: []safeguard.Plan{safeguard.ChildProtection}, Site: a.Site, Setting: a.Setting, At: a.At})
	}
	if err := s.Settle(t.Context(), store.Look{Access: a, Purpose: safeguard.Unscheduled}, owed); err != nil {
		t.Fatal(err)
	}
}

// receiver is an authority's system.
type receiver struct {
	*httptest.Server
	secret string
	answer func(n int) int // HTTP status of the nth request, from 1
	slow   time.Duration
	within atomic.Int32 // requests at the same time
	most   atomic.Int32

	mu   sync.Mutex
	n    int
	came []event // also of requests that were not taken
}

type event struct {
	ID   string
	Type string
	Data notice.Notification
	Bad  error // why the signature is none
}

func receive(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{secret: webhook.NewSecret(), answer: answer}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.most.Store(max(r.most.Load(), r.within.Add(1)))
	defer r.within.Add(-1)
	time.Sleep(r.slow)
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	e := event{ID: request.Header.Get("webhook-id")}
	verifier, err := signer.NewWebhook(r.secret)
	if err == nil {
		err = verifier.Verify(body, request.Header)
	}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	e.Bad = err
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	r.came = append(r.came, e)
	w.Header().Set("Location", r.URL+"/elsewhere")
	w.WriteHeader(r.answer(r.n))
	fmt.Fprint(w, "about ", alice.Reveal())
}

func (r *receiver) target() webhook.Target {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	return webhook.Target{Authority: islington, URL: r.URL + "/in?token=tell-nobody", Secrets: []string{r.secret}, CA: pool}
}

// wait for so many requests.
func (r *receiver) wait(t *testing.T, n int) []event {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		came := slices.Clone(r.came)
		r.mu.Unlock()
		if len(came) >= n {
			return came
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests came, want %d", len(came), n)
		}
	}
}

func taken(int) int { return http.StatusNoContent }

// send runs a sender until the test ends, or until stopped.
func send(t *testing.T, q webhook.Queue, holder string, targets ...webhook.Target) (log *loggingtest.Log, stop func()) {
	t.Helper()
	log = &loggingtest.Log{}
	s, err := webhook.New(q, holder, func(safeguard.ODSCode) bool { return true }, targets, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, secret := range []string{alice.Reveal(), born.String(), "tell-nobody", "whsec_"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, log)
			}
		}
	})
	t.Cleanup(stop)
	return log, stop
}

func waiting(t *testing.T, s store.Store, authority safeguard.ODSCode) int {
	t.Helper()
	list, err := s.Waiting(t.Context(), authority, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func wantNoneWaiting(t *testing.T, s store.Store) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); waiting(t, s, islington) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("notifications wait still")
		}
	}
}

func TestInOrderSignedAndTaken(t *testing.T) {
	s, r := openStore(t), receive(t, taken)
	attend(t, s, "1", islington, sheffield)
	attend(t, s, "2", islington)
	send(t, s, "one", r.target())
	r.wait(t, 2)
	c := store.Correction{
		Correction: safeguard.Correction{Number: alice, Author: safeguard.Author{Organisation: trust}, Attendance: access("1").Attendance,
			Reason: safeguard.AttendanceCancelled, At: morning},
		Recorded: morning,
	}
	if _, err := s.Correct(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	came := r.wait(t, 3)
	for i, e := range came {
		if e.Bad != nil || e.ID != e.Data.ID || e.Data.NHSNumber != alice.Reveal() || e.Data.DateOfBirth != born.String() {
			t.Errorf("request %d: %+v", i+1, e)
		}
	}
	if came[0].Data.Attendance != access("1").Attendance || came[1].Data.Attendance != access("2").Attendance || came[0].Type != "attendance.notified" {
		t.Errorf("came %+v, want the first visit first", came)
	}
	if came[2].Type != "attendance.corrected" || came[2].Data.Corrects != came[0].ID {
		t.Errorf("came %+v, want a correction of the first", came[2])
	}
	wantNoneWaiting(t, s)
	if got := waiting(t, s, sheffield); got != 2 {
		t.Errorf("of an authority without a webhook %d wait, want the notification and its correction", got)
	}
}

// A system that takes every notification for an arrival takes no look for one.
func TestALookIsToldFromAnArrival(t *testing.T) {
	s, r := openStore(t), receive(t, taken)
	a := access("look 1")
	a.Viewed = true
	owed := []safeguard.Notification{{Authority: islington, Number: alice, Born: safeguard.Hide(born), Plans: []safeguard.Plan{safeguard.LookedAfter}, Site: a.Site, Setting: a.Setting, At: a.At, Viewed: true}}
	if err := s.Settle(t.Context(), store.Look{Access: a, Purpose: safeguard.Unscheduled}, owed); err != nil {
		t.Fatal(err)
	}
	send(t, s, "one", r.target())
	if came := r.wait(t, 1); came[0].Type != "flags.viewed" || !came[0].Data.Viewed {
		t.Errorf("came %+v, want a look", came[0])
	}
}

// What is not taken is sent again, the same, before anything else.
func TestNotTakenIsSentAgain(t *testing.T) {
	s := openStore(t)
	answers := []int{http.StatusInternalServerError, http.StatusFound, http.StatusNoContent, http.StatusOK}
	r := receive(t, func(n int) int { return answers[min(n, len(answers))-1] })
	attend(t, s, "1", islington)
	attend(t, s, "2", islington)
	log, _ := send(t, s, "one", r.target())
	came := r.wait(t, 4)
	if came[0].ID != came[1].ID || came[1].ID != came[2].ID || came[2].ID == came[3].ID {
		t.Errorf("came %+v, want the first three times, then the second", came)
	}
	wantNoneWaiting(t, s)
	for _, want := range []string{"webhook failing", "receiver answered 500", "webhook works again"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}

// forgetful is a queue whose acknowledgement fails once, as when a process is
// killed after it has sent.
type forgetful struct {
	webhook.Queue
	failed atomic.Bool
}

func (f *forgetful) Acknowledge(ctx context.Context, a safeguard.ODSCode, ids []string, by string, at time.Time) (int, error) {
	if f.failed.CompareAndSwap(false, true) {
		return 0, errors.New("killed")
	}
	return f.Queue.Acknowledge(ctx, a, ids, by, at)
}

func TestSentAndNotNotedComesAgainTheSame(t *testing.T) {
	s, r := openStore(t), receive(t, taken)
	attend(t, s, "1", islington)
	send(t, &forgetful{Queue: s}, "one", r.target())
	if came := r.wait(t, 2); came[0].ID != came[1].ID || came[1].Bad != nil {
		t.Errorf("came %+v, want the same twice", came)
	}
	wantNoneWaiting(t, s)
}

// Two processes on one store: each notification is sent once, one at a time, and
// when one stops the other goes on.
func TestTwoProcesses(t *testing.T) {
	s, r := openStore(t), receive(t, taken)
	r.slow = 2 * time.Millisecond
	const all = 60
	_, stopOne := send(t, s, "one", r.target())
	_, stopTwo := send(t, s, "two", r.target())
	for i := range all {
		attend(t, s, fmt.Sprint(i), islington)
		switch i {
		case all / 3:
			stopOne()
		case all / 2:
			send(t, s, "three", r.target())
			stopTwo()
		}
	}
	came := r.wait(t, all)
	wantNoneWaiting(t, s)
	ids := map[string]bool{}
	for i, e := range came {
		if ids[e.ID] {
			t.Errorf("request %d came before", i+1)
		}
		ids[e.ID] = true
		if e.Data.Attendance != access(fmt.Sprint(i)).Attendance {
			t.Errorf("request %d is out of order", i+1)
		}
	}
	if len(came) != all || r.most.Load() != 1 {
		t.Errorf("%d requests, at most %d at a time, want %d, one at a time", len(came), r.most.Load(), all)
	}
}

func TestInvitedAuthorityIsSentNothing(t *testing.T) {
	s, r := openStore(t), receive(t, taken)
	attend(t, s, "1", islington)
	var may atomic.Bool
	asked := make(chan struct{}, 100)
	sender, err := webhook.New(s, "one", func(safeguard.ODSCode) bool { asked <- struct{}{}; return may.Load() }, []webhook.Target{r.target()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sender.Run(ctx) }()
	<-asked
	<-asked
	if r.n != 0 {
		t.Error("an authority that may not yet was sent something")
	}
	may.Store(true)
	r.wait(t, 1)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTargets(t *testing.T) {
	good := webhook.Target{Authority: islington, URL: "https://example.invalid/in", Secrets: []string{webhook.NewSecret(), webhook.NewSecret()}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct {
		change func(*webhook.Target)
		want   string
	}{
		"http":             {func(t *webhook.Target) { t.URL = "http://example.invalid/in" }, "want https"},
		"no address":       {func(t *webhook.Target) { t.URL = "example.invalid" }, "can not be read"},
		"password in it":   {func(t *webhook.Target) { t.URL = "https://me:hush-hush@example.invalid/" }, "without a user or password"},
		"other scheme":     {func(t *webhook.Target) { t.URL = "ftp://example.invalid/" }, "want https"},
		"no secret":        {func(t *webhook.Target) { t.Secrets = nil }, "no secret"},
		"secret too short": {func(t *webhook.Target) { t.Secrets = []string{"whsec_aHVzaC1odXNo"} }, "24 to 64"},
		"no prefix":        {func(t *webhook.Target) { t.Secrets = []string{good.Secrets[0][6:]} }, "whsec_"},
	} {
		bad := good
		tt.change(&bad)
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "aHVz") {
			t.Errorf("%s: %v, want what says %q, and no secret", name, err, tt.want)
		}
	}
	local := good
	local.URL = "http://127.0.0.1:1/in"
	if err := local.Check(); err != nil {
		t.Errorf("this machine: %v", err)
	}
}

func TestTestRequest(t *testing.T) {
	r := receive(t, taken)
	if err := r.target().Test(t.Context()); err != nil {
		t.Error(err)
	}
	if came := r.wait(t, 1); came[0].Bad != nil || came[0].Type != "test" || came[0].Data.NHSNumber != "" {
		t.Errorf("came %+v", came)
	}
	strange := r.target()
	strange.CA = x509.NewCertPool()
	if err := strange.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tell-nobody") {
		t.Errorf("a receiver that nobody vouches for: %v", err)
	}
}
