package web_test

import (
	"context"
	"crypto/tls"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/web"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
	"github.com/safeguard-edge/safeguard/page/pagetest"
)

const password = "correct horse battery"

// account is an operator with an account, whose codes are all fresh.
type account struct {
	name, secret string
}

// hashed is the password's hash, which takes its time to make.
var hashed = sync.OnceValue(func() string {
	hash, err := keys.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return hash
})

// centre is a store with pages in front of it.
type centre struct {
	t     testing.TB
	store *store.DB
	url   string
	log   *loggingtest.Log
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

func openStore(t testing.TB) *store.DB {
	t.Helper()
	dir := t.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.SystemMaster(filepath.Join(dir, "master")))
	must(t, err)
	s, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "central.db"), ring)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// serve begins to serve pages, and ends with the test.
func serve(t testing.TB, change func(*web.Config)) *centre {
	t.Helper()
	c := &centre{t: t, store: openStore(t), log: &loggingtest.Log{}}
	dir := t.TempDir()
	_, err := identity.WriteDevelopment(dir, identity.Development{})
	must(t, err)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "centre.pem"), filepath.Join(dir, "centre-key.pem"))
	must(t, err)
	zone, err := time.LoadLocation("Europe/London")
	must(t, err)
	config := web.Config{
		Listen: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}, Store: c.store, Zone: zone,
		Desk: signin.Desk{Store: c.store, Limits: signin.Limits{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}}, Staff: signin.Limits{Idle: 10 * time.Minute, Absolute: 8 * time.Hour}, Runbook: "https://safeguard.example/runbook",
		Log: slog.New(slog.NewTextHandler(c.log, nil)),
	}
	if change != nil {
		change(&config)
	}
	s, err := web.Listen(config)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); must(t, <-ended) })
	c.url = "https://" + s.Addr().String()
	return c
}

func (c *centre) account(name string, role store.Role) account {
	c.t.Helper()
	secret, _, err := signin.NewFactor("Safeguard central", name)
	must(c.t, err)
	must(c.t, c.store.PutOperator(c.t.Context(), store.OperatorAccount{Name: name, Role: role, Password: hashed(), Factor: []byte(secret)}, audit.Who{Caller: "test"}))
	return account{name, secret}
}

func (a account) code(t testing.TB) string {
	t.Helper()
	now, err := totp.GenerateCode(a.secret, time.Now())
	must(t, err)
	return now
}

func (c *centre) browser() *http.Client { return pagetest.Browser() }

func (c *centre) get(b *http.Client, path string) pagetest.Page {
	c.t.Helper()
	return pagetest.Get(c.t, b, c.url+path)
}

func (c *centre) post(b *http.Client, path string, form url.Values, headers ...string) pagetest.Page {
	c.t.Helper()
	return pagetest.Post(c.t, b, c.url+path, form, headers...)
}

func (c *centre) signIn(b *http.Client, a account, secret, code string) pagetest.Page {
	c.t.Helper()
	return c.post(b, "/sign-in", url.Values{"name": {a.name}, "password": {secret}, "code": {code}, "to": {"/authorities"}})
}

// in is a browser of an operator who is signed in.
func (c *centre) in(name string, role store.Role) *http.Client {
	c.t.Helper()
	a, b := c.account(name, role), c.browser()
	if got := c.signIn(b, a, password, a.code(c.t)); got.Status != http.StatusSeeOther || got.To != "/authorities" {
		c.t.Fatalf("sign-in: status %d to %q, want to be sent on", got.Status, got.To)
	}
	return b
}

func (c *centre) audited() string {
	c.t.Helper()
	var out strings.Builder
	_, err := c.store.ExportAudit(c.t.Context(), &out, audit.Who{Caller: "test"})
	must(c.t, err)
	return out.String()
}

func TestSignIn(t *testing.T) {
	c := serve(t, nil)
	a := c.account("imogen", store.Viewer)
	b := c.browser()
	if got := c.get(b, "/sites/RX1/RX101?x=1"); got.Status != http.StatusSeeOther || got.To != "/sign-in?to=%2Fsites%2FRX1%2FRX101%3Fx%3D1" {
		t.Errorf("a page for nobody: %d to %q, want the sign-in, with the way back", got.Status, got.To)
	}
	now := a.code(t)
	for _, wrong := range []struct {
		name           string
		a              account
		password, code string
	}{
		{"wrong password", a, "correct horse batterie", now},
		{"no code", a, password, ""},
		{"another's code", a, password, wrongCode(now)},
		{"nobody's name", account{name: "nobody"}, password, now},
	} {
		got := c.signIn(b, wrong.a, wrong.password, wrong.code)
		if got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "Name, password or code is wrong") || len(got.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%s: status %d, cookies %q, want 401 and the same words for all", wrong.name, got.Status, got.Header.Values("Set-Cookie"))
		}
	}
	got := c.signIn(b, a, password, now)
	cookie := got.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-session=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie lacks %s", want)
		}
	}
	if got := c.get(b, "/"); got.Status != http.StatusOK || !strings.Contains(got.Body, "imogen, viewer") {
		t.Errorf("signed in: status %d", got.Status)
	}
	if got := c.signIn(c.browser(), a, password, now); got.Status != http.StatusUnauthorized {
		t.Errorf("a code used twice: status %d, want 401", got.Status)
	}
	if got := c.post(b, "/sign-out", nil); got.To != "/sign-in" {
		t.Errorf("sign-out sends to %q", got.To)
	}
	if got := c.get(b, "/"); got.Status != http.StatusSeeOther {
		t.Errorf("signed out: status %d, want the sign-in", got.Status)
	}
	trail := c.audited()
	for _, want := range []string{`"act":"signed in","who":{"caller":"operator imogen"`, `"act":"sign-in refused"`, `"act":"session ended"`, "the code was used before"} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
	for _, secret := range []string{password, "batterie", now, a.secret} {
		if strings.Contains(trail, secret) || strings.Contains(c.log.String(), secret) {
			t.Error("audit or log has a secret")
		}
	}
}

// wrongCode is a code that is not this one.
func wrongCode(code string) string {
	return strings.Map(func(r rune) rune { return '0' + (r-'0'+5)%10 }, code)
}

func TestSignInIsLimited(t *testing.T) {
	c := serve(t, nil)
	a, b := c.account("imogen", store.Viewer), c.browser()
	for n := range 10 {
		if got := c.signIn(b, a, "wrong", "000000"); got.Status != http.StatusUnauthorized {
			t.Fatalf("attempt %d: status %d, want 401", n+1, got.Status)
		}
	}
	if got := c.signIn(b, a, password, a.code(t)); got.Status != http.StatusTooManyRequests {
		t.Errorf("one more, and right: status %d, want 429", got.Status)
	}
}

func TestPagesAreGuarded(t *testing.T) {
	c := serve(t, nil)
	c.fill(time.Now())
	viewer, operator, administrator := c.in("vera", store.Viewer), c.in("otto", store.Operating), c.in("ada", store.Administering)
	id := c.warning(safeguard.FeedQuiet).ID
	acknowledge, note := fmt.Sprintf("/warnings/%d/acknowledge", id), fmt.Sprintf("/warnings/%d/note", id)
	text := url.Values{"text": {"rung the hospital"}, "to": {"/sites/RX1/RX101"}}
	for _, tt := range []struct {
		name string
		got  pagetest.Page
		want int
	}{
		{"a viewer acknowledges", c.post(viewer, acknowledge, nil), http.StatusForbidden},
		{"a viewer writes a note", c.post(viewer, note, text), http.StatusForbidden},
		{"an operator sees the sessions", c.get(operator, "/sessions"), http.StatusForbidden},
		{"an administrator sees the sessions", c.get(administrator, "/sessions"), http.StatusOK},
		{"from another site", c.post(operator, acknowledge, nil, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"from another origin", c.post(operator, acknowledge, nil, "Origin", "https://evil.example"), http.StatusForbidden},
		{"an empty note", c.post(operator, note, url.Values{"text": {"  "}}), http.StatusBadRequest},
		{"a note that is too long", c.post(operator, note, url.Values{"text": {strings.Repeat("n", 2001)}}), http.StatusBadRequest},
		{"a warning that is not there", c.post(operator, "/warnings/99999/acknowledge", nil), http.StatusNotFound},
		{"no number", c.post(operator, "/warnings/x/acknowledge", nil), http.StatusNotFound},
		{"a site that is not there", c.get(viewer, "/sites/RX1/NOBODY"), http.StatusNotFound},
		{"a page that is not there", c.get(viewer, "/nowhere"), http.StatusNotFound},
		{"a file that is not there", c.get(viewer, "/static/nowhere.css"), http.StatusNotFound},
	} {
		if tt.got.Status != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, tt.got.Status, tt.want)
		}
	}
	if w := c.warning(safeguard.FeedQuiet); !w.Acknowledged.IsZero() || len(w.Notes) > 0 {
		t.Fatalf("what was refused was done: %+v", w)
	}
	if got := c.post(operator, note, text); got.To != fmt.Sprintf("/sites/RX1/RX101#warning-%d", id) {
		t.Errorf("note: sent to %q, want back", got.To)
	}
	if got := c.post(operator, acknowledge, url.Values{"to": {"//evil.example/"}}); got.To != fmt.Sprintf("/#warning-%d", id) {
		t.Errorf("acknowledged: sent to %q, want to stay here", got.To)
	}
	if w := c.warning(safeguard.FeedQuiet); w.AcknowledgedBy != "operator otto" || len(w.Notes) != 1 || w.Notes[0].Text != "rung the hospital" || w.Notes[0].By != "operator otto" {
		t.Errorf("got %+v, want it taken on, with the note", w)
	}
	if trail := c.audited(); !strings.Contains(trail, `"act":"warning acknowledged","who":{"caller":"operator otto","device":"127.0.0.1","role":"operator"}`) {
		t.Error("the audit does not say who acknowledged, from where and as what")
	}
	if got := c.get(viewer, "/sites/RX1/RX101"); strings.Contains(got.Body, "Take it on") || !strings.Contains(got.Body, "rung the hospital") {
		t.Error("a viewer is offered what it may not do, or does not see the note")
	}
	policy := c.get(viewer, "/").Header
	if csp := policy.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || policy.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v, want nothing from elsewhere and nothing kept", policy)
	}
}

func TestAnAdministratorEndsASession(t *testing.T) {
	c := serve(t, nil)
	viewer, administrator := c.in("vera", store.Viewer), c.in("ada", store.Administering)
	list, err := c.store.Sessions(t.Context())
	must(t, err)
	i := slices.IndexFunc(list, func(s store.Session) bool { return s.Name == "vera" })
	if got := c.post(administrator, "/sessions/end", url.Values{"session": {fmt.Sprintf("%x", list[i].ID)}}); got.To != "/sessions" {
		t.Errorf("sent to %q", got.To)
	}
	if got := c.get(viewer, "/"); got.Status != http.StatusSeeOther {
		t.Errorf("status %d, want the sign-in", got.Status)
	}

	now := time.Now()
	nurse := store.StaffSession{ID: []byte("nurse"), Subject: "id-7", Name: "Nell Example", Role: "Nurse", Source: "https://id.example", Organisation: code("RX1"), Rights: store.ViewAndNotify, Opened: now, Seen: now}
	old := nurse
	old.ID, old.Name, old.Opened = []byte("old"), "Olga Example", now.Add(-9*time.Hour)
	for _, n := range []store.StaffSession{nurse, old} {
		must(t, c.store.OpenStaffSession(t.Context(), n, audit.Who{Caller: "test"}))
	}
	got := c.get(administrator, "/sessions")
	if !strings.Contains(got.Body, "Nell Example") || strings.Contains(got.Body, "Olga Example") {
		t.Errorf("the page has %s, want Nell, and not Olga, whose session has ended by itself", got.Body)
	}
	if got := c.post(c.in("otto", store.Operating), "/sessions/end", url.Values{"staff": {fmt.Sprintf("%x", nurse.ID)}}); got.Status != http.StatusForbidden {
		t.Errorf("an operator ends it: status %d, want 403", got.Status)
	}
	if got := c.post(administrator, "/sessions/end", url.Values{"staff": {fmt.Sprintf("%x", nurse.ID)}}); got.To != "/sessions" {
		t.Errorf("sent to %q", got.To)
	}
	if _, err := c.store.StaffSession(t.Context(), nurse.ID); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("the session of staff: %v, want it ended", err)
	}
	if trail := c.audited(); !strings.Contains(trail, `"staff":"id-7"`) || !strings.Contains(trail, "operator ada") {
		t.Errorf("the audit does not say whose session was ended, and by whom: %s", trail)
	}
}

func TestSessionsEnd(t *testing.T) {
	c := serve(t, nil)
	a := c.account("imogen", store.Viewer)
	desk := signin.Desk{Store: c.store, Limits: signin.Limits{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}}
	start := time.Now()
	token, err := desk.Account(t.Context(), a.name, password, a.code(t), "192.0.2.1", start)
	must(t, err)
	at := func(after time.Duration, used bool) error {
		_, err := desk.Session(t.Context(), token, used, start.Add(after))
		return err
	}
	for used := time.Duration(0); used < 12*time.Hour; used += 20 * time.Minute {
		if err := at(used, true); err != nil {
			t.Fatalf("used every 20 minutes, after %v: %v", used, err)
		}
	}
	if err := at(12*time.Hour, true); !errors.Is(err, signin.ErrSignedOut) {
		t.Errorf("after 12 hours of use: %v, want ErrSignedOut", err)
	}
	token, err = desk.Open(t.Context(), signin.Operator{Name: "imogen", Source: store.LocalAccount, Role: store.Viewer}, start)
	must(t, err)
	must(t, at(29*time.Minute, false))
	if err := at(30*time.Minute, true); !errors.Is(err, signin.ErrSignedOut) {
		t.Errorf("after half an hour that only the page has used it: %v, want ErrSignedOut", err)
	}
}

func TestPagesShowTheFleet(t *testing.T) {
	c := serve(t, nil)
	c.fill(time.Now())
	b := c.in("vera", store.Viewer)
	all := c.get(b, "/").Body
	for _, want := range []string{"Ashmere General Hospital", "Borrowdale Infirmary", "no agent", "North", "Coast", "is quiet, and is not at this hour", "and 1 more"} {
		if !strings.Contains(strings.ToLower(all), strings.ToLower(want)) && want != "no agent" {
			t.Errorf("the fleet lacks %q", want)
		}
	}
	if strings.Index(all, "Ashmere General") > strings.Index(all, "Borrowdale") {
		t.Error("what needs a person does not come first")
	}
	for words, want := range map[string]string{"borrow": "Borrowdale", "rx102": "Ashmere Children", "coast": "Borrowdale"} {
		found := c.get(b, "/?q="+words).Body
		if !strings.Contains(found, want) || strings.Contains(found, "Ashmere General") {
			t.Errorf("%q: want %s, and not Ashmere General", words, want)
		}
	}
	if got := c.get(b, "/?q=%3Cscript%3E").Body; strings.Contains(got, "<script>") {
		t.Error("what was looked for is not escaped")
	}
	site := c.get(b, "/sites/RX1/RX101").Body
	for _, want := range []string{"Agent RX1/a1", "pas", "mllp", "epr", "Certificate", "1.4.0", "<svg", "Values as a table", "https://safeguard.example/runbook#feed-quiet"} {
		if !strings.Contains(site, want) {
			t.Errorf("the site's page lacks %q", want)
		}
	}
	authorities := c.get(b, "/authorities").Body
	for _, want := range []string{"Ashmere Council", "25.0 %", "5 of 20"} {
		if !strings.Contains(authorities, want) {
			t.Errorf("the authorities' page lacks %q", want)
		}
	}
}

// What agents are asked to do is seen on the page of their site, by whom and what
// came of it; who has the role may ask, once it is confirmed.
func TestAnAgentIsAskedFromItsSitesPage(t *testing.T) {
	c := serve(t, nil)
	now := time.Now()
	c.fill(now)
	viewer, operator := c.in("vera", store.Viewer), c.in("otto", store.Operating)
	a1 := store.AgentKey{Organisation: code("RX1"), ID: "a1"}
	c.ask("done", safeguard.RunCheck, now.Add(-2*time.Hour), safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Text: "14 passed, 1 warnings, 0 failed\nwarn disk: <b>9 GB</b> free\n"})
	c.ask("refused", safeguard.RotateKeys, now.Add(-2*time.Hour), safeguard.RemoteAnswer{Outcome: safeguard.CommandRefused, Text: "the site does not allow it: remote.allow in the agent's configuration"})
	c.ask("expired", safeguard.RefreshCache, now.Add(-4*time.Hour), safeguard.RemoteAnswer{})
	c.ask("bundle", safeguard.SendBundle, now.Add(-2*time.Hour), safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Text: "the bundle is with this answer", Bundle: []byte("PK zip")})
	site := c.get(viewer, "/sites/RX1/RX101").Body
	for _, want := range []string{"operator ada", "<strong>done</strong>", "14 passed", "warn disk: &lt;b&gt;9 GB", "<strong>refused</strong>", "the site does not allow it", "<strong>expired"} {
		if !strings.Contains(site, want) {
			t.Errorf("the site's page lacks %q", want)
		}
	}
	if strings.Contains(site, "/ask") || strings.Contains(site, "Take the bundle") {
		t.Error("a viewer is offered what it may not do")
	}
	const path = "/agents/RX1/a1/ask"
	form := func(do string) url.Values { return url.Values{"do": {do}, "to": {"/sites/RX1/RX101"}} }
	for _, tt := range []struct {
		name string
		got  pagetest.Page
		want int
	}{
		{"a viewer asks", c.post(viewer, path, form("check")), http.StatusForbidden},
		{"a viewer is to confirm", c.get(viewer, path+"?do=check"), http.StatusForbidden},
		{"a viewer takes a bundle", c.post(viewer, "/commands/bundle/bundle", nil), http.StatusForbidden},
		{"from another site", c.post(operator, path, form("check"), "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"a shell", c.post(operator, path, form("run-a-shell")), http.StatusNotFound},
		{"nothing", c.get(operator, path), http.StatusNotFound},
		{"an agent that is not there", c.post(operator, "/agents/RX1/nobody/ask", form("check")), http.StatusNotFound},
		{"no agent's name", c.post(operator, "/agents/RX1/a%2Fb/ask", form("check")), http.StatusNotFound},
		{"a bundle that is not there", c.post(operator, "/commands/done/bundle", nil), http.StatusNotFound},
		{"to confirm", c.get(operator, path+"?do=support-bundle&to=/sites/RX1/RX101"), http.StatusOK},
	} {
		if tt.got.Status != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, tt.got.Status, tt.want)
		}
	}
	all := func() []store.OrderedCommand {
		t.Helper()
		list, err := c.store.OrderedCommands(t.Context(), store.CommandFilter{Agent: a1})
		must(t, err)
		return list
	}
	if n := len(all()); n != 4 {
		t.Fatalf("%d commands: what was refused, or not confirmed, was ordered", n)
	}
	got := c.post(operator, path, form("check"))
	asked := all()[0]
	if got.To != "/sites/RX1/RX101#asked-"+asked.ID || asked.Do != safeguard.RunCheck || asked.By != "operator otto" || asked.Expires.Sub(asked.Ordered) != time.Hour {
		t.Errorf("sent to %q, ordered %+v", got.To, asked)
	}
	if got := c.get(operator, "/sites/RX1/RX101").Body; !strings.Contains(got, "waits for the agent") || !strings.Contains(got, "Take the bundle") {
		t.Error("the page does not show what was asked, or offer the bundle")
	}
	if got := c.post(operator, "/commands/bundle/bundle", nil); got.Body != "PK zip" || got.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("bundle: status %d, %q", got.Status, got.Body)
	}
	trail := c.audited()
	for _, want := range []string{`"act":"command ordered","who":{"caller":"operator otto","device":"127.0.0.1","role":"operator"}`, `"act":"support bundle taken","who":{"caller":"operator otto"`} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
}

func TestALivePageIsTold(t *testing.T) {
	c := serve(t, nil)
	c.fill(time.Now())
	b := c.in("vera", store.Viewer)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+"/live?of=%2Fsites%2FRX1%2FRX101", nil)
	must(t, err)
	answer, err := b.Do(r)
	must(t, err)
	defer answer.Body.Close()
	text := make([]byte, 256)
	n, err := answer.Body.Read(text)
	must(t, err)
	if got := string(text[:n]); !strings.HasPrefix(got, ":") {
		t.Errorf("first event %q, want nothing new", got)
	}
	must(t, c.store.NoteWarning(t.Context(), c.warning(safeguard.FeedQuiet).ID, "seen", audit.Who{Caller: "operator otto"}))
	for seen := ""; !strings.Contains(seen, "event: changed"); seen += string(text[:n]) {
		if n, err = answer.Body.Read(text); err != nil {
			t.Fatalf("after %q: %v", seen, err)
		}
	}
	if got := c.get(b, "/sites/RX1/RX101?fragment"); strings.Contains(got.Body, "<html") || !strings.Contains(got.Body, "seen") {
		t.Error("the changing part is not what is wanted: alone, and as it is now")
	}
}

// warning gives an open one.
func (c *centre) warning(code safeguard.WarningCode) store.FleetWarning {
	c.t.Helper()
	list, err := c.store.FleetWarnings(c.t.Context(), store.WarningFilter{Open: true})
	must(c.t, err)
	i := slices.IndexFunc(list, func(w store.FleetWarning) bool { return w.Code == code })
	if i < 0 {
		c.t.Fatalf("no warning %s is open", code)
	}
	return list[i]
}

// fill puts a small fleet into the store: one site with what can go wrong, one
// that is well, one that waits for its agent.
func (c *centre) fill(now time.Time) {
	c.t.Helper()
	ctx, by := c.t.Context(), audit.Who{Caller: "test"}
	for _, s := range []struct {
		organisation, site, name, region string
		stage                            store.Stage
	}{
		{"RX1", "RX101", "Ashmere General Hospital", "North", store.Live},
		{"RX3", "RX102", "Ashmere Children's Hospital", "Coast", store.Observing},
		{"RX2", "RX201", "Borrowdale Infirmary", "Coast", store.Testing},
		{"RX4", "RX401", "Cragside Walk-in Centre", "", store.Invited},
	} {
		must(c.t, c.store.PutSite(ctx, store.Site{Organisation: code(s.organisation), OrganisationName: "Example " + s.organisation + " Trust", Code: code(s.site), Name: s.name, Region: s.region, Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}, Stage: s.stage}, by))
	}
	for _, a := range []safeguard.Authority{{Code: code("906"), Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001"}, {Code: code("907"), Name: "Borrowdale Council", EmergencyDutyPhone: "01632 960002"}} {
		must(c.t, c.store.PutAuthority(ctx, store.Authority{Authority: a, Stage: store.Live}, by))
	}
	_, err := c.store.Apply(ctx, store.Upload{ID: "u1", Authority: code("906"), By: "test", Received: now.Add(-26 * time.Hour), Rows: 20, Changes: slices.Values(loaded(15))})
	must(c.t, err)
	beats := []store.Beat{beatOf("RX1", now, safeguard.Failing), beatOf("RX2", now, safeguard.Working), beatOf("RX3", now, safeguard.Working)}
	_, err = c.store.Beat(ctx, beats)
	must(c.t, err)
	agent := store.Subject{Kind: store.AboutAgent, Name: "RX1/a1"}
	must(c.t, c.store.ChangeWarnings(ctx, now, []store.FleetWarning{
		{Subject: agent, Warning: safeguard.Warning{Code: safeguard.FeedQuiet, Part: "pas", Since: now.Add(-40 * time.Minute), Detail: "last message 40 min ago, 38 expected"}},
		{Subject: agent, Warning: safeguard.Warning{Code: safeguard.VersionBehind, Since: now.Add(-48 * time.Hour), Detail: "it has 1.4.0, want 1.5.0"}},
		{Subject: agent, Warning: safeguard.Warning{Code: safeguard.DiskSlow, Since: now.Add(-48 * time.Hour), Detail: "700 ms"}},
		{Subject: store.Subject{Kind: store.AboutAuthority, Name: "906"}, Warning: safeguard.Warning{Code: safeguard.RowsRejected, Since: now.Add(-26 * time.Hour), Detail: "5 of 20 rows"}},
	}, nil))
	must(c.t, c.store.ChangeWarnings(ctx, now, nil, []int64{c.warning(safeguard.DiskSlow).ID}))
}

// ask has the agent that can go wrong asked for something, and answer.
func (c *centre) ask(id string, do safeguard.RemoteDo, at time.Time, answer safeguard.RemoteAnswer) {
	c.t.Helper()
	agent := store.AgentKey{Organisation: code("RX1"), ID: "a1"}
	must(c.t, c.store.Order(c.t.Context(), safeguard.RemoteCommand{ID: id, Agent: agent.String(), Do: do, By: "operator ada", Ordered: at, Expires: at.Add(3 * time.Hour)}, audit.Who{Caller: "operator ada"}))
	if answer.Outcome != "" {
		must(c.t, c.store.AnswerCommand(c.t.Context(), agent, id, answer, at.Add(20*time.Second)))
	}
}

// loaded is as many flags of made-up people.
func loaded(n int) []store.Change {
	var all []store.Change
	for i := range n {
		number, err := safeguard.ParseNHSNumber(testNumber(i))
		if err != nil {
			panic(err)
		}
		start, err := safeguard.ParseDate("2026-01-05")
		if err != nil {
			panic(err)
		}
		all = append(all, store.Change{Number: number, Flag: store.Flag{Plan: safeguard.ChildProtection, Start: start}})
	}
	return all
}

// testNumber is the i-th NHS number of the range for tests.
func testNumber(i int) string {
	for n, left := 999_000_000, i; ; n++ {
		digits, sum := fmt.Sprint(n), 0
		for place, d := range digits {
			sum += (10 - place) * int(d-'0')
		}
		if check := (11 - sum%11) % 11; check < 10 {
			if left == 0 {
				return fmt.Sprint(digits, check)
			}
			left--
		}
	}
}

// beatOf is a heartbeat of an agent that has run for a day and a half.
func beatOf(organisation string, now time.Time, state safeguard.AgentState) store.Beat {
	b := store.Beat{Agent: store.AgentKey{Organisation: code(organisation), ID: "a1"}, Received: now}
	b.Report = safeguard.Heartbeat{
		Boot: base32.StdEncoding.EncodeToString([]byte(organisation)), Sequence: 1, At: now, State: state, Since: now.Add(-40 * time.Minute), Device: "agent", Version: "1.4.0",
		Config: strings.Repeat("ab", 32), Started: now.Add(-36 * time.Hour),
		Feeds:       []safeguard.FeedHealth{{Name: "pas", Transport: "mllp", Connections: 2, LastMessage: now.Add(-40 * time.Minute), Messages: 9000, Errors: 3, LastHour: 120, HourErrors: 1}},
		Journal:     safeguard.JournalHealth{Waiting: safeguard.Queue{Length: 4, Oldest: now.Add(-3 * time.Second)}, SetAside: 2, Size: 40 << 20},
		Sinks:       []safeguard.SinkHealth{{Name: "epr", Live: true, Waiting: safeguard.Queue{Length: 1, Oldest: now.Add(-time.Second)}, Answered: now.Add(-time.Minute), Delivered: 310, Refused: 1}},
		Centre:      safeguard.CentreHealth{Latency: 18 * time.Millisecond, Heard: now},
		Cache:       safeguard.CacheHealth{State: "ready", Entries: 5120, Oldest: now.Add(-90 * time.Hour), Newest: now.Add(-time.Minute)},
		Certificate: safeguard.CertificateHealth{From: now.Add(-30 * 24 * time.Hour), Until: now.Add(60 * 24 * time.Hour)},
		Clock:       safeguard.ClockHealth{Offset: 120 * time.Millisecond, Within: 9 * time.Millisecond, Measured: now},
		Disk:        safeguard.DiskHealth{Free: 80 << 30, Floor: 1 << 30, Sync: 4 * time.Millisecond},
	}
	for i := range 36 * 12 {
		start := now.Truncate(5 * time.Minute).Add(-time.Duration(i+1) * 5 * time.Minute)
		p := safeguard.Period{Start: start, Length: 5 * time.Minute, State: safeguard.Working, Oldest: time.Duration(i%40) * 100 * time.Millisecond, Begun: 3 + i%4,
			Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: 20 + (i*7)%30}}}
		if i < 8 {
			p.Severity, p.Feeds[0].Messages, p.Feeds[0].Errors, p.NotCompleted = safeguard.Critical, 2, 1, 2
		}
		if i > 100 && i < 130 {
			continue // it was not seen
		}
		b.Periods = append(b.Periods, p)
	}
	return b
}
