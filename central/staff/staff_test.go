package staff_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/staff"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
	"github.com/safeguard-edge/safeguard/page/pagetest"
)

// The people here are made up; their numbers are of the range for tests.
var (
	alice = number("9990000107") // has a plan, and attended
	bob   = number("9990000115") // has a plan, and did not attend
	carol = number("9990000123") // attended, and has no plan
	born  = day("2017-05-04")

	trust   = code("RX1")
	council = safeguard.Authority{Code: code("906"), Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001", OfficeHoursPhone: "01632 960002"}
	borough = safeguard.Authority{Code: code("907"), Name: "Borrowdale Borough", EmergencyDutyPhone: "01632 960003"}
)

func number(s string) safeguard.NHSNumber { return parsed(safeguard.ParseNHSNumber(s)) }
func code(s string) safeguard.ODSCode     { return parsed(safeguard.ParseODSCode(s)) }
func day(s string) safeguard.Date         { return parsed(safeguard.ParseDate(s)) }

func parsed[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// centre is a flag service with pages for staff in front of it.
type centre struct {
	t         testing.TB
	store     *store.DB
	directory *server.Directory
	url       string
	log       *loggingtest.Log
	provider  *signin.Provider
	limits    signin.Limits
}

var reading = staff.Reading{
	NameClaim: "name", RoleClaim: "job_title", OrganisationClaim: "ods_code", CodesClaim: "activity_codes",
	Codes: map[string]store.Rights{"B0107": store.ViewAndNotify, "B0170": store.ViewSilently, "privacy": store.ReviewViews, "authority": store.OwnAccesses},
	Operators: &signin.Operators{RoleClaim: "groups", Roles: map[string]store.Role{
		"safeguard-view": store.Viewer, "safeguard-operate": store.Operating, "safeguard-admin": store.Administering,
	}},
}

func sites() []store.Site {
	return []store.Site{
		{Stage: store.Live, Organisation: trust, OrganisationName: "Ashmere NHS Trust", Code: code("RX101"), Name: "Ashmere General Hospital", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment, safeguard.Maternity}},
		{Stage: store.Live, Organisation: trust, OrganisationName: "Ashmere NHS Trust", Code: code("RX102"), Name: "Ashmere Walk-in Centre", Settings: []safeguard.CareSetting{safeguard.WalkInCentre}},
		{Stage: store.Live, Organisation: code("RX2"), Code: code("RX201"), Name: "Borrowdale Infirmary", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}},
		{Stage: store.Invited, Organisation: code("RX3"), Code: code("RX301"), Name: "Crag Hospital", Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}},
	}
}

// serve begins to serve, and ends with the test.
func serve(t testing.TB, change func(*staff.Config)) *centre {
	t.Helper()
	c := &centre{t: t, log: &loggingtest.Log{}}
	dir := t.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.FileMaster(filepath.Join(dir, "master")))
	must(t, err)
	c.store, err = store.OpenSQLite(t.Context(), filepath.Join(dir, "central.db"), ring)
	must(t, err)
	t.Cleanup(func() { must(t, c.store.Close()) })
	certificates := t.TempDir()
	_, err = identity.WriteDevelopment(certificates, identity.Development{})
	must(t, err)
	files := identity.Files{Certificate: filepath.Join(certificates, "centre.pem"), Key: filepath.Join(certificates, "centre-key.pem"), CA: filepath.Join(certificates, "ca.pem")}
	entrance, err := identity.ServerTLS(files)
	must(t, err)
	log := slog.New(slog.NewTextHandler(c.log, nil))
	policy := server.DefaultPolicy()
	policy.ProductionChecks = false
	c.directory = server.NewDirectory(sites(), []server.Authority{{Authority: council, Stage: store.Live}, {Authority: borough, Stage: store.Live}})
	flags, err := server.Listen("127.0.0.1:0", entrance, c.store, c.directory, policy, log)
	must(t, err)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	must(t, err)
	zone, err := time.LoadLocation("Europe/London")
	must(t, err)
	c.provider = &signin.Provider{Name: "Example NHS accounts", ClientID: pagetest.ClientID, ClientSecret: pagetest.ClientSecret, Scopes: []string{"profile"}, AskAgain: true, Issuer: "https://id.example"}
	config := staff.Config{
		Listen: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}, Store: c.store, Flags: flags,
		Provider: c.provider, Reading: reading, Limits: signin.Limits{Idle: 10 * time.Minute, Absolute: 8 * time.Hour}, Searches: 20, Zone: zone, Log: log,
	}
	if change != nil {
		change(&config)
	}
	c.limits = config.Limits
	s, err := staff.Listen(config)
	must(t, err)
	c.url = "https://" + s.Addr().String()
	c.provider.Origin = c.url
	for _, run := range []func(context.Context) error{flags.Run, s.Run} {
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		t.Cleanup(func() { stop(); must(t, <-ended) })
	}
	t.Cleanup(func() {
		// Whatever a test does, no log line may tell whom it was about.
		for _, n := range []safeguard.NHSNumber{alice, bob, carol} {
			if strings.Contains(c.log.String(), n.Reveal()) || strings.Contains(c.log.String(), n.Reveal()[6:]) {
				t.Errorf("the log has an NHS number:\n%s", c.log)
			}
		}
		if strings.Contains(c.log.String(), born.String()) {
			t.Errorf("the log has a date of birth:\n%s", c.log)
		}
	})
	c.fill()
	return c
}

// fill uploads plans, and has people attend.
func (c *centre) fill() {
	c.t.Helper()
	plan := func(n safeguard.NHSNumber, a safeguard.Authority, p safeguard.Plan, start, end safeguard.Date) store.Change {
		return store.Change{Number: n, Flag: store.Flag{Authority: a.Code, Plan: p, Start: start, End: end, Born: safeguard.Hide(born)}}
	}
	today := safeguard.DateOf(time.Now())
	for _, u := range []struct {
		by      safeguard.Authority
		changes []store.Change
	}{
		{council, []store.Change{plan(alice, council, safeguard.ChildProtection, today.Add(0, -3, 0), safeguard.Date{}), plan(bob, council, safeguard.LookedAfter, today.Add(-1, 0, 0), safeguard.Date{})}},
		{borough, []store.Change{plan(alice, borough, safeguard.LookedAfter, today.Add(-3, 0, 0), today.Add(0, -2, 0))}},
	} {
		must(c.t, c.store.PutAuthority(c.t.Context(), store.Authority{Authority: u.by, Stage: store.Live}, audit.Who{Caller: "test"}))
		_, err := c.store.Apply(c.t.Context(), store.Upload{ID: "upload of " + u.by.Name, Authority: u.by.Code, By: "test", Received: time.Now(), Rows: len(u.changes), Changes: slices.Values(u.changes)})
		must(c.t, err)
	}
	uploaded, err := c.store.Uploaded(c.t.Context())
	must(c.t, err)
	c.directory.SetUploaded(uploaded)
	c.attend(alice, "visit 1", time.Hour)
	c.attend(carol, "visit 2", 2*time.Hour)
}

// attend is an attendance that an agent has asked about.
func (c *centre) attend(n safeguard.NHSNumber, visit string, ago time.Duration) {
	c.t.Helper()
	now := time.Now()
	a := store.Access{
		Number: n, Organisation: trust, Attendance: safeguard.NewAttendanceID(trust, visit), Site: code("RX101"), Setting: safeguard.EmergencyDepartment, Device: "agent one",
		Accountable: safeguard.Accountable{Name: "Dr Imogen Hale", Role: "Named doctor for safeguarding"}, At: now.Add(-ago), Recorded: now,
	}
	must(c.t, c.store.Settle(c.t.Context(), store.Look{Access: a, Caller: "spiffe://safeguard/agent/RX1/a1", Purpose: safeguard.Unscheduled, Answer: "held", Born: safeguard.Hide(born)}, nil))
}

// in is a browser of a member of staff who is signed in, by a session that was
// opened as a sign-in opens one.
func (c *centre) in(subject string, organisation safeguard.ODSCode, rights store.Rights) *http.Client {
	c.t.Helper()
	return c.inSince(subject, organisation, rights, time.Now())
}

func (c *centre) inSince(subject string, organisation safeguard.ODSCode, rights store.Rights, opened time.Time) *http.Client {
	c.t.Helper()
	token, id := signin.NewToken()
	must(c.t, c.store.OpenStaffSession(c.t.Context(), store.StaffSession{
		ID: id, Subject: subject, Name: subject + " of the tests", Role: "Nurse", Source: "https://id.example", Organisation: organisation, Rights: rights, Opened: opened, Seen: opened,
	}, audit.Who{Caller: "test"}))
	b := pagetest.Browser()
	at, err := url.Parse(c.url)
	must(c.t, err)
	b.Jar.SetCookies(at, []*http.Cookie{{Name: "__Host-staff", Value: token, Path: "/", Secure: true}})
	return b
}

func (c *centre) get(b *http.Client, path string) pagetest.Page {
	c.t.Helper()
	return pagetest.Get(c.t, b, c.url+path)
}

func (c *centre) post(b *http.Client, path string, form url.Values) pagetest.Page {
	c.t.Helper()
	return pagetest.Post(c.t, b, c.url+path, form, "Origin", c.url, "Sec-Fetch-Site", "same-origin")
}

// asks is the form for somebody, with what differs.
func asks(n safeguard.NHSNumber, differ ...string) url.Values {
	form := url.Values{
		"number": {n.Reveal()}, "born": {born.String()}, "place": {"RX101 emergency-department"},
		"reason": {"I am assessing or treating this person"}, "mode": {"notify"}, "told": {"notify"},
	}
	for i := 0; i+1 < len(differ); i += 2 {
		form.Set(differ[i], differ[i+1])
	}
	return form
}

const words = "Her aunt rang us: he was left alone with burns."

func breaks(n safeguard.NHSNumber, once string, differ ...string) url.Values {
	return asks(n, append([]string{"words", words, "glass", "broken", "once", once}, differ...)...)
}

func (c *centre) audited() string {
	c.t.Helper()
	var out bytes.Buffer
	_, err := c.store.ExportAudit(c.t.Context(), &out, audit.Who{Caller: "test"})
	must(c.t, err)
	return out.String()
}

func (c *centre) notified(a safeguard.Authority) int {
	c.t.Helper()
	list, err := c.store.Waiting(c.t.Context(), a.Code, 0, 100)
	must(c.t, err)
	return len(list)
}

func (c *centre) broken() []store.BreakGlass {
	c.t.Helper()
	list, err := c.store.BreakGlasses(c.t.Context(), trust, false, 100)
	must(c.t, err)
	return list
}

// wantBody is what a page must have, and what it must not.
func wantBody(t *testing.T, what string, got pagetest.Page, status int, has []string, not ...string) {
	t.Helper()
	if got.Status != status {
		t.Errorf("%s: status %d, want %d", what, got.Status, status)
	}
	for _, want := range has {
		if !strings.Contains(got.Body, want) {
			t.Errorf("%s: lacks %q in\n%s", what, want, got.Body)
		}
	}
	for _, want := range not {
		if strings.Contains(got.Body, want) {
			t.Errorf("%s: has %q", what, want)
		}
	}
}

func TestViewSaysWhatItDoesBeforeItDoesIt(t *testing.T) {
	c := serve(t, nil)
	nurse := c.in("vera", trust, store.ViewAndNotify)
	asked := c.post(nurse, "/search", asks(alice))
	wantBody(t, "asked", asked, http.StatusOK, []string{"attended at your organisation on", "each local authority that holds a plan is notified that you looked", "go into the access history", "999 000 0107"},
		"Child protection plan", "Ashmere Council", "01632", "Break-glass")
	if c.notified(council) != 0 {
		t.Fatal("asking notified somebody")
	}
	shown := c.post(nurse, "/view", asks(alice))
	wantBody(t, "shown", shown, http.StatusOK, []string{
		"Child protection plan", "Active", "Ashmere Council", "01632 960001", `href="tel:01632960001"`, "01632 960002", "Looked after child", "Ended", "Borrowdale Borough", "01632 960003",
		"Dr Imogen Hale", "Ashmere General Hospital", "Ashmere NHS Trust", "the person attended", "is notified that you looked", "last sent what it holds on",
	}, "vera of the tests<br>")
	if c.notified(council) != 1 || c.notified(borough) != 1 {
		t.Errorf("%d and %d notifications, want one for each authority with a plan that is shown", c.notified(council), c.notified(borough))
	}
	other := c.post(c.in("otto", trust, store.ViewAndNotify), "/view", asks(alice))
	wantBody(t, "to another", other, http.StatusOK, []string{"vera of the tests", "looked by hand"})
	trail := c.audited()
	for _, want := range []string{
		`"act":"staff searched","who":{"caller":"staff vera by https://id.example","device":"127.0.0.1","name":"vera of the tests","role":"Nurse"},"where":{"organisation":"RX1","site":"RX101","setting":"emergency-department"},"reason":"I am assessing or treating this person"`,
		`"act":"looked","who":{"caller":"staff vera by https://id.example"`, `"purpose":"unscheduled","reason":"I am assessing or treating this person"`,
	} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
	for _, secret := range []string{alice.Reveal(), born.String()} {
		if strings.Contains(trail, secret) {
			t.Error("the audit names a person")
		}
	}
}

func TestSilentViewSaysSo(t *testing.T) {
	c := serve(t, nil)
	b := c.in("hugo", trust, store.ViewSilently)
	wantBody(t, "asked", c.post(b, "/search", asks(alice, "mode", "silent")), http.StatusOK, []string{"Looking notifies nobody</strong> and does not go into the access history (B0170)"}, "is notified that you looked")
	wantBody(t, "shown", c.post(b, "/view", asks(alice, "mode", "silent", "told", "silent")), http.StatusOK, []string{"Child protection plan", "Nobody outside was notified"})
	list, err := c.store.Accesses(t.Context(), alice, 10)
	if err != nil || len(list) != 1 || c.notified(council) != 0 {
		t.Errorf("accesses %+v, %v, %d notified: want the attendance alone", list, err, c.notified(council))
	}
	if trail := c.audited(); !strings.Contains(trail, `"purpose":"scheduled","reason":"I am assessing or treating this person"`) {
		t.Error("the audit has not the silent view")
	}
}

// Wherever somebody is not found, the pages say the same, byte for byte, but for
// what was typed.
func TestAMismatchIsToldAsNobody(t *testing.T) {
	c := serve(t, nil)
	b := c.in("vera", trust, store.ViewAndNotify)
	plain := func(p pagetest.Page, n safeguard.NHSNumber, born string) string {
		typed := parsed(safeguard.ParseDate(born))
		spaced := n.Reveal()[:3] + " " + n.Reveal()[3:6] + " " + n.Reveal()[6:]
		body := strings.NewReplacer(n.Reveal(), "N", spaced, "N", born, "B", time.Date(typed.Year, typed.Month, typed.Day, 0, 0, 0, 0, time.UTC).Format("2 January 2006"), "B").Replace(p.Body)
		var lines []string
		for line := range strings.Lines(body) {
			if !strings.Contains(line, `name="once"`) && !strings.Contains(line, "<time") { // made anew for each
				lines = append(lines, line)
			}
		}
		return fmt.Sprint(p.Status, strings.Join(lines, ""))
	}
	nobody := number("9990000131")
	type person struct {
		name string
		n    safeguard.NHSNumber
		born string
	}
	people := []person{
		{"no such person", nobody, born.String()}, {"a plan, and another date of birth", bob, "2017-05-05"},
		{"attended, and another date of birth", alice, "2017-05-05"}, {"attended without a plan, and another date of birth", carol, "2017-05-05"},
	}
	var asked, shown []string
	for _, p := range people {
		asked = append(asked, plain(c.post(b, "/search", asks(p.n, "born", p.born)), p.n, p.born))
		shown = append(shown, plain(c.post(b, "/view", breaks(p.n, p.name, "born", p.born)), p.n, p.born))
	}
	for i, p := range people[1:] {
		if asked[i+1] != asked[0] || shown[i+1] != shown[0] {
			t.Errorf("%s is told from %s:\n%s\n%s", p.name, people[0].name, shown[i+1], shown[0])
		}
	}
	if !strings.Contains(shown[0], "Nothing can be shown") || !strings.Contains(shown[0], "This does not mean that there is no plan") {
		t.Errorf("shown %s, want that nothing can be, and what that means", shown[0])
	}
	// Who has a plan and did not attend is no other before the glass is broken.
	if with := plain(c.post(b, "/search", asks(bob)), bob, born.String()); with != asked[0] {
		t.Errorf("before the glass is broken, a plan shows:\n%s\n%s", with, asked[0])
	}
	if c.notified(council) != 0 || len(c.broken()) != len(people) {
		t.Errorf("%d notified, %d on the list, want none and each", c.notified(council), len(c.broken()))
	}
	wantBody(t, "attended without a plan", c.post(b, "/view", asks(carol)), http.StatusOK, []string{"Nothing can be shown", "This does not mean that there is no plan"})
}

func TestBreakGlassIsOnThePrivacyOfficersListAtOnce(t *testing.T) {
	c := serve(t, nil)
	nurse, officer := c.in("vera", trust, store.ViewAndNotify), c.in("pia", trust, store.ReviewViews)
	wantBody(t, "asked", c.post(nurse, "/search", asks(bob)), http.StatusOK, []string{"no attendance here is known", "stands at once on the list of your organisation's privacy officer", "Break the glass and look", "is notified that you looked"}, "Looked after")
	wantBody(t, "empty list", c.get(officer, "/break-glass"), http.StatusOK, []string{"None."})
	shown := c.post(nurse, "/view", breaks(bob, "one"))
	wantBody(t, "shown", shown, http.StatusOK, []string{"Looked after child", "on the list of your organisation's privacy officer, as break-glass", "is notified that you looked"})
	c.post(nurse, "/view", breaks(bob, "one")) // sent twice
	if c.notified(council) != 1 {
		t.Errorf("%d notifications, want one", c.notified(council))
	}
	list := c.broken()
	if len(list) != 1 {
		t.Fatalf("%d on the list, want one", len(list))
	}
	at := fmt.Sprintf("/break-glass/%d", list[0].Position)
	wantBody(t, "list", c.get(officer, "/break-glass"), http.StatusOK, []string{"vera of the tests", "Ashmere General Hospital", "I am assessing or treating this person", `href="` + at + `"`, "to review", "*** *** 0115"}, words, "999 000 0115", "Looked after")
	wantBody(t, "one", c.get(officer, at), http.StatusOK, []string{"vera of the tests", words, "999 000 0115", "4 May 2017", "were notified", "127.0.0.1"}, "Looked after", "Ashmere Council")
	for what, form := range map[string]url.Values{"no finding": {}, "another finding": {"finding": {"fine"}, "note": {"x"}}, "no note": {"finding": {"not justified"}}, "too long": {"finding": {"justified"}, "note": {strings.Repeat("x", 2001)}}} {
		if got := c.post(officer, at+"/review", form); got.Status != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", what, got.Status)
		}
	}
	if got := c.post(officer, at+"/review", url.Values{"finding": {"justified"}, "note": {"Rang the ward; the aunt confirms."}}); got.To != "/break-glass" {
		t.Errorf("reviewed: %d to %q", got.Status, got.To)
	}
	if got := c.post(officer, at+"/review", url.Values{"finding": {"not justified"}, "note": {"changed"}}); got.Status != http.StatusConflict {
		t.Errorf("reviewed twice: status %d, want 409", got.Status)
	}
	wantBody(t, "reviewed", c.get(officer, at), http.StatusOK, []string{"justified", "Rang the ward", "pia of the tests"}, "Keep it as reviewed")
	wantBody(t, "list after", c.get(officer, "/break-glass"), http.StatusOK, []string{"None.", "justified"})
	elsewhere := c.in("quin", code("RX2"), store.ReviewViews)
	if got := c.get(elsewhere, at); got.Status != http.StatusNotFound {
		t.Errorf("another organisation's officer: status %d, want 404", got.Status)
	}
	wantBody(t, "another organisation's list", c.get(elsewhere, "/break-glass"), http.StatusOK, []string{"None."}, "vera of the tests")
	trail := c.audited()
	for _, want := range []string{`"act":"break-glass seen"`, `"act":"break-glass reviewed"`} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
	if strings.Contains(trail, "aunt") {
		t.Error("the audit has words that may name somebody")
	}
}

func TestRefusals(t *testing.T) {
	c := serve(t, nil)
	rights := map[string]*http.Client{
		"notify": c.in("vera", trust, store.ViewAndNotify), "silent": c.in("hugo", trust, store.ViewSilently),
		"officer": c.in("pia", trust, store.ReviewViews), "authority": c.in("rosa", council.Code, store.OwnAccesses), "nobody": pagetest.Browser(),
		"over": c.inSince("idle", trust, store.ViewAndNotify, time.Now().Add(-11*time.Minute)),
	}
	all := sites()
	for _, tt := range []struct {
		name, as, path string
		form           url.Values
		status         int
		says           string
	}{
		{"nobody is signed in", "nobody", "/view", asks(alice), http.StatusSeeOther, ""},
		{"the session ended unused", "over", "/view", asks(alice), http.StatusSeeOther, ""},
		{"a privacy officer without the right to view", "officer", "/view", asks(alice), http.StatusForbidden, "right to view flags (B0107 or B0170)"},
		{"a local authority's staff view", "authority", "/view", asks(alice), http.StatusForbidden, "right to view flags"},
		{"a viewer opens the privacy officer's list", "notify", "GET /break-glass", nil, http.StatusForbidden, "for the privacy officer"},
		{"a viewer reviews", "notify", "/break-glass/1/review", url.Values{"finding": {"justified"}}, http.StatusForbidden, "for the privacy officer"},
		{"a viewer asks for an authority's accesses", "notify", "/accesses", asks(alice), http.StatusForbidden, "staff of a local authority"},
		{"B0107 alone, silently", "notify", "/view", asks(alice, "mode", "silent", "told", "silent"), http.StatusForbidden, "no right to look in that way"},
		{"B0170 alone, with notification", "silent", "/view", asks(alice), http.StatusForbidden, "no right to look in that way"},
		{"another way", "notify", "/view", asks(alice, "mode", "quick"), http.StatusForbidden, "no right to look in that way"},
		{"no reason", "notify", "/search", asks(alice, "reason", ""), http.StatusBadRequest, "Choose why you look"},
		{"a reason of one's own", "notify", "/view", asks(alice, "reason", "curious"), http.StatusBadRequest, "Choose why you look"},
		{"a number that is none", "notify", "/search", asks(alice, "number", "9990000108"), http.StatusBadRequest, "no valid NHS number"},
		{"no date of birth", "notify", "/search", asks(alice, "born", ""), http.StatusBadRequest, "no date of birth"},
		{"a date of birth to come", "notify", "/search", asks(alice, "born", "2099-01-01"), http.StatusBadRequest, "no date of birth"},
		{"no place", "notify", "/search", asks(alice, "place", ""), http.StatusBadRequest, "Choose where you are"},
		{"another organisation's place", "notify", "/view", asks(alice, "place", "RX201 emergency-department"), http.StatusForbidden, "not a place of your organisation RX1"},
		{"not attended, and the glass whole", "notify", "/view", asks(bob), http.StatusForbidden, "Break-glass: no attendance here is known"},
		{"the glass broken without words", "notify", "/view", breaks(bob, "1", "words", "  "), http.StatusBadRequest, "in your own words"},
		{"the glass broken in too few words", "notify", "/view", breaks(bob, "1", "words", "urgent"), http.StatusBadRequest, "in your own words"},
		{"the glass not confirmed", "notify", "/view", breaks(bob, "1", "glass", ""), http.StatusBadRequest, "Confirm that you know"},
		{"a view by break-glass without its name", "notify", "/view", breaks(bob, ""), http.StatusBadRequest, "not whole"},
		{"what it does was not said", "notify", "/view", asks(alice, "told", ""), http.StatusConflict, "is notified that you looked"},
		{"another thing was said", "notify", "/view", asks(alice, "told", "silent"), http.StatusConflict, "is notified that you looked"},
		{"a page that is not there", "notify", "GET /nowhere", nil, http.StatusNotFound, "no such page"},
		{"a review that is not there", "officer", "GET /break-glass/99", nil, http.StatusNotFound, "no such view"},
		{"a review of no number", "officer", "GET /break-glass/x", nil, http.StatusNotFound, "no such view"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got pagetest.Page
			if path, ok := strings.CutPrefix(tt.path, "GET "); ok {
				got = c.get(rights[tt.as], path)
			} else {
				got = c.post(rights[tt.as], tt.path, tt.form)
			}
			wantBody(t, tt.name, got, tt.status, []string{tt.says}, "Child protection plan", "Looked after child", "Ashmere Council")
			if tt.status == http.StatusSeeOther && got.To != "/sign-in" {
				t.Errorf("sent to %q, want the sign-in", got.To)
			}
		})
	}
	if c.notified(council) != 0 || len(c.broken()) != 0 {
		t.Error("what was refused was done")
	}
	trail := c.audited()
	for _, want := range []string{"no right to look in that way", "not a place of your organisation", "not by break-glass", "for the privacy officer", "staff of a local authority", "right to view flags"} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit lacks the refusal %q", want)
		}
	}
	if strings.Contains(trail, `"act":"looked","who":{"caller":"staff`) {
		t.Error("the audit has a look that was refused")
	}
	t.Run("a site that tests, and a real number", func(t *testing.T) {
		all[0].Stage = store.Testing
		c.directory.Set(all, nil)
		wantBody(t, "view", c.post(rights["notify"], "/view", asks(number("9434765919"))), http.StatusForbidden, []string{"test numbers (999) only"})
	})
}

func TestRequestsFromElsewhereAreRefused(t *testing.T) {
	c := serve(t, nil)
	b := c.in("vera", trust, store.ViewAndNotify)
	for name, headers := range map[string][]string{
		"another site": {"Sec-Fetch-Site", "cross-site"}, "another origin": {"Origin", "https://evil.example"}, "a browser that does not say": nil,
	} {
		if got := pagetest.Post(t, b, c.url+"/view", asks(alice), headers...); got.Status != http.StatusForbidden || strings.Contains(got.Body, "Child protection") {
			t.Errorf("%s: status %d, want 403", name, got.Status)
		}
	}
	if c.notified(council) != 0 {
		t.Error("what was refused was done")
	}
	if got := c.get(b, "/view?number="+alice.Reveal()); strings.Contains(got.Body, alice.Reveal()) {
		t.Error("a number in an address is taken up")
	}
	if got := c.get(b, "/search"); got.Status != http.StatusNotFound && got.Status != http.StatusMethodNotAllowed {
		t.Errorf("a search in an address: status %d, want none", got.Status)
	}
}

func TestNothingIsKeptOrPassedOn(t *testing.T) {
	c := serve(t, nil)
	b := c.in("vera", trust, store.ViewAndNotify)
	for name, got := range map[string]pagetest.Page{"asked": c.post(b, "/search", asks(alice)), "shown": c.post(b, "/view", asks(alice)), "wrong": c.post(b, "/search", asks(alice, "reason", ""))} {
		h := got.Header
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "form-action 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q, want nothing from elsewhere, and no frame", name, csp)
		}
		for header, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Location": "",
		} {
			if h.Get(header) != want {
				t.Errorf("%s: %s %q, want %q", name, header, h.Get(header), want)
			}
		}
		title, _, _ := strings.Cut(got.Body, "</title>")
		for header, values := range h {
			if strings.Contains(strings.Join(values, " "), alice.Reveal()) {
				t.Errorf("%s: header %s has the number", name, header)
			}
		}
		if strings.Contains(title, "999") || strings.Contains(got.Body, "href=\"/search") || strings.Contains(got.Body, `method="get"`) {
			t.Errorf("%s: the title or an address has what was searched", name)
		}
	}
}

func TestSearchesAreLimited(t *testing.T) {
	c := serve(t, func(config *staff.Config) { config.Searches = 3 })
	b, other := c.in("vera", trust, store.ViewAndNotify), c.in("otto", trust, store.ViewAndNotify)
	for n := range 3 {
		if got := c.post(b, "/search", asks(alice)); got.Status != http.StatusOK {
			t.Fatalf("search %d: status %d", n+1, got.Status)
		}
	}
	wantBody(t, "one more", c.post(b, "/search", asks(alice)), http.StatusTooManyRequests, []string{"searched too often", "follow your local procedure"}, "attended at your organisation")
	wantBody(t, "in another session", c.post(c.in("vera", trust, store.ViewAndNotify), "/search", asks(bob)), http.StatusTooManyRequests, nil)
	if got := c.post(other, "/search", asks(alice)); got.Status != http.StatusOK {
		t.Errorf("another person: status %d, want it let through", got.Status)
	}
	for n := range 3 {
		if got := c.post(other, "/view", breaks(number("9990000131"), fmt.Sprint(n))); got.Status != http.StatusOK {
			t.Fatalf("view %d: status %d", n+1, got.Status)
		}
	}
	wantBody(t, "views without a search", c.post(other, "/view", breaks(bob, "x")), http.StatusTooManyRequests, nil, "Looked after")
	if trail := c.audited(); strings.Count(trail, "too many searches") != 3 {
		t.Error("the audit has not each refusal")
	}
}

func TestSessionsOfStaffEnd(t *testing.T) {
	c := serve(t, nil)
	now := time.Now()
	for name, tt := range map[string]struct {
		opened time.Time
		status int
	}{
		"just opened": {now, http.StatusOK}, "unused for nine minutes": {now.Add(-9 * time.Minute), http.StatusOK}, "unused for eleven": {now.Add(-11 * time.Minute), http.StatusSeeOther},
	} {
		if got := c.get(c.inSince("vera", trust, store.ViewAndNotify, tt.opened), "/view"); got.Status != tt.status {
			t.Errorf("%s: status %d, want %d", name, got.Status, tt.status)
		}
	}
	long := c.inSince("vera", trust, store.ViewAndNotify, now.Add(-8*time.Hour-time.Minute))
	list, err := c.store.StaffSessions(t.Context())
	must(t, err)
	must(t, c.store.SeenStaffSession(t.Context(), list[len(list)-1].ID, now)) // used until now
	if got := c.get(long, "/view"); got.Status != http.StatusSeeOther {
		t.Errorf("used for more than eight hours: status %d, want the sign-in", got.Status)
	}
	b := c.in("vera", trust, store.ViewAndNotify)
	if got := c.post(b, "/stay", nil); got.Status != http.StatusNoContent {
		t.Errorf("stay: status %d, want 204", got.Status)
	}
	if got := c.get(b, "/sign-out"); got.To != "/" {
		t.Errorf("who is signed in and enters the address of signing out is sent to %q, want not to be told that they are out", got.To)
	}
	if got := c.post(b, "/sign-out", nil); got.To != "/sign-in" || got.Header.Get("Clear-Site-Data") != `"cache"` {
		t.Errorf("signed out to %q, want the sign-in, with the browser's memory cleared", got.To)
	}
	if got := c.get(b, "/sign-out"); got.Status != http.StatusOK || !strings.Contains(got.Body, "/sign-out/provider") {
		t.Errorf("signed out: status %d, %s, want the way to sign out of the provider", got.Status, got.Body)
	}
	if got := c.get(b, "/view"); got.Status != http.StatusSeeOther {
		t.Errorf("signed out: status %d, want the sign-in", got.Status)
	}
}

// An operator of the centre, an administrator too, has a session of another kind,
// which opens nothing here.
func TestAnOperatorsSessionOpensNothing(t *testing.T) {
	c := serve(t, nil)
	desk := signin.Desk{Store: c.store, Limits: c.limits}
	token, err := desk.Open(t.Context(), signin.Operator{Name: "ada", Source: store.LocalAccount, Role: store.Administering}, time.Now())
	must(t, err)
	b := pagetest.Browser()
	at, err := url.Parse(c.url)
	must(t, err)
	b.Jar.SetCookies(at, []*http.Cookie{{Name: "__Host-staff", Value: token, Path: "/", Secure: true}, {Name: "__Host-session", Value: token, Path: "/", Secure: true}})
	if got := c.post(b, "/view", asks(alice)); got.Status != http.StatusSeeOther || got.To != "/sign-in" {
		t.Errorf("status %d to %q, want the sign-in", got.Status, got.To)
	}
}

func TestAnAuthoritySeesItsOwnAlone(t *testing.T) {
	c := serve(t, nil)
	c.post(c.in("vera", trust, store.ViewAndNotify), "/view", asks(alice))
	own, other := c.in("rosa", council.Code, store.OwnAccesses), c.in("sam", borough.Code, store.OwnAccesses)
	form := func(n safeguard.NHSNumber, born string) url.Values {
		return url.Values{"number": {n.Reveal()}, "born": {born}, "reason": {"I work with this person or their family"}}
	}
	wantBody(t, "own", c.post(own, "/accesses", form(alice, born.String())), http.StatusOK, []string{"vera of the tests", "looked by hand", "Ashmere General Hospital", "CPP"}, "LAC", "Borrowdale")
	wantBody(t, "another's", c.post(other, "/accesses", form(alice, born.String())), http.StatusOK, []string{"vera of the tests", "LAC"}, "CPP")
	for name, f := range map[string]url.Values{"another date of birth": form(alice, "2017-05-05"), "one of whom it holds nothing": form(carol, born.String())} {
		wantBody(t, name, c.post(own, "/accesses", f), http.StatusOK, []string{"No access to a flag of yours"}, "vera of the tests")
	}
	wantBody(t, "another's plan", c.post(other, "/accesses", form(bob, born.String())), http.StatusOK, []string{"No access to a flag of yours"})
	wantBody(t, "no reason", c.post(own, "/accesses", url.Values{"number": {alice.Reveal()}, "born": {born.String()}}), http.StatusBadRequest, []string{"Choose why you look"}, "vera of the tests")
	if trail := c.audited(); !strings.Contains(trail, `"act":"staff searched","who":{"caller":"staff rosa by https://id.example"`) || !strings.Contains(trail, `"purpose":"own access history"`) {
		t.Error("the audit has not who looked")
	}
}

func TestEachIsSentWhereTheyMayGo(t *testing.T) {
	c := serve(t, nil)
	for rights, want := range map[store.Rights]string{
		store.ViewSilently: "/view", store.ViewAndNotify | store.ReviewViews: "/view", store.ReviewViews: "/break-glass", store.OwnAccesses: "/accesses",
	} {
		if got := c.get(c.in("vera", trust, rights), "/"); got.To != want {
			t.Errorf("%v: sent to %q, want %q", rights, got.To, want)
		}
	}
	both := c.get(c.in("vera", trust, store.ViewAndNotify|store.ViewSilently), "/view")
	wantBody(t, "both ways", both, http.StatusOK, []string{"(B0107)", "(B0170)", `value="notify" checked`})
	wantBody(t, "one way", c.get(c.in("hugo", trust, store.ViewSilently), "/view"), http.StatusOK, []string{`type="hidden" name="mode" value="silent"`}, "(B0107)")
}
