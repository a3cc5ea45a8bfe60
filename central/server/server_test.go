package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

// The people here are made up; their numbers are of the range for tests.
var (
	alice = number("9990000107")
	bob   = number("9990000115")

	trust         = code("RX1")
	infirmary     = code("RX1RA")
	middlesbrough = safeguard.Authority{Code: code("806"), Name: "Middlesbrough", EmergencyDutyPhone: "01632 960806", OfficeHoursPhone: "01632 960001"}
	sheffield     = safeguard.Authority{Code: code("373"), Name: "Sheffield", EmergencyDutyPhone: "01632 960373"}
	born          = safeguard.Hide(ago(9, 0, 0))
)

func number(s string) safeguard.NHSNumber {
	n, err := safeguard.ParseNHSNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

func ago(years, months, days int) safeguard.Date {
	return safeguard.DateOf(time.Now()).Add(-years, -months, -days)
}

// centre is a running server with its certificates and its log.
type centre struct {
	*testing.T
	server    *server.Server
	directory *server.Directory
	store     store.Store
	dir       string // of the certificates
	log       *loggingtest.Log
	stop      context.CancelFunc
	ended     chan error
}

// option changes how a centre is started.
type option func(*server.Policy, *store.Store)

func production(p *server.Policy, _ *store.Store) { p.ProductionChecks = true }

func start(t *testing.T, options ...option) *centre {
	t.Helper()
	c := &centre{T: t, dir: t.TempDir(), log: &loggingtest.Log{}}
	_, err := identity.WriteDevelopment(c.dir, identity.Development{
		Agents:      []safeguard.ODSCode{trust, code("RX2")},
		Authorities: []safeguard.ODSCode{middlesbrough.Code, sheffield.Code, code("999")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(filepath.Join(t.TempDir(), "ring"), keys.FileMaster(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	c.store, err = store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "central.db"), ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.store.Close(); err != nil {
			t.Error(err)
		}
	})
	c.listen("127.0.0.1:0", options...)
	t.Cleanup(func() {
		c.halt()
		// Whatever a test does, no log line may tell whom it was about.
		for _, secret := range []string{alice.Reveal(), bob.Reveal(), born.Reveal().String()} {
			if strings.Contains(c.log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, c.log)
			}
		}
	})
	return c
}

func (c *centre) listen(address string, options ...option) {
	c.Helper()
	config, err := identity.ServerTLS(c.files("centre"))
	if err != nil {
		c.Fatal(err)
	}
	policy, held := server.DefaultPolicy(), c.store
	policy.ProductionChecks = false
	for _, o := range options {
		o(&policy, &held)
	}
	c.directory = server.NewDirectory(c.sites(), []server.Authority{{Authority: middlesbrough, Stage: store.Live}, {Authority: sheffield, Stage: store.Live}})
	c.server, err = server.Listen(address, config, held, c.directory, policy, slog.New(slog.NewTextHandler(c.log, nil)))
	if err != nil {
		c.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.ended = stop, make(chan error, 1)
	running, ended := c.server, c.ended
	go func() { ended <- running.Run(ctx) }()
}

func (c *centre) sites() []store.Site {
	return []store.Site{
		{Stage: store.Live, Organisation: trust, Code: infirmary, Name: "Example Infirmary", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment, safeguard.Maternity}},
		{Stage: store.Live, Organisation: trust, Code: code("RX1RB"), Name: "Example Walk-in Centre", Settings: []safeguard.CareSetting{safeguard.WalkInCentre},
			Accountable: safeguard.Accountable{Name: "Sister B Example", Role: "Nurse in charge"}},
		{Stage: store.Live, Organisation: code("RX2"), Code: code("RX2RA"), Name: "Elsewhere Infirmary", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}},
		{Stage: store.Invited, Organisation: trust, Code: code("RX1RC"), Name: "Invited Infirmary", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}},
	}
}

func (c *centre) halt() {
	c.Helper()
	c.stop()
	if err := <-c.ended; err != nil {
		c.Error(err)
	}
	c.ended <- nil
}

func (c *centre) files(name string) identity.Files {
	return identity.Files{
		Certificate: filepath.Join(c.dir, name+".pem"),
		Key:         filepath.Join(c.dir, name+"-key.pem"),
		CA:          filepath.Join(c.dir, "ca.pem"),
	}
}

func (c *centre) tls(name string, kind identity.Kind) *tls.Config {
	c.Helper()
	config, err := identity.ClientTLS(c.files(name), kind)
	if err != nil {
		c.Fatal(err)
	}
	return config
}

func (c *centre) dial(config *tls.Config) *client.Client {
	c.Helper()
	conn, err := client.Dial(c.server.Addr().String(), config, client.Deadline(20*time.Second))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (c *centre) agent() *client.Client { return c.dial(c.tls("agent-RX1", identity.Agent)) }

func (c *centre) authority(a safeguard.Authority) *client.Client {
	return c.dial(c.tls("authority-"+a.Code.String(), identity.Authority))
}

func query(n safeguard.NHSNumber, visit string) safeguard.Query {
	return safeguard.Query{
		Number:  n,
		Born:    born,
		Purpose: safeguard.Unscheduled,
		Author: safeguard.Author{
			Device:       "agent one",
			Organisation: trust,
			Site:         infirmary,
			Setting:      safeguard.EmergencyDepartment,
			Accountable:  safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor"},
		},
		Attendance: safeguard.NewAttendanceID(trust, visit),
		At:         time.Now().Add(-time.Hour).Truncate(time.Millisecond),
	}
}

func row(n safeguard.NHSNumber, plan safeguard.Plan, start, end safeguard.Date) client.Row {
	return client.Row{Line: 2, NHSNumber: n.Reveal(), DateOfBirth: born.Reveal().String(), Plan: plan.String(), Start: start.String(), End: end.String()}
}

func each(rows ...client.Row) iter.Seq2[client.Row, error] {
	return func(yield func(client.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (c *centre) upload(a safeguard.Authority, rows ...client.Row) client.Report {
	c.Helper()
	report, err := c.authority(a).Upload(c.Context(), client.Upload{}, each(rows...))
	if err != nil {
		c.Fatal(err)
	}
	return report
}

func (c *centre) waiting(a safeguard.Authority) []safeguard.Notification {
	c.Helper()
	var list []safeguard.Notification
	for n, err := range c.authority(a).Waiting(c.Context(), 0) {
		if err != nil {
			c.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

func (c *centre) lookup(q safeguard.Query) safeguard.Answer {
	c.Helper()
	answer, err := c.agent().Lookup(c.Context(), q)
	if err != nil {
		c.Fatal(err)
	}
	if since := time.Since(answer.AsOf); since < 0 || since > time.Minute || answer.Source != safeguard.FromCentre {
		c.Errorf("answer of %v from %v, want now, from the centre", answer.AsOf, answer.Source)
	}
	return answer
}

func TestLookup(t *testing.T) {
	cpp := func(start, end safeguard.Date) client.Row { return row(alice, safeguard.ChildProtection, start, end) }
	active := cpp(ago(0, 3, 0), safeguard.Date{})
	otherBorn := func(r client.Row, years int) client.Row {
		r.DateOfBirth = ago(years, 0, 1).String()
		return r
	}
	unknownBorn := func(q *safeguard.Query) { q.Born = safeguard.Private[safeguard.Date]{} }
	tests := []struct {
		name     string
		local    []client.Row // Middlesbrough's
		further  []client.Row // Sheffield's
		change   func(*safeguard.Query)
		want     safeguard.Status
		reason   safeguard.Reason
		flags    int
		notified int // notifications waiting for both together
	}{
		{name: "no flag", want: safeguard.NoneHeld},
		{name: "active plan", local: []client.Row{active}, want: safeguard.Held, flags: 1, notified: 1},
		{name: "two plans of one authority", local: []client.Row{active, row(alice, safeguard.LookedAfter, ago(1, 0, 0), safeguard.Date{})}, want: safeguard.Held, flags: 2, notified: 1},
		{name: "several authorities", local: []client.Row{active}, further: []client.Row{active}, want: safeguard.Held, flags: 2, notified: 2},
		{name: "ended three months ago", local: []client.Row{cpp(ago(2, 0, 0), ago(0, 3, 0))}, want: safeguard.Held, flags: 1, notified: 1},
		{name: "ended thirteen months ago", local: []client.Row{cpp(ago(2, 0, 0), ago(0, 13, 0))}, want: safeguard.NoneHeld},
		{name: "begins tomorrow", local: []client.Row{cpp(ago(0, 0, -1), safeguard.Date{})}, want: safeguard.NoneHeld},
		{name: "unborn child's plan, ended 20 days ago", local: []client.Row{row(alice, safeguard.UnbornChild, ago(0, 6, 0), ago(0, 0, 20))}, want: safeguard.Held, flags: 1, notified: 1},
		{name: "unborn child's plan, ended 30 days ago", local: []client.Row{row(alice, safeguard.UnbornChild, ago(0, 6, 0), ago(0, 0, 30))}, want: safeguard.NoneHeld},
		{name: "scheduled is silent", local: []client.Row{active}, change: func(q *safeguard.Query) { q.Purpose = safeguard.Scheduled }, want: safeguard.Held, flags: 1},
		{name: "refresh is silent", local: []client.Row{active}, change: func(q *safeguard.Query) { q.Purpose = safeguard.Refresh }, want: safeguard.Held, flags: 1},
		{name: "date of birth not known", local: []client.Row{active}, change: unknownBorn, want: safeguard.Held, flags: 1, notified: 1},
		{name: "another date of birth", local: []client.Row{otherBorn(active, 8)}, reason: safeguard.IdentityNotConfirmed},
		{name: "another date of birth, an adult's", local: []client.Row{otherBorn(cpp(ago(4, 0, 0), safeguard.Date{}), 20)}, reason: safeguard.IdentityNotConfirmed},
		{name: "another date of birth of a plan long ended", local: []client.Row{otherBorn(cpp(ago(4, 0, 0), ago(2, 0, 0)), 8)}, want: safeguard.NoneHeld},
		{name: "one authority's date of birth confirms", local: []client.Row{otherBorn(active, 8)}, further: []client.Row{active}, want: safeguard.Held, flags: 1, notified: 1},
		{name: "another person's flag", local: []client.Row{row(bob, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})}, want: safeguard.NoneHeld},
		{name: "maternity", local: []client.Row{active}, change: func(q *safeguard.Query) { q.Author.Setting = safeguard.Maternity }, want: safeguard.Held, flags: 1, notified: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t)
			for authority, rows := range map[safeguard.Authority][]client.Row{middlesbrough: tt.local, sheffield: tt.further} {
				if len(rows) > 0 {
					if r := c.upload(authority, rows...); r.Verdict != "CPF02" {
						t.Fatalf("upload: %+v", r)
					}
				}
			}
			q := query(alice, "visit 1")
			if tt.change != nil {
				tt.change(&q)
			}
			answer := c.lookup(q)
			if answer.Status != tt.want || answer.Reason != tt.reason || len(answer.Flags) != tt.flags {
				t.Errorf("answer %v %v with %d flags, want %v %v with %d", answer.Status, answer.Reason, len(answer.Flags), tt.want, tt.reason, tt.flags)
			}
			if got := len(c.waiting(middlesbrough)) + len(c.waiting(sheffield)); got != tt.notified {
				t.Errorf("%d notifications, want %d", got, tt.notified)
			}
			wantAccesses := 0
			if q.Purpose == safeguard.Unscheduled && tt.reason == safeguard.NoReason {
				wantAccesses = 1
			}
			if accesses, err := c.store.Accesses(t.Context(), alice, 25); err != nil || len(accesses) != wantAccesses {
				t.Errorf("%d accesses, %v, want %d", len(accesses), err, wantAccesses)
			}
			if got := c.server.Counts().IdentityMismatch == 1; got != (tt.reason == safeguard.IdentityNotConfirmed) {
				t.Errorf("mismatch counted: %v", got)
			}
		})
	}
}

// What goes through the wire comes out as it went in.
func TestAnswerAndNotificationInFull(t *testing.T) {
	c := start(t)
	begun, ended := ago(1, 0, 0), ago(0, 1, 0)
	c.upload(middlesbrough, row(alice, safeguard.LookedAfter, begun, ended), row(alice, safeguard.ChildProtection, begun, safeguard.Date{}))
	q := query(alice, "visit 1")
	q.Sensitive = true
	answer := c.lookup(q)
	want := []safeguard.Flag{
		{Plan: safeguard.LookedAfter, Start: begun, End: ended, Authority: middlesbrough},
		{Plan: safeguard.ChildProtection, Start: begun, Authority: middlesbrough},
	}
	if !slices.Equal(answer.Flags, want) {
		t.Errorf("flags %+v, want %+v", answer.Flags, want)
	}

	n := c.waiting(middlesbrough)[0]
	if n.Number != alice || n.Born != born || !slices.Equal(n.Plans, []safeguard.Plan{safeguard.LookedAfter, safeguard.ChildProtection}) ||
		n.Organisation != trust || n.Site != infirmary || n.SiteName != "Example Infirmary" || n.Setting != safeguard.EmergencyDepartment ||
		n.Accountable != q.Author.Accountable || n.Attendance != q.Attendance || !n.At.Equal(q.At) || !n.Sensitive || time.Since(n.Recorded) > time.Minute {
		t.Errorf("notification %+v of query %+v", n, q)
	}
}

func TestRepeatedLookupIsOne(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	agent := c.agent()
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, err := agent.Lookup(t.Context(), query(alice, "visit 1")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	first := c.waiting(middlesbrough)
	if len(first) != 1 {
		t.Fatalf("%d notifications, want 1", len(first))
	}
	authority := c.authority(middlesbrough)
	if missing, err := authority.Acknowledge(t.Context(), first[0].ID, "none such"); err != nil || missing != 1 {
		t.Errorf("acknowledge: %d missing, %v, want 1", missing, err)
	}
	c.lookup(query(alice, "visit 1"))
	if got := c.waiting(middlesbrough); len(got) != 0 {
		t.Errorf("an acknowledged notification came again: %v", got)
	}
	c.lookup(query(alice, "visit 2"))
	if got := c.waiting(middlesbrough); len(got) != 1 || got[0].ID == first[0].ID {
		t.Errorf("another visit: %v, want one new notification", got)
	}
}

func TestRefusals(t *testing.T) {
	c := start(t, production)
	agent := c.agent()
	tests := []struct {
		name   string
		caller *client.Client
		change func(*safeguard.Query)
		code   string
		reason string
	}{
		{"other organisation's certificate", c.dial(c.tls("agent-RX2", identity.Agent)), func(*safeguard.Query) {}, "PermissionDenied", "certificate is for organisation RX2, and the lookup is for RX1"},
		{"local authority's certificate", c.authority(middlesbrough), func(*safeguard.Query) {}, "PermissionDenied", "kind agent"},
		{"organisation not the certificate's", agent, func(q *safeguard.Query) { q.Author.Organisation = code("RX2") }, "PermissionDenied", "for RX2"},
		{"site not registered", agent, func(q *safeguard.Query) { q.Author.Site = code("RX1ZZ") }, "PermissionDenied", "site RX1ZZ is not registered under organisation RX1"},
		{"care setting not registered", agent, func(q *safeguard.Query) { q.Author.Setting = safeguard.PaediatricWard }, "PermissionDenied", "not registered for care setting paediatric-ward at the centre, but for [emergency-department maternity]"},
		{"no purpose", agent, func(q *safeguard.Query) { q.Purpose = safeguard.UnknownPurpose }, "InvalidArgument", "purpose"},
		{"no setting", agent, func(q *safeguard.Query) { q.Author.Setting = safeguard.UnknownSetting }, "InvalidArgument", "author.care_setting"},
		{"no device", agent, func(q *safeguard.Query) { q.Author.Device = "" }, "InvalidArgument", "author.device"},
		{"nobody accountable", agent, func(q *safeguard.Query) { q.Author.Accountable = safeguard.Accountable{} }, "InvalidArgument", "accountable person"},
		{"no attendance", agent, func(q *safeguard.Query) { q.Attendance = safeguard.AttendanceID{} }, "InvalidArgument", "attendance_id"},
		{"no time", agent, func(q *safeguard.Query) { q.At = time.Time{} }, "InvalidArgument", "attended_at"},
		{"no site", agent, func(q *safeguard.Query) { q.Author.Site = safeguard.ODSCode{} }, "InvalidArgument", "author.site"},
		{"no number", agent, func(q *safeguard.Query) { q.Number = safeguard.NHSNumber{} }, "InvalidArgument", "nhs_number"},
		{"test number in production", agent, func(*safeguard.Query) {}, "FailedPrecondition", "production_checks"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := query(alice, "visit 1")
			tt.change(&q)
			_, err := tt.caller.Lookup(t.Context(), q)
			var refused *client.Refused
			if !errors.As(err, &refused) || errors.Is(err, client.ErrUnreachable) {
				t.Fatalf("error %v, want a refusal", err)
			}
			if refused.Code != tt.code || !strings.Contains(refused.Reason, tt.reason) {
				t.Errorf("refused with %s: %s, want %s: %s", refused.Code, refused.Reason, tt.code, tt.reason)
			}
			if strings.Contains(err.Error(), alice.Reveal()[4:]) {
				t.Errorf("the refusal repeats the number: %v", err)
			}
		})
	}
	if accesses, err := c.store.Accesses(t.Context(), alice, 25); err != nil || len(accesses) != 0 {
		t.Errorf("%d accesses, %v, want none", len(accesses), err)
	}
	if got := c.server.Counts().Refused; got != int64(len(tests)) {
		t.Errorf("%d refused, want %d", got, len(tests))
	}
	if !strings.Contains(c.log.String(), "site RX1ZZ is not registered") {
		t.Errorf("the log does not say why:\n%s", c.log)
	}

	// What would be recorded is refused; asking silently is not.
	q := query(alice, "visit 1")
	q.Purpose = safeguard.Refresh
	if got := c.lookup(q); got.Status != safeguard.NoneHeld {
		t.Errorf("refresh of a test number: %v, want none held", got.Status)
	}
}

func TestRegisteredPersonAnswersWhereNobodyIsNamed(t *testing.T) {
	c := start(t)
	q := query(alice, "visit 1")
	q.Author.Site, q.Author.Setting, q.Author.Accountable = code("RX1RB"), safeguard.WalkInCentre, safeguard.Accountable{}
	c.lookup(q)
	accesses, err := c.store.Accesses(t.Context(), alice, 1)
	if err != nil || len(accesses) != 1 || accesses[0].Accountable.Name != "Sister B Example" {
		t.Errorf("accesses %+v, %v, want the person registered for the site", accesses, err)
	}
}

func TestTestPatient(t *testing.T) {
	c := start(t, production)
	answer := c.lookup(query(safeguard.TestPatient, "visit 1"))
	if answer.Status != safeguard.Held || len(answer.Flags) != 1 || !strings.Contains(answer.Flags[0].Authority.Name, "TEST") {
		t.Errorf("answer %+v, want the test flag", answer)
	}
	if accesses, err := c.store.Accesses(t.Context(), safeguard.TestPatient, 1); err != nil || len(accesses) != 0 {
		t.Errorf("%d accesses, %v, want none", len(accesses), err)
	}
	q := query(safeguard.TestPatient, "visit 1")
	q.Author.Site = code("RX1ZZ")
	if _, err := c.agent().Lookup(t.Context(), q); err == nil {
		t.Error("a site that is not registered was answered about the test patient")
	}
}

func TestWithdrawnFlagIsGone(t *testing.T) {
	c := start(t)
	r := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
	c.upload(middlesbrough, r)
	c.upload(sheffield, r)
	r.Delete = ago(0, 0, 0).String()
	if report := c.upload(middlesbrough, r); report.Verdict != "CPF02" {
		t.Errorf("report %+v", report)
	}
	answer := c.lookup(query(alice, "visit 1"))
	if len(answer.Flags) != 1 || answer.Flags[0].Authority != sheffield {
		t.Errorf("flags %+v, want Sheffield's only", answer.Flags)
	}
}

func TestUpload(t *testing.T) {
	c := start(t)
	good := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
	bad := good
	bad.Line, bad.NHSNumber = 3, "9990000108"
	worse := client.Row{Line: 4, Unreadable: "3 fields, want 5" + strings.Repeat("é", 500)}
	report := c.upload(middlesbrough, good, bad, worse)
	if report.Verdict != "CPF03" || report.Rows != 3 || report.Loaded != 1 || report.Rejected != 2 || report.ID == "" || time.Since(report.Received) > time.Minute {
		t.Errorf("report %+v", report)
	}
	var got []string
	for _, v := range report.Verdicts {
		got = append(got, v.Code+" "+v.Column)
	}
	if want := []string{"CPR06 ", "CPR04 nhs_number", "CPR07 "}; !slices.Equal(got, want) {
		t.Errorf("verdicts %q, want %q", got, want)
	}
	if again := c.upload(middlesbrough, good); again.Loaded != 1 || again.ID == report.ID {
		t.Errorf("a repeat: %+v", again)
	}
	if flags, err := c.store.Flags(t.Context(), alice); err != nil || len(flags) != 1 {
		t.Errorf("flags %v, %v, want one", flags, err)
	}

	var many []client.Row
	for i := range 2345 {
		r := good
		r.Line = i + 2
		many = append(many, r)
	}
	if report := c.upload(middlesbrough, many...); report.Rows != len(many) || report.Loaded != len(many) || len(report.Verdicts) != len(many) {
		t.Errorf("many rows: %d, %d loaded", report.Rows, report.Loaded)
	}
}

func TestUploadRefusals(t *testing.T) {
	c := start(t, production)
	good := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
	for name, tt := range map[string]struct{ file, want string }{
		"agent's certificate":  {"agent-RX1", "kind authority"},
		"authority not known":  {"authority-999", "local authority 999 is not registered"},
		"production, 999 only": {"authority-806", ""},
	} {
		t.Run(name, func(t *testing.T) {
			kind := identity.Authority
			if strings.HasPrefix(tt.file, "agent") {
				kind = identity.Agent
			}
			conn := c.dial(c.tls(tt.file, kind))
			report, err := conn.Upload(t.Context(), client.Upload{}, each(good))
			if tt.want == "" {
				if err != nil || report.Verdict != "CPF04" {
					t.Errorf("report %+v, %v, want none loaded", report, err)
				}
				return
			}
			var refused *client.Refused
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, tt.want) {
				t.Errorf("error %v, want a refusal that says %q", err, tt.want)
			}
			for _, err := range conn.Waiting(t.Context(), 0) {
				if !errors.As(err, &refused) {
					t.Errorf("pull: %v, want a refusal", err)
				}
			}
			if _, err := conn.Acknowledge(t.Context(), "x"); !errors.As(err, &refused) {
				t.Errorf("acknowledge: %v, want a refusal", err)
			}
		})
	}
}

// raw speaks the protocol without the client's manners.
func (c *centre) raw(name string, kind identity.Kind) *grpc.ClientConn {
	c.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.server.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(c.tls(name, kind))))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestUploadOutOfOrder(t *testing.T) {
	c := start(t)
	uploads := flagpb.NewUploadsClient(c.raw("authority-806", identity.Authority))
	header := &flagpb.UploadRequest{Part: &flagpb.UploadRequest_Header{Header: &flagpb.UploadHeader{Kind: flagpb.UploadKind_UPLOAD_KIND_CHANGES}}}
	rows := &flagpb.UploadRequest{Part: &flagpb.UploadRequest_Rows{Rows: &flagpb.UploadRows{Rows: []*flagpb.UploadRow{{Line: 1}}}}}
	large := &flagpb.UploadRequest{Part: &flagpb.UploadRequest_Rows{Rows: &flagpb.UploadRows{Rows: []*flagpb.UploadRow{{Plan: strings.Repeat("x", 2<<20)}}}}}
	kindless := &flagpb.UploadRequest{Part: &flagpb.UploadRequest_Header{Header: &flagpb.UploadHeader{}}}
	for _, tt := range []struct {
		name  string
		parts []*flagpb.UploadRequest
		code  codes.Code
		want  string
	}{
		{"nothing", nil, codes.InvalidArgument, "nothing in it"},
		{"rows first", []*flagpb.UploadRequest{rows}, codes.InvalidArgument, "rows before the header"},
		{"two headers", []*flagpb.UploadRequest{header, header}, codes.InvalidArgument, "a second header"},
		{"no kind", []*flagpb.UploadRequest{kindless}, codes.InvalidArgument, "header.kind"},
		{"empty part", []*flagpb.UploadRequest{{}}, codes.InvalidArgument, "neither header nor rows"},
		{"large message", []*flagpb.UploadRequest{header, large}, codes.ResourceExhausted, ""},
		{"header only", []*flagpb.UploadRequest{header}, codes.OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream, err := uploads.Upload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range tt.parts {
				if err := stream.Send(p); err != nil {
					break // why is in the response
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			report, err := stream.Recv()
			if status.Code(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.want) {
				t.Errorf("%v, %v, want %v: %s", report, err, tt.code, tt.want)
			}
		})
	}
}

// An upload that breaks off applies nothing, and does not bar the next.
func TestUploadBrokenOff(t *testing.T) {
	c := start(t)
	good := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
	broken := errors.New("cable pulled")
	rows := func(yield func(client.Row, error) bool) {
		for range 2000 {
			if !yield(good, nil) {
				return
			}
		}
		yield(client.Row{}, broken)
	}
	if _, err := c.authority(middlesbrough).Upload(t.Context(), client.Upload{}, rows); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
	if flags, err := c.store.Flags(t.Context(), alice); err != nil || len(flags) != 0 {
		t.Errorf("flags %v, %v, want none", flags, err)
	}
	// The centre learns of the end a moment later.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		report, err := c.authority(middlesbrough).Upload(ctx, client.Upload{}, each(good))
		var refused *client.Refused
		if errors.As(err, &refused) && strings.Contains(refused.Reason, "in progress") {
			continue
		}
		if err != nil || report.Loaded != 1 {
			t.Fatalf("next upload: %+v, %v", report, err)
		}
		return
	}
}

func TestPullLimit(t *testing.T) {
	c := start(t)
	c.upload(middlesbrough, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	for _, visit := range []string{"1", "2", "3"} {
		c.lookup(query(alice, visit))
	}
	conn := c.authority(middlesbrough)
	n := 0
	for _, err := range conn.Waiting(t.Context(), 2) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d notifications, want 2", n)
	}
	for _, err := range conn.Waiting(t.Context(), -1) {
		var refused *client.Refused
		if !errors.As(err, &refused) {
			t.Errorf("limit -1: %v, want a refusal", err)
		}
	}
}

// broken is a store in trouble.
type broken struct {
	store.Store
	flags func() ([]store.Flag, error)
}

func (b broken) Look(ctx context.Context, _ safeguard.NHSNumber, decide func([]store.Flag) store.Decision) error {
	held, err := b.flags()
	if err != nil {
		return err
	}
	return b.Record(ctx, decide(held).Look)
}

func TestStoreInTrouble(t *testing.T) {
	for name, flags := range map[string]func() ([]store.Flag, error){
		"error":   func() ([]store.Flag, error) { return nil, errors.New("disk I/O error") },
		"panic":   func() ([]store.Flag, error) { panic("about " + alice.Reveal()) },
		"runtime": func() ([]store.Flag, error) { var none *store.Flag; return []store.Flag{*none}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, func(_ *server.Policy, s *store.Store) { *s = broken{*s, flags} })
			for range 2 {
				_, err := c.agent().Lookup(t.Context(), query(alice, "visit 1"))
				if !errors.Is(err, client.ErrUnreachable) || strings.Contains(err.Error(), "disk") {
					t.Errorf("error %v, want unreachable, and nothing of what is inside", err)
				}
			}
			if got := c.server.Counts().Failed; got != 2 {
				t.Errorf("%d failed, want 2", got)
			}
		})
	}
}

func TestWhoMayNotEvenConnect(t *testing.T) {
	c := start(t)
	elsewhere := start(t)
	stranger := elsewhere.files("agent-RX1")
	stranger.CA = filepath.Join(c.dir, "ca.pem")
	wrongCA, err := identity.ClientTLS(stranger, identity.Agent)
	if err != nil {
		t.Fatal(err)
	}
	bare := c.tls("agent-RX1", identity.Agent)
	bare.GetClientCertificate = nil
	for name, config := range map[string]*tls.Config{
		"no certificate":   bare,
		"of another CA":    wrongCA,
		"trusts others":    elsewhere.tls("agent-RX1", identity.Agent),
		"trusts no centre": {MinVersion: tls.VersionTLS13},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.dial(config).Lookup(t.Context(), query(alice, "visit 1"))
			if !errors.Is(err, client.ErrUnreachable) {
				t.Errorf("error %v, want unreachable", err)
			}
		})
	}
	c.wantLog("no certificate: this needs one")
	c.wantLog("unknown authority")
}

// wantLog waits for the log to say so.
func (c *centre) wantLog(text string) {
	c.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(c.log.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("the log does not say %q:\n%s", text, c.log)
		}
	}
}

// A certificate that was good when the agent started, and has expired since.
func TestExpiredCertificate(t *testing.T) {
	c := start(t)
	ca, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "ca.pem"), filepath.Join(c.dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	config := c.tls("agent-RX1", identity.Agent)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return expired(t, ca), nil
	}
	_, err = c.dial(config).Lookup(t.Context(), query(alice, "visit 1"))
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error %v, want unreachable", err)
	}
	// The caller may see no more than a broken connection; operations see why.
	c.wantLog("certificate has expired")
}

func TestAwayAndBack(t *testing.T) {
	c := start(t)
	agent := c.agent()
	if _, err := agent.Lookup(t.Context(), query(alice, "visit 1")); err != nil {
		t.Fatal(err)
	}
	address := c.server.Addr().String()
	c.halt()
	if _, err := agent.Lookup(t.Context(), query(alice, "visit 2")); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error %v, want unreachable", err)
	}
	c.listen(address)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := agent.Lookup(ctx, query(alice, "visit 2"))
		if err == nil {
			break
		}
		if ctx.Err() != nil || !errors.Is(err, client.ErrUnreachable) {
			t.Fatalf("the centre is back, and %v", err)
		}
	}
}

func TestCallerGivesUp(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.agent().Lookup(ctx, query(alice, "visit 1"))
	if !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error %v, want the caller's own", err)
	}
}

// A stop lets the lookup in progress finish.
func TestStopFinishesWhatIsInProgress(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	c := start(t, func(_ *server.Policy, s *store.Store) {
		*s = broken{*s, func() ([]store.Flag, error) {
			close(entered)
			<-leave
			return nil, nil
		}}
	})
	agent := c.agent()
	answered := make(chan error, 1)
	go func() {
		_, err := agent.Lookup(t.Context(), query(alice, "visit 1"))
		answered <- err
	}()
	<-entered
	c.stop()
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("lookup in progress: %v", err)
	}
}
