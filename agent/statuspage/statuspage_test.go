package statuspage_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

const password = "correct horse battery"

// hashed is the password's hash, which takes its time to make.
var hashed = sync.OnceValue(func() string {
	hash, err := keys.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return hash
})

// london is the hospital's zone.
var london = func() *time.Location {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		panic(err)
	}
	return zone
}()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// agent is what the page shows, and may be changed.
type agent struct {
	mu    sync.Mutex // guards the fields below
	beat  safeguard.Heartbeat
	day   []safeguard.Period
	alive error
}

func (a *agent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *agent) parts() statuspage.Parts {
	return statuspage.Parts{
		Zone:   london,
		Report: func() safeguard.Heartbeat { a.mu.Lock(); defer a.mu.Unlock(); return a.beat },
		Day:    func() []safeguard.Period { a.mu.Lock(); defer a.mu.Unlock(); return a.day },
		Alive:  func(context.Context) error { a.mu.Lock(); defer a.mu.Unlock(); return a.alive },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "safeguard_agent_up 1\n")
		}),
	}
}

// serve shows the page until the test ends, and gives where.
func serve(t *testing.T, c statuspage.Config, a *agent) (address string, log *loggingtest.Log) {
	t.Helper()
	log = &loggingtest.Log{}
	s := statuspage.New(c, a.parts(), slog.New(slog.NewTextHandler(log, nil)))
	must(t, s.Listen())
	address = s.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); must(t, <-ended) })
	return address, log
}

// guarded is a page with a certificate and a password.
func guarded(t *testing.T) (statuspage.Config, *http.Client) {
	t.Helper()
	authority := feedtest.NewAuthority(t, "Hospital CA")
	pair, _ := authority.Issue("agent")
	file := filepath.Join(t.TempDir(), "passwords")
	must(t, os.WriteFile(file, []byte("ada:"+hashed()+"\n"), 0o600))
	config, err := feed.TLS{CA: authority.CA()}.Dialling("127.0.0.1")
	must(t, err)
	return statuspage.Config{Listen: "127.0.0.1:0", TLS: &pair, Passwords: file}, &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, client *http.Client, url string, change ...func(*http.Request)) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	for _, do := range change {
		do(r)
	}
	w, err := client.Do(r)
	must(t, err)
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	must(t, err)
	return answer{w.StatusCode, w.Header, string(body)}
}

func as(name, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

func called(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }

func TestConfigurationThatCanNotWorkIsRefused(t *testing.T) {
	files := &feed.TLS{Cert: "web.pem", Key: "web-key.pem"}
	for name, c := range map[string]struct {
		config statuspage.Config
		want   string // empty where it is good
	}{
		"as it is by default":            {statuspage.DefaultConfig(), ""},
		"no page":                        {statuspage.Config{}, ""},
		"this host by IPv6":              {statuspage.Config{Listen: "[::1]:7445"}, ""},
		"everywhere":                     {statuspage.Config{Listen: "0.0.0.0:7445"}, "tls: absent"},
		"everywhere, without a host":     {statuspage.Config{Listen: ":7445"}, "listen:"},
		"a name, which may be elsewhere": {statuspage.Config{Listen: "localhost:7445"}, "tls: absent"},
		"elsewhere without TLS":          {statuspage.Config{Listen: "10.1.2.3:7445", Passwords: "p"}, "tls: absent"},
		"elsewhere without a password":   {statuspage.Config{Listen: "10.1.2.3:7445", TLS: files}, "password_file: absent"},
		"elsewhere with both":            {statuspage.Config{Listen: "10.1.2.3:7445", TLS: files, Passwords: "p"}, ""},
		"half a certificate":             {statuspage.Config{Listen: "127.0.0.1:7445", TLS: &feed.TLS{Cert: "web.pem"}}, "tls: want cert and key"},
		"no port":                        {statuspage.Config{Listen: "127.0.0.1"}, "listen:"},
	} {
		err := c.config.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestMonitoringIsTold(t *testing.T) {
	a := &agent{}
	address, _ := serve(t, statuspage.Config{Listen: "127.0.0.1:0"}, a)
	for _, c := range []struct {
		name, path string
		change     func()
		status     int
		body       string
	}{
		{"it has not seen its parts", "/readyz", func() { a.beat.State = safeguard.Starting }, 503, "not ready: starting"},
		{"it works", "/readyz", func() { a.beat.State = safeguard.Working }, 200, "ready"},
		{"the centre is away", "/readyz", func() { a.beat.State = safeguard.Degraded }, 200, "ready"},
		{"intake is stopped", "/readyz", func() { a.beat.State, a.beat.Journal.Stopped = safeguard.Failing, "disk full" }, 503, "not ready: no message is taken on"},
		{"it is alive all the same", "/healthz", func() {}, 200, "alive"},
		{"it is not alive", "/healthz", func() { a.alive = errors.New("/var/lib/x: input/output error") }, 503, "not alive: see the log"},
		{"it is counted", "/metrics", func() {}, 200, "safeguard_agent_up 1"},
	} {
		a.set(c.change)
		if got := get(t, http.DefaultClient, "http://"+address+c.path); got.status != c.status || strings.TrimSpace(got.body) != c.body {
			t.Errorf("%s: got %d %q, want %d %q", c.name, got.status, got.body, c.status, c.body)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	a := &agent{beat: safeguard.Heartbeat{State: safeguard.Degraded, Device: "rx1-ed-1"}, day: []safeguard.Period{{Length: 5 * time.Minute, Waiting: 3}}}
	address, _ := serve(t, statuspage.Config{Listen: "127.0.0.1:0"}, a)
	var got statuspage.Shown
	w := get(t, http.DefaultClient, "http://"+address+"/status.json")
	must(t, json.Unmarshal([]byte(w.body), &got))
	if got.Report.State != safeguard.Degraded || got.Report.Device != "rx1-ed-1" || len(got.Day) != 1 || got.Day[0].Waiting != 3 {
		t.Errorf("got %+v", got)
	}
	if csp := w.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
		t.Errorf("content security policy %q", csp)
	}
}

func TestAPageElsewhereCanNotBeOneWithThisOne(t *testing.T) {
	address, _ := serve(t, statuspage.Config{Listen: "127.0.0.1:0"}, &agent{})
	_, port, _ := net.SplitHostPort(address)
	for host, want := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "LOCALHOST": 200, "[::1]:" + port: 200, "127.0.0.1": 200, "10.1.2.3:7445": 200,
		"evil.example": 421, "evil.example:" + port: 421, "localhost.evil.example:" + port: 421, "127.0.0.1.nip.io:" + port: 421,
	} {
		for _, path := range []string{"/", "/status.json", "/metrics", "/healthz"} {
			got := get(t, http.DefaultClient, "http://"+address+path, called(host)).status
			if (got == 421) != (want == 421) {
				t.Errorf("%s called as %s: status %d, want %d", path, host, got, want)
			}
		}
	}
}

func TestWithTLSItIsCalledByANameInItsCertificate(t *testing.T) {
	c, client := guarded(t)
	address, _ := serve(t, c, &agent{})
	dialled := client.Transport.(*http.Transport)
	dialled.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	dialled.TLSClientConfig.ServerName = ""
	_, port, _ := net.SplitHostPort(address)
	if got := get(t, client, "https://agent.test:"+port+"/healthz").status; got != http.StatusServiceUnavailable && got != http.StatusOK {
		t.Errorf("by its name: status %d", got)
	}
	if got := get(t, client, "https://agent.test:"+port+"/healthz", called("evil.example")).status; got != http.StatusMisdirectedRequest {
		t.Errorf("by another name: status %d", got)
	}
}

func TestPasswordsAreWanted(t *testing.T) {
	c, client := guarded(t)
	address, log := serve(t, c, &agent{})
	url := "https://" + address
	for _, path := range []string{"/", "/status.json", "/metrics", "/live", "/nowhere"} {
		got := get(t, client, url+path)
		if got.status != http.StatusUnauthorized || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s without a password: status %d", path, got.status)
		}
	}
	if got := get(t, client, url+"/readyz").status; got == http.StatusUnauthorized {
		t.Error("a load balancer has no password")
	}
	for _, c := range []struct {
		name, user, password string
		want                 int
	}{
		{"the right password", "ada", password, 200},
		{"the same again", "ada", password, 200},
		{"a wrong one", "ada", "Wrong-horse-battery", 401},
		{"a name that is not there", "eve", password, 401},
		{"no password", "ada", "", 401},
	} {
		if got := get(t, client, url+"/status.json", as(c.user, c.password)).status; got != c.want {
			t.Errorf("%s: status %d, want %d", c.name, got, c.want)
		}
	}
	if text := log.String(); strings.Contains(text, "Wrong-horse") || strings.Contains(text, password) || !strings.Contains(text, "refused") {
		t.Errorf("log: %s", text)
	}
}

func TestAChangedPasswordFileIsTakenUp(t *testing.T) {
	c, client := guarded(t)
	address, _ := serve(t, c, &agent{})
	status := func(name string) int {
		return get(t, client, "https://"+address+"/status.json", as(name, password)).status
	}
	if got := status("ada"); got != 200 {
		t.Fatalf("status %d", got)
	}
	replace := func(text string, at time.Time) {
		must(t, os.WriteFile(c.Passwords, []byte(text), 0o600))
		must(t, os.Chtimes(c.Passwords, at, at))
	}
	replace("otto:"+hashed()+"\n", time.Now().Add(time.Minute))
	if ada, otto := status("ada"), status("otto"); ada != 401 || otto != 200 {
		t.Errorf("after ada has gone and otto has come: ada %d, otto %d", ada, otto)
	}
	replace("half a li", time.Now().Add(2*time.Minute))
	if got := status("otto"); got != 200 {
		t.Errorf("a broken file locks out who was in: status %d", got)
	}
}

func TestTooManyWrongPasswords(t *testing.T) {
	c, client := guarded(t)
	address, _ := serve(t, c, &agent{})
	last := 0
	for range 25 {
		last = get(t, client, "https://"+address+"/status.json", as("ada", strings.Repeat("x", 1000))).status // too long to be hashed
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("after 25 wrong passwords: status %d", last)
	}
	if got := get(t, client, "https://"+address+"/status.json", as("ada", password)).status; got != http.StatusTooManyRequests {
		t.Errorf("the right one after them: status %d, want it to wait", got)
	}
}

func TestAPortThatIsTakenIsNoReasonToStop(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	said := make(chan string, 10)
	s := statuspage.New(statuspage.Config{Listen: taken.Addr().String()}, (&agent{}).parts(), slog.New(slog.NewTextHandler(telling(said), nil)))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	select {
	case line := <-said:
		if !strings.Contains(line, "trying again") {
			t.Errorf("log: %s", line)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing was said")
	}
	stop()
	must(t, <-ended)
	must(t, taken.Close())
}

func TestPasswordFilesThatCanNotBeRead(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nobody":            {"# names\n", "nobody is in it"},
		"a plain password":  {"\nada:hunter2\n", "line 2"},
		"another algorithm": {"ada:$2y$05$abc\n", "line 1"},
		"a name twice":      {"ada:" + hashed() + "\nada:" + hashed() + "\n", "line 2"},
	} {
		_, err := statuspage.ParsePasswords([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// telling is a log that hands each line on.
type telling chan<- string

func (c telling) Write(line []byte) (int, error) {
	c <- string(line)
	return len(line), nil
}
