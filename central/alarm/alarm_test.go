package alarm_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	signer "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/alarm"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/webhook"
)

// ledger is a store with what a test has opened and closed.
type ledger struct {
	mu       sync.Mutex
	warnings []store.FleetWarning
	told     map[string]bool
	holder   string
}

func (l *ledger) Untold(_ context.Context, route string, since time.Time) (list []store.FleetWarning, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.warnings {
		opened, closed := l.told[fmt.Sprint(route, w.ID, "opened")], l.told[fmt.Sprint(route, w.ID, "closed")]
		if w.Closed.IsZero() && !opened && !w.Opened.Before(since) || !w.Closed.IsZero() && opened && !closed {
			list = append(list, w)
		}
	}
	return list, nil
}

func (l *ledger) Told(_ context.Context, route string, list []store.FleetWarning, _ time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range list {
		state := "opened"
		if !w.Closed.IsZero() {
			state = "closed"
		}
		l.told[fmt.Sprint(route, w.ID, state)] = true
	}
	return nil
}

func (l *ledger) Directory(context.Context, int64) (store.Directory, error) {
	return store.Directory{Sites: []store.Site{{Organisation: code("RX1"), Code: code("RX101")}}}, nil
}

func (l *ledger) Lease(_ context.Context, _, holder string, d time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != "" && l.holder != holder {
		return false, nil
	}
	l.holder = holder
	if d == 0 {
		l.holder = ""
	}
	return true, nil
}

func (l *ledger) open(subject string, c safeguard.WarningCode) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind, name, _ := strings.Cut(subject, " ")
	id := int64(len(l.warnings) + 1)
	l.warnings = append(l.warnings, store.FleetWarning{
		ID: id, Subject: store.Subject{Kind: store.SubjectKind(kind), Name: name}, Opened: time.Now(),
		Warning: safeguard.Warning{Code: c, Part: "epr", Since: time.Now().Add(-time.Minute), Detail: "2 waiting"},
	})
	return id
}

func (l *ledger) close(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warnings[id-1].Closed = time.Now()
}

// received is what came to a route.
type received struct {
	mu       sync.Mutex
	messages []alarm.Message
	err      error
}

func (r *received) Carry(_ context.Context, m alarm.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.messages = append(r.messages, m)
	return nil
}

// lines are what was told since, a message each.
func (r *received) lines() (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		var all []string
		for _, w := range m.Warnings {
			state := "opened"
			if !w.Closed.IsZero() {
				state = "closed"
			}
			all = append(all, fmt.Sprint(state, " ", w.ID))
		}
		lines = append(lines, strings.Join(all, ", "))
	}
	r.messages = nil
	return lines
}

func code(s string) safeguard.ODSCode {
	c, err := safeguard.ParseODSCode(s)
	if err != nil {
		panic(err)
	}
	return c
}

func telling(t *testing.T, l *ledger, holder string, routes ...alarm.Route) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	teller := &alarm.Teller{Store: l, Holder: holder, Routes: routes, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- teller.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func want(t *testing.T, when string, r *received, lines ...string) {
	t.Helper()
	synctest.Wait()
	if got := r.lines(); !slices.Equal(got, lines) {
		t.Errorf("%s: got %q, want %q", when, got, lines)
	}
}

func TestRoutesAreToldWhatIsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{told: map[string]bool{}}
		critical, all, ours, officer := &received{}, &received{}, &received{}, &received{}
		stop := telling(t, l, "one",
			alarm.Route{Name: "critical", Severity: safeguard.Critical, Carrier: critical},
			alarm.Route{Name: "all", Severity: safeguard.Notice, Carrier: all},
			alarm.Route{Name: "ours", Severity: safeguard.Notice, Codes: []safeguard.ODSCode{code("RX101"), code("906")}, Carrier: ours},
			alarm.Route{Name: "officer", Severity: safeguard.Notice, Warnings: []safeguard.WarningCode{safeguard.BreakGlassWaiting}, Codes: []safeguard.ODSCode{code("RX1")}, Carrier: officer})
		defer stop()
		synctest.Wait()
		l.open("agent RX1/a1", safeguard.ClockOff)         // 1
		l.open("agent RX1/a1", safeguard.SinkDown)         // 2
		l.open("agent RX2/a1", safeguard.SinkDown)         // 3
		l.open("site RX1/RX101", safeguard.SiteUnattended) // 4
		l.open("authority 906", safeguard.UploadLate)      // 5
		l.open("authority 907", safeguard.UploadLate)      // 6
		time.Sleep(20 * time.Second)
		want(t, "critical", critical, "opened 2, opened 3")
		want(t, "all, in one message, the worst first", all, "opened 2, opened 3, opened 1, opened 4, opened 5, opened 6")
		want(t, "ours", ours, "opened 2, opened 1, opened 4, opened 5")
		want(t, "officer", officer)
		l.open("site RX1/RX101", safeguard.BreakGlassWaiting) // 7
		time.Sleep(20 * time.Second)
		want(t, "officer", officer, "opened 7")
		want(t, "all", all, "opened 7")
		time.Sleep(time.Hour)
		want(t, "once", critical)
		l.close(2)
		l.close(1)
		time.Sleep(20 * time.Second)
		want(t, "closed", critical, "closed 2")
		want(t, "closed", all, "closed 2, closed 1")
	})
}

func TestQuietHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins on a Saturday at midnight
		l := &ledger{told: map[string]bool{}}
		r := &received{}
		stop := telling(t, l, "one", alarm.Route{Name: "office", Severity: safeguard.Attention, Carrier: r, Quiet: alarm.Quiet{From: 18 * time.Hour, Until: 8 * time.Hour, Weekends: true}})
		defer stop()
		time.Sleep(12 * time.Hour)
		office, gone := l.open("agent RX1/a1", safeguard.ClockOff), l.open("agent RX1/a1", safeguard.DiskSlow)
		night := l.open("agent RX1/a1", safeguard.SinkDown)
		time.Sleep(time.Minute)
		want(t, "on Saturday", r, fmt.Sprint("opened ", night))
		l.close(gone)
		time.Sleep(43 * time.Hour)
		want(t, "before Monday at eight", r)
		time.Sleep(time.Hour)
		want(t, "on Monday, without what has closed", r, fmt.Sprint("opened ", office))
	})
}

func TestWhatWasNotTakenIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{told: map[string]bool{}}
		r := &received{err: errors.New("no route")}
		stop := telling(t, l, "one", alarm.Route{Name: "hook", Severity: safeguard.Notice, Carrier: r})
		l.open("agent RX1/a1", safeguard.SinkDown)
		time.Sleep(time.Hour)
		r.mu.Lock()
		r.err = nil
		r.mu.Unlock()
		time.Sleep(6 * time.Minute)
		want(t, "within some minutes", r, "opened 1")

		// Another process takes over when this one stops, and tells nothing twice.
		other := &received{}
		stopOther := telling(t, l, "two", alarm.Route{Name: "hook", Severity: safeguard.Notice, Carrier: other})
		l.open("agent RX1/a2", safeguard.SinkDown)
		time.Sleep(time.Minute)
		want(t, "by one of the two", other)
		want(t, "by one of the two", r, "opened 2")
		stop()
		l.open("agent RX1/a3", safeguard.SinkDown)
		time.Sleep(time.Minute)
		want(t, "by the other", other, "opened 3")
		stopOther()
	})
}

func message() alarm.Message {
	l := &ledger{told: map[string]bool{}}
	l.open("agent RX1/a1", safeguard.SinkDown)
	l.open("authority 906", safeguard.UploadLate)
	l.close(2)
	return alarm.Message{ID: "fleet_office_2", At: time.Now(), Warnings: l.warnings}
}

func TestWebhookIsSigned(t *testing.T) {
	secret := webhook.NewSecret()
	var body []byte
	var verified error
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		checker, err := signer.NewWebhook(secret)
		if err == nil {
			err = checker.Verify(body, r.Header)
		}
		verified = err
	}))
	defer receiver.Close()
	pool := x509.NewCertPool()
	pool.AddCert(receiver.Certificate())
	hook := alarm.Hook{Target: webhook.Target{URL: receiver.URL, Secrets: []string{secret}, CA: pool}}
	if err := hook.Carry(t.Context(), message()); err != nil || verified != nil {
		t.Fatal(err, verified)
	}
	var got struct {
		Type string
		Data struct {
			Warnings []struct {
				ID                                                     int64
				Code, Part, State, Severity, Sentence, Remedy, Runbook string
				Subject                                                store.Subject
			}
		}
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if w := got.Data.Warnings; got.Type != "fleet.warnings" || len(w) != 2 || w[0].Code != "sink-down" || w[0].State != "opened" || w[0].Severity != "critical" ||
		w[0].Subject.Name != "RX1/a1" || w[0].Sentence != "Sink epr does not answer (2 waiting)" || w[0].Runbook != "docs/runbook.md#sink-down" || w[1].State != "closed" {
		t.Errorf("got %s", body)
	}
}

// mailServer is one that offers STARTTLS, or does not, and keeps what it is sent.
type mailServer struct {
	listener net.Listener
	config   *tls.Config
	starttls bool
	mu       sync.Mutex
	sent     []string
}

func newMailServer(t *testing.T, starttls bool) (*mailServer, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	s := &mailServer{starttls: starttls, config: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = s.listener.Close()
		serving.Wait()
	})
	return s, pool
}

func (s *mailServer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(conn)
	say := func(line string) { _, _ = io.WriteString(conn, line+"\r\n") }
	say("220 mail ready")
	secure, login := false, false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
		case "EHLO":
			say("250-mail")
			if s.starttls && !secure {
				say("250-STARTTLS")
			}
			if secure {
				say("250-AUTH PLAIN")
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go on")
			conn = tls.Server(conn, s.config)
			in, secure = bufio.NewReader(conn), true
		case "AUTH":
			login = strings.TrimSpace(strings.TrimPrefix(line, "AUTH PLAIN ")) == "AHNhZmVndWFyZABzZXNhbWU="
			if login {
				say("235 welcome")
			} else {
				say("535 no")
			}
		case "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil || line == ".\r\n" {
					break
				}
				b.WriteString(line)
			}
			if secure && login {
				s.mu.Lock()
				s.sent = append(s.sent, b.String())
				s.mu.Unlock()
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 well")
		}
	}
}

func (s *mailServer) mail(pool *x509.CertPool) alarm.Mail {
	return alarm.Mail{Host: "127.0.0.1", Port: s.listener.Addr().(*net.TCPAddr).Port, User: "safeguard", Password: "sesame",
		From: "safeguard@example.nhs.uk", To: []string{"ops@example.nhs.uk"}, CA: pool}
}

func TestMailGoesEncrypted(t *testing.T) {
	s, pool := newMailServer(t, true)
	if err := s.mail(pool).Carry(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if len(s.sent) != 1 {
		t.Fatalf("got %d mails", len(s.sent))
	}
	mail := strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(s.sent[0])
	for _, part := range []string{"Subject: Safeguard: warnings: 1 opened, 1 closed, the worst critical", "Message-ID: <fleet_office_2@example.nhs.uk>", "Auto-Submitted: auto-generated",
		"critical: agent RX1/a1: Sink epr does not answer (2 waiting)", "What to do: Ask who runs the EPR's interface", "docs/runbook.md#sink-down", "closed: authority 906"} {
		if !strings.Contains(mail, part) {
			t.Errorf("the mail has no %q:\n%s", part, mail)
		}
	}

	plain, pool := newMailServer(t, false)
	if err := plain.mail(pool).Carry(t.Context(), message()); err == nil || len(plain.sent) > 0 {
		t.Errorf("got %v from a server without STARTTLS, and sent %d", err, len(plain.sent))
	}
	if err := s.mail(x509.NewCertPool()).Carry(t.Context(), message()); err == nil || len(s.sent) != 1 {
		t.Errorf("got %v from a server that nobody vouches for", err)
	}
	wrong := s.mail(pool)
	wrong.CA, wrong.Password = nil, "wrong"
	err := wrong.Carry(t.Context(), message())
	if err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v", err)
	}
}

func TestMailThatCanNotWork(t *testing.T) {
	good := alarm.Mail{Host: "mail", Port: 587, From: "a@example.nhs.uk", To: []string{"b@example.nhs.uk"}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(m *alarm.Mail){
		"from: ":  func(m *alarm.Mail) { m.From = "nobody" },
		"to: ":    func(m *alarm.Mail) { m.To = []string{"b@example.nhs.uk", "x y"} },
		"server":  func(m *alarm.Mail) { m.Host = "" },
		"to, at ": func(m *alarm.Mail) { m.To = nil },
	} {
		m := good
		spoil(&m)
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want it to name %q", err, name)
		}
	}
}
