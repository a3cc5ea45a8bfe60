package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/safeguard-edge/safeguard/central/store/storetest"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
	"github.com/safeguard-edge/safeguard/tracing/tracingtest"
)

// TestNothingAboutAPatientGetsOutByTheOtherPaths is TestNothingAboutAPatientGetsOut
// of a centre with two processes on PostgreSQL, which crashes, and of an agent that
// is fed by MQTT, and delivers by MQTT, FHIR and CDS Hooks to those who answer with
// what they were told. PostgreSQL's own files are looked into as well.
func TestNothingAboutAPatientGetsOutByTheOtherPaths(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	temporary := t.TempDir()
	db := startPostgres(t, func() (*storetest.Postgres, error) { return storetest.StartPostgres(false) })
	dsn, err := db.Empty(ctx)
	if err != nil {
		t.Fatal(err)
	}
	broker, err := world.NewProxy(startBroker(ctx, t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	t.Setenv("TMPDIR", temporary)
	w, err := world.New(ctx, t.TempDir(), programs, `mqtt: {topics: ["adt/{site}/#"], reply: "ack/{site}", broker: {address: "`+broker.Addr()+`", client_id: agent, retry_min: 50ms, retry_max: 200ms}}`)
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{T: t, w: w, c: &canaries{}}
	record := newRudeFHIR(s)
	hooks := &cdsEPR{t: t, url: "http://" + freeAddress(t), http: http.DefaultClient, key: newKeyP384(t), issuer: "https://epr.example"}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: hooks.key.Public(), KeyID: "k1", Algorithm: "ES384"}}})
	s.must(err)
	s.must(os.WriteFile(w.Path("epr-keys.json"), keys, 0o600))
	traces := tracingtest.Listen(t)
	more := "log: {level: debug}\ntraces: {endpoint: " + traces.URL + "}\n"
	add(t, w.Path("agent.yaml"), fmt.Sprintf(`  - name: record
    delivery: {release_confirmed_by: nobody, rate: 0, rest_after: 2, rest: 100ms}
    fhir: {base: %s/fhir}
  - name: topic
    delivery: {release_confirmed_by: nobody, rate: 0, rest_after: 2, rest: 100ms}
    mqtt: {topic: "alerts/{site}", broker: {address: "%s", client_id: agent-epr, write_timeout: 1s}}
cds_hooks:
  address: %s
  public_url: %s
  clients: [{issuer: %s, keys_file: epr-keys.json}]
  delivery: {release_confirmed_by: nobody}
%s`, record.URL, broker.Addr(), strings.TrimPrefix(hooks.url, "http://"), hooks.url, hooks.issuer, more))
	metrics := freeAddress(t)
	add(t, w.Path("central.yaml"), more)
	s.must(w.Share(ctx, dsn))
	add(t, w.Path("central.yaml"), "fleet: {metrics: "+metrics+"}\n")
	seen, stopWatching := watch(ctx, temporary)
	defer stopWatching()

	s.must(w.StartCentral(ctx))
	s.must(w.StartSecond(ctx))
	s.uploads(ctx)
	s.must(w.StartAgent(ctx))
	s.published(ctx, broker)
	s.databaseCrashes(ctx, db)
	record.fails(ctx)
	s.opened(ctx, hooks)
	for _, args := range [][]string{
		{"config", "check"}, {"status", "--json"}, {"feeds"}, {"epr", "status"}, {"epr", "states", "--json"}, {"epr", "check"}, {"epr", "reconcile"}, {"epr", "observed"},
		{"journal", "list", "--sink", "any", "--limit", "0"}, {"journal", "list", "--limit", "0"}, {"attendances"}, {"check", "--json"},
	} {
		s.agent(ctx, args...)
	}
	for _, args := range [][]string{{"check"}, {"fleet", "status"}, {"audit", "verify"}, {"uploads", "list"}} {
		s.central(ctx, args...)
	}
	s.shown(ctx, metrics)
	s.bundle(ctx, "running.zip")
	s.must(w.StopAgent())
	s.must(w.StopCentral())
	s.must(w.StopSecond())
	stopWatching()

	if flags, err := json.Marshal(record.All("Flag")); err != nil || !strings.Contains(string(flags), hospitalFlag) {
		t.Errorf("no Flag with an alert reached the record: this test would find nothing: %v %s", err, flags)
	}
	look := s.c.search(hospital.People...)
	files := look.tree(t, w.Dir, "alerts", "flags.csv", "rejected.csv", "no-columns.csv")
	files += look.tree(t, temporary)
	plain := look.plain()
	files += plain.tree(t, db.Dir())
	s.lookInto(look, seen, traces)
	t.Logf("%d canaries looked for in %d files, %d outputs and %d things seen of processes", len(s.c.places), files, len(s.outputs), len(seen.seen))
	if log, err := os.ReadFile(db.Dir() + "/log"); err != nil || len(log) < 100 {
		t.Errorf("PostgreSQL's log is %q, %v", log, err)
	}
	for f := range look.found {
		t.Error(f)
	}
}

// hospitalFlag is a word of each alert about a child with a plan.
const hospitalFlag = "Ashmere Council"

// plain looks for what is as it is, and in UTF-16: what has many files is not
// looked into for each form.
func (s *search) plain() *search {
	patterns := map[string]map[string][]byte{}
	for what, all := range s.patterns {
		patterns[what] = map[string][]byte{"as it is": all["as it is"], "in UTF-16": all["in UTF-16"]}
	}
	return &search{canaries: s.canaries, patterns: patterns, found: s.found}
}

// published publishes good messages and bad ones, below topics that say something,
// and has the broker go away in between.
func (s *scenario) published(ctx context.Context, broker *world.Proxy) {
	await(ctx, s.T, "the agent subscribes", func() bool { return strings.Contains(s.log("safeguard-agent"), "msg=connected feed=feed1") })
	now := time.Now()
	send := func(topic string, message []byte) { publish(s.T, broker.Addr(), topic, message) }
	for n, who := range []hospital.Person{hospital.Plan, hospital.NoFlag, hospital.NoNumber} {
		message := s.c.message(fmt.Sprintf("published %d", n), "A04", who, now)
		send("adt/RX101/"+s.c.word("topic"), message)
		send("adt/RX101", message)
		if n == 0 {
			s.told(ctx, "a child with a plan", strings.Split(hospital.Field(message, "PID", 5), "^")[0])
		}
	}
	bad := s.c.message("published, and broken", "A04", hospital.Plan, now)
	for _, message := range [][]byte{
		[]byte(s.c.word("no message")), bad[:len(bad)/3], []byte(strings.ReplaceAll(string(bad), "\rPID|", "\rPIX|")), nil,
	} {
		send("adt/RX101", message)
	}
	send("adt/"+s.c.word("site of a topic")+"/x", bad)
	broker.Set(world.Fault{Refuse: true})
	await(ctx, s.T, "the agent says that the broker is away", func() bool { return strings.Contains(s.log("safeguard-agent"), "feed=feed1 err=") })
	broker.Set(world.Fault{})
	await(ctx, s.T, "the agent is back at the broker", func() bool {
		return strings.Count(s.log("safeguard-agent"), "msg=connected feed=feed1") > 1
	})
}

// databaseCrashes has PostgreSQL crash while patients are asked about and while an
// upload goes on, and come back.
func (s *scenario) databaseCrashes(ctx context.Context, db *storetest.Postgres) {
	s.must(db.Crash(ctx))
	message := s.c.message("no database", "A04", hospital.LookedAfter, time.Now())
	family := s.send(ctx, message)
	s.told(ctx, "the database is away", family) // that the check was not completed
	if out, err := s.w.AsAuthority(ctx, "upload", s.w.Path("flags.csv"), "--json"); err == nil {
		s.Errorf("an upload without a database is taken: %s", out)
	} else {
		s.note("the error of an upload without a database", err.Error())
	}
	s.central(ctx, "audit", "verify")
	s.must(db.Restart(ctx))
	if _, _, err := s.w.EPR.Wait(ctx, 0, func(r hospital.Received) bool {
		return strings.Contains(r.Body, family) && strings.Contains(r.Body, heldByCentre)
	}); err != nil {
		s.Fatalf("the database is back, and the centre does not answer: %v", err)
	}
}

// rudeFHIR is an EPR that answers with what it was told, and with what it knows.
type rudeFHIR struct {
	*hospital.FHIR
	*httptest.Server
	s *scenario

	mu      sync.Mutex // guards the field below
	answers []func(http.ResponseWriter)
}

func newRudeFHIR(s *scenario) *rudeFHIR {
	f := &rudeFHIR{FHIR: hospital.NewFHIR(), s: s}
	for i, p := range hospital.People {
		f.Patient(fmt.Sprint("p", i), p.Number, s.c.word("the record's number"), p.Born.Format(time.DateOnly))
	}
	f.Server = httptest.NewServer(f)
	s.Cleanup(f.Close)
	return f
}

func (f *rudeFHIR) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	var answer func(http.ResponseWriter)
	if len(f.answers) > 0 && (r.Method == http.MethodPost || r.Method == http.MethodPut) {
		answer, f.answers = f.answers[0], f.answers[1:]
	}
	f.mu.Unlock()
	if answer == nil {
		f.FHIR.ServeHTTP(w, r)
		return
	}
	answer(w)
}

// fails has each request of one alert be answered in another way, until the alert is
// shown, and one refused for good.
func (f *rudeFHIR) fails(ctx context.Context) {
	word := f.s.c.word
	said := func(status int, header, kind string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", kind)
			if header != "" {
				w.Header().Set(header, word("header of the record"))
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"resourceType":"OperationOutcome","issue":[{"code":%q,"details":{"text":%q},"diagnostics":%q}]}`,
				word("issue of the record"), word("text of the record"), word("diagnostics of the record"))
		}
	}
	const fhir = "application/fhir+json"
	before := f.Showing()
	f.mu.Lock()
	f.answers = []func(http.ResponseWriter){
		said(200, "", fhir), said(500, "", "text/html"), said(503, "Retry-After", fhir), said(302, "Location", fhir), said(401, "WWW-Authenticate", fhir),
		func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>"+word("page of the record")) },
		func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"resourceType":"`+word("kind of the record")+`"}`)
		},
	}
	f.mu.Unlock()
	f.s.send(ctx, f.s.c.message("the record fails", "A04", hospital.Ended, time.Now()))
	f.s.send(ctx, f.s.c.message("the record fails, again", "A04", hospital.Sibling, time.Now()))
	await(ctx, f.s.T, "the record shows another Flag", func() bool { return f.Showing() > before })
	f.mu.Lock()
	f.answers = []func(http.ResponseWriter){nil, said(422, "", fhir)} // the patient is found, the Flag refused
	f.mu.Unlock()
	f.s.send(ctx, f.s.c.message("the record refuses", "A04", hospital.Pregnant, time.Now()))
	await(ctx, f.s.T, "the refused alert is set aside", func() bool {
		out, err := f.s.w.Run(ctx, "safeguard-agent", "journal", "list", "--sink", "record", "--state", "set-aside", "--config", f.s.w.Path("agent.yaml"))
		return err == nil && strings.Contains(out, "422")
	})
}

// opened has records be opened, with what there may be in a request, and asks what
// is no question.
func (s *scenario) opened(ctx context.Context, hooks *cdsEPR) {
	view := patientView("patient-view", hospital.Plan)
	patient := view["prefetch"].(map[string]any)["patient"].(map[string]any)
	patient["name"] = []any{map[string]any{"family": s.c.word("Patient.name")}}
	patient["address"] = []any{map[string]any{"text": s.c.word("Patient.address")}}
	view["hookInstance"] = s.c.word("hookInstance")
	view["context"] = map[string]any{"userId": s.c.word("userId"), "patientId": s.c.word("patientId"), "encounterId": s.c.word("encounterId")}
	var cards []cdsCard
	await(ctx, s.T, "a card", func() bool {
		_, cards = hooks.post(ctx, cdsPath+"patient-view", "", view)
		return len(cards) == 1
	})
	bad := patientView("patient-view", hospital.Plan)
	bad["prefetch"] = map[string]any{"patient": map[string]any{"resourceType": "Patient", "birthDate": s.c.word("birthDate"),
		"identifier": []any{map[string]any{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": s.c.word("NHS number of a record")}}}}
	hooks.post(ctx, cdsPath+"patient-view", "", bad)
	bad["prefetch"] = s.c.word("prefetch")
	hooks.post(ctx, cdsPath+"patient-view", "", bad)
	hooks.post(ctx, cdsPath+s.c.word("service"), "", view)
	hooks.post(ctx, cdsPath+"patient-view", s.c.word("token"), view)
	stranger := *hooks
	stranger.issuer = "https://" + s.c.word("issuer") + ".example"
	hooks.post(ctx, cdsPath+"patient-view", stranger.token(hooks.url+cdsPath+"patient-view"), view)
	hooks.post(ctx, cdsPath+"patient-view/feedback", "", map[string]any{"feedback": []any{
		map[string]any{"card": cards[0].UUID, "outcome": "overridden", "outcomeTimestamp": "2026-11-27T10:00:00Z",
			"overrideReason": map[string]any{"reason": map[string]any{"code": s.c.word("reason"), "display": s.c.word("reason")}, "userComment": s.c.word("userComment")}},
		map[string]any{"card": s.c.word("card"), "outcome": s.c.word("outcome"), "outcomeTimestamp": s.c.word("outcomeTimestamp")},
	}})
}
