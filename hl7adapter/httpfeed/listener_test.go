package httpfeed

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

func TestReplies(t *testing.T) {
	c := testConfig()
	c.Path, c.MaxMessage = "/adt", 1<<10
	var log lockedBuffer
	l, _ := listen(t, keep, slog.New(slog.NewTextHandler(&log, nil)), c)
	good := feedtest.ADT("1")
	const er7 = "application/hl7-v2"
	for _, c := range []struct {
		name   string
		method string
		path   string
		kind   string
		header [2]string
		body   []byte
		status int
		want   string // in the body, or of the header
	}{
		{"a message", "POST", "/adt", er7, [2]string{}, good, 200, "\rMSA|AA|1"},
		{"with a character set", "POST", "/adt", er7 + "; charset=utf-8", [2]string{}, good, 200, "\rMSA|AA|1"},
		{"the draft's type", "POST", "/adt", "x-application/hl7-v2+er7", [2]string{}, good, 200, "\rMSA|AA|1"},
		{"the ballot's type", "POST", "/adt", "application/hl7-v2+er7", [2]string{}, good, 200, "\rMSA|AA|1"},
		{"in capitals", "POST", "/adt", "APPLICATION/HL7-V2", [2]string{}, good, 200, "\rMSA|AA|1"},
		{"plain text", "POST", "/adt", "text/plain", [2]string{}, good, 200, "\rMSA|AA|1"},
		{"a query behind the path", "POST", "/adt?from=pas", er7, [2]string{}, good, 200, "\rMSA|AA|1"},
		{"who wants no acknowledgement", "POST", "/adt", er7, [2]string{}, feedtest.Asking("1", "NE", "NE"), 200, ""},
		{"no type", "POST", "/adt", "", [2]string{}, good, 415, "Content-Type: application/hl7-v2"},
		{"JSON", "POST", "/adt", "application/json", [2]string{}, good, 415, "Content-Type: application/hl7-v2"},
		{"HL7 as XML", "POST", "/adt", "application/hl7-v2+xml", [2]string{}, good, 415, "Content-Type: application/hl7-v2"},
		{"a type that is none", "POST", "/adt", ";;;", [2]string{}, good, 415, "Content-Type: application/hl7-v2"},
		{"compressed", "POST", "/adt", er7, [2]string{"Content-Encoding", "gzip"}, good, 415, "compressed"},
		{"nothing", "POST", "/adt", er7, [2]string{}, nil, 400, "want one HL7 v2 message"},
		{"white space", "POST", "/adt", er7, [2]string{}, []byte("\r\n \x00"), 400, "want one HL7 v2 message"},
		{"as long as can be", "POST", "/adt", er7, [2]string{}, pad(good, 1<<10), 200, "\rMSA|AA|1"},
		{"longer", "POST", "/adt", er7, [2]string{}, pad(good, 1<<10+1), 413, "longer than 1024 bytes"},
		{"GET", "GET", "/adt", "", [2]string{}, nil, 405, "want POST"},
		{"OPTIONS", "OPTIONS", "/adt", "", [2]string{}, nil, 405, "want POST"},
		{"another path", "POST", "/", er7, [2]string{}, good, 404, "no feed"},
		{"below the path", "POST", "/adt/1", er7, [2]string{}, good, 404, "no feed"},
		{"a page in a browser", "POST", "/adt", "text/plain", [2]string{"Origin", "https://example.org"}, good, 403, "web pages"},
		{"a page of our own", "POST", "/adt", "text/plain", [2]string{"Sec-Fetch-Site", "same-origin"}, good, 403, "web pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunked := range []bool{false, true} {
				var body io.Reader = bytes.NewReader(c.body)
				if chunked && len(c.body) > 0 {
					body = struct{ io.Reader }{body}
				}
				r := request(t, c.method, "http://"+l.Addr().String()+c.path, c.kind, body)
				if c.header[0] != "" {
					r.Header.Set(c.header[0], c.header[1])
				}
				got := post(t, newClient(t), r)
				if got.status != c.status || !strings.Contains(got.body, c.want) || c.want == "" && got.body != "" {
					t.Errorf("chunked %v: got %d, %q, want %d, %q", chunked, got.status, got.body, c.status, c.want)
				}
				if c.status == 200 && c.want != "" && !strings.HasPrefix(strings.ToLower(c.kind), got.header.Get("Content-Type")) {
					t.Errorf("reply is %q, want the request's type", got.header.Get("Content-Type"))
				}
				if c.status == 405 && got.header.Get("Allow") != "POST" {
					t.Error("does not say what it allows")
				}
			}
		})
	}
	s := l.Stats()
	if s.Framing["too-long"] != 2 || s.Framing["empty"] != 4 {
		t.Errorf("framing errors %v, want 2 too long and 4 empty", s.Framing)
	}
	for _, private := range []string{"MARLOWE", "9990000018", "from=pas"} {
		if strings.Contains(log.String(), private) {
			t.Errorf("the log tells %q", private)
		}
	}
}

// pad makes the message that long.
func pad(message []byte, size int) []byte {
	return append(bytes.Clone(message), bytes.Repeat([]byte("x"), size-len(message))...)
}

func TestHold(t *testing.T) {
	for _, c := range []struct {
		name string
		hold feed.Hold
		code string // of the acknowledgement; none where the request has only waited
	}{
		{"hold", feed.Wait, ""},
		{"nack", feed.Nack, "AE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			config.Policy.Hold = c.hold
			config.HoldTimeout, config.RetryAfter = 20*time.Millisecond, 1500*time.Millisecond
			l, _ := listen(t, func(context.Context, feed.Message) (feed.Ack, error) { return nil, feed.ErrHold }, quiet, config)
			r := request(t, "POST", "http://"+l.Addr().String()+"/", "application/hl7-v2", bytes.NewReader(feedtest.ADT("1")))
			got := post(t, newClient(t), r)
			if got.status != 503 || got.header.Get("Retry-After") != "2" {
				t.Errorf("got %d, Retry-After %q, want 503 and 2", got.status, got.header.Get("Retry-After"))
			}
			ack, err := hl7.ParseAck([]byte(got.body))
			if string(ack.Code) != c.code {
				t.Errorf("got %q (%v), want code %q", got.body, err, c.code)
			}
		})
	}
}

func TestRejectionsAreReplies(t *testing.T) {
	l, _ := listen(t, func(context.Context, feed.Message) (feed.Ack, error) { return nil, feed.ErrRefuse }, quiet, testConfig())
	r := request(t, "POST", "http://"+l.Addr().String()+"/", "application/hl7-v2", bytes.NewReader(feedtest.ADT("1")))
	if got := post(t, newClient(t), r); got.status != 200 || !strings.Contains(got.body, "\rMSA|AR|1") {
		t.Errorf("got %d, %q, want 200 with AR", got.status, got.body)
	}
}

func TestFeedsShareAnAddress(t *testing.T) {
	pas, ed := testConfig(), testConfig()
	pas.Path, ed.Path, ed.Name = "/pas", "/ed", "ed"
	ed.Policy.Unreadable = feed.RejectUnreadable
	feeds := make(chan string, 10)
	l, _ := listen(t, func(_ context.Context, m feed.Message) (feed.Ack, error) {
		feeds <- m.Feed
		return m.Ack, nil
	}, quiet, pas, ed)
	client := newClient(t)
	for _, path := range []string{"/pas", "/ed", "/ed"} {
		got := post(t, client, request(t, "POST", "http://"+l.Addr().String()+path, "application/hl7-v2", bytes.NewReader(feedtest.ADT("1"))))
		if got.status != 200 {
			t.Fatalf("%s: got %d", path, got.status)
		}
		if got := <-feeds; "/"+got != path {
			t.Errorf("%s: taken by feed %q", path, got)
		}
	}
	if p, e := l.Stats(), l.StatsOf("ed"); p.Accepted != 1 || e.Accepted != 2 || p.Opened != 1 || e.Opened != 1 {
		t.Errorf("got %+v and %+v", p, e)
	}
	if s := l.StatsOf("other"); s.Accepted != 0 {
		t.Errorf("got %+v for no feed", s)
	}
}

func TestFeedsThatCanNotShare(t *testing.T) {
	base := testConfig()
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"the same name":        {func(c *Config) { c.Path = "/b" }, "name"},
		"the same path":        {func(c *Config) { c.Name = "b" }, "path"},
		"another address":      {func(c *Config) { c.Name, c.Path, c.Address = "b", "/b", "127.0.0.2:0" }, "address"},
		"another allow-list":   {func(c *Config) { c.Name, c.Path, c.Allow = "b", "/b", feed.AllowList{netip.MustParsePrefix("::/0")} }, "allow"},
		"TLS beside plain":     {func(c *Config) { c.Name, c.Path, c.TLS = "b", "/b", &feed.TLS{Cert: "c", Key: "k"} }, "tls"},
		"what is itself wrong": {func(c *Config) { c.Name, c.Path = "b", "b" }, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			other := base
			c.change(&other)
			if l, err := Listen(base, quiet, other); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %s", err, c.want)
				if l != nil {
					l.Close()
				}
			}
		})
	}
}

func TestAllowList(t *testing.T) {
	c := testConfig()
	c.Allow = feed.AllowList{netip.MustParsePrefix("192.0.2.0/24")}
	l, _ := listen(t, keep, quiet, c)
	conn := dial(t, l.Addr())
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a stranger was served")
	}
	eventually(t, "counted as denied", func() bool { s := l.Stats(); return s.Denied == 1 && s.Opened == 0 })
}

func TestConnectionLimit(t *testing.T) {
	c := testConfig()
	c.MaxConnections = 2
	l, _ := listen(t, keep, quiet, c)
	first, second := dial(t, l.Addr()), dial(t, l.Addr())
	eventually(t, "two are open", func() bool { return l.Stats().Open == 2 })
	if n, err := dial(t, l.Addr()).Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a third was served")
	}
	eventually(t, "counted as refused", func() bool { return l.Stats().Refused == 1 })
	first.Close()
	eventually(t, "one has gone, as a probe", func() bool { s := l.Stats(); return s.Open == 1 && s.Probes == 1 })
	got := post(t, newClient(t), request(t, "POST", "http://"+l.Addr().String()+"/", "text/plain", bytes.NewReader(feedtest.ADT("1"))))
	if got.status != 200 {
		t.Errorf("got %d after a place was free again", got.status)
	}
	second.Close()
}

// What does not come in time ends with a reply, and takes no place for ever.
func TestSlowPeers(t *testing.T) {
	c := testConfig()
	c.HeaderTimeout, c.BodyIdle, c.BodyTimeout, c.Idle = 50*time.Millisecond, 50*time.Millisecond, 150*time.Millisecond, 50*time.Millisecond
	l, _ := listen(t, keep, quiet, c)
	head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n"
	for _, s := range []struct {
		name string
		said string
		more bool // goes on, a byte at a time
		want string
	}{
		{"says nothing", "", false, ""},
		{"half a head", "POST / HTTP/1.1\r\nHost", false, ""},
		{"half a message", head + "MSH|", false, "HTTP/1.1 408 "},
		{"a byte at a time", head, true, "HTTP/1.1 408 "},
	} {
		t.Run(s.name, func(t *testing.T) {
			conn := dial(t, l.Addr())
			if _, err := io.WriteString(conn, s.said); err != nil {
				t.Fatal(err)
			}
			if s.more {
				go func() {
					for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
						if _, err := conn.Write([]byte("x")); err != nil {
							tick.Stop()
							return
						}
					}
				}()
			}
			// The reset that an early end brings is as good an end.
			got, _ := io.ReadAll(conn)
			if !strings.HasPrefix(string(got), s.want) || s.want == "" && len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 4") {
				t.Errorf("got %q, want %q", got, s.want)
			}
			conn.Close()
		})
	}
	eventually(t, "all are gone", func() bool { return l.Stats().Open == 0 })
	if s := l.Stats(); s.Framing["missing-end"] != 2 {
		t.Errorf("framing errors %v, want 2 without an end", s.Framing)
	}
}

// A connection that is open without a request, and one in the middle of a
// message, do not hold a stop up.
func TestStopDoesNotWaitForPeers(t *testing.T) {
	l, stop := listen(t, keep, quiet, testConfig())
	silent, partial, idle := dial(t, l.Addr()), dial(t, l.Addr()), dial(t, l.Addr())
	good := feedtest.ADT("1")
	fmt.Fprintf(idle, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(good), good)
	response, err := http.ReadResponse(bufio.NewReader(idle), nil)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("got %v, %v", response, err)
	}
	fmt.Fprintf(partial, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(good))
	in := bufio.NewReader(partial)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v", line, err) // now the handler reads
	}
	if _, err := in.Discard(2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are open", func() bool { return l.Stats().Open == 3 })
	start := time.Now()
	stop()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if response, err := http.ReadResponse(in, nil); err != nil || response.StatusCode != 503 {
		t.Errorf("the sender of half a message got %v, %v, want 503", response, err)
	}
	if n, _ := silent.Read(make([]byte, 1)); n != 0 {
		t.Error("a silent connection got something")
	}
	if s := l.Stats(); s.Open != 0 || s.Accepted != 1 {
		t.Errorf("got %+v", s)
	}
}

// Only so many large messages are held at once; the others wait, and small
// ones pass them.
func TestLargeMessagesWaitForEachOther(t *testing.T) {
	c := testConfig()
	c.MaxLarge = 1
	gate := make(chan struct{})
	arrived := make(chan int, 10)
	l, _ := listen(t, func(_ context.Context, m feed.Message) (feed.Ack, error) {
		arrived <- len(m.Body)
		if len(m.Body) > largeMessage {
			<-gate
		}
		return m.Ack, nil
	}, quiet, c)
	url := "http://" + l.Addr().String() + "/"
	done := make(chan int, 3)
	send := func(body []byte) {
		go func() {
			done <- post(t, newClient(t), request(t, "POST", url, "text/plain", bytes.NewReader(body))).status
		}()
	}
	big := pad(feedtest.ADT("1"), 2<<20)
	send(big)
	<-arrived
	send(big)
	send(feedtest.ADT("2"))
	if n := <-arrived; n > largeMessage {
		t.Error("two large messages were held at once")
	}
	close(gate)
	for range 3 {
		if status := <-done; status != 200 {
			t.Errorf("got %d", status)
		}
	}
}

func TestTLS(t *testing.T) {
	ours, theirs := feedtest.NewAuthority(t, "ours"), feedtest.NewAuthority(t, "theirs")
	server, _ := ours.Issue("server")
	mutual := server
	mutual.CA = ours.CA()
	client, _ := ours.Issue("client")
	client.CA = ours.CA()
	stranger, _ := theirs.Issue("stranger")
	stranger.CA = ours.CA()
	for _, c := range []struct {
		name     string
		listener feed.TLS
		sender   feed.TLS
		ok       bool
	}{
		{"a sender that trusts us", server, feed.TLS{CA: ours.CA()}, true},
		{"a sender that does not", server, feed.TLS{CA: theirs.CA()}, false},
		{"mutual", mutual, client, true},
		{"mutual, without a certificate", mutual, feed.TLS{CA: ours.CA()}, false},
		{"mutual, with a stranger's", mutual, stranger, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			config.TLS = &c.listener
			l, _ := listen(t, keep, quiet, config)
			dialling, err := c.sender.Dialling("127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{TLSClientConfig: dialling}
			defer transport.CloseIdleConnections()
			r := request(t, "POST", "https://"+l.Addr().String()+"/", "text/plain", bytes.NewReader(feedtest.ADT("1")))
			response, err := (&http.Client{Transport: transport, Timeout: deadline}).Do(r)
			if (err == nil) != c.ok {
				t.Fatalf("got %v, want it to work: %v", err, c.ok)
			}
			if err == nil {
				response.Body.Close()
				return
			}
			eventually(t, "counted as denied", func() bool { return l.Stats().Denied == 1 })
			if s := l.Stats(); s.Accepted != 0 {
				t.Error("the message was accepted")
			}
		})
	}
}

func TestTLSPeersThatAreNone(t *testing.T) {
	ours := feedtest.NewAuthority(t, "ours")
	server, _ := ours.Issue("server")
	config := testConfig()
	config.TLS = &server
	var log lockedBuffer
	l, _ := listen(t, keep, slog.New(slog.NewTextHandler(&log, nil)), config)
	dial(t, l.Addr()).Close()
	eventually(t, "a probe is a probe", func() bool { s := l.Stats(); return s.Probes == 1 && s.Denied == 0 })
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("a probe is in the log: %s", log.String())
	}
	plain := dial(t, l.Addr())
	fmt.Fprint(plain, "POST / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.ReadAll(plain)
	eventually(t, "plain HTTP is denied", func() bool { return l.Stats().Denied == 1 })
	old, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		old.Close()
		t.Error("TLS 1.1 was taken")
	}
}

func TestTLSIsReloaded(t *testing.T) {
	ours := feedtest.NewAuthority(t, "ours")
	server, first := ours.Issue("server")
	config := testConfig()
	config.TLS = &server
	l, _ := listen(t, keep, quiet, config)
	pem, err := os.ReadFile(ours.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	presents := func() int64 {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: deadline}, "tcp", l.Addr().String(), &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := presents(); got != first {
		t.Fatalf("presents %d, want %d", got, first)
	}
	_, second := ours.Issue("server")
	if got := presents(); got != second {
		t.Errorf("after a new certificate it presents %d, want %d", got, second)
	}
}

func TestListenFails(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	c := testConfig()
	c.Address = used.Addr().String()
	if _, err := Listen(c, quiet); err == nil {
		t.Error("listens on a port that is in use")
	}
	c = testConfig()
	c.TLS = &feed.TLS{Cert: "missing.pem", Key: "missing.key"}
	if _, err := Listen(c, quiet); err == nil {
		t.Error("listens without its certificate")
	}
}

// Noise on the port is counted, whoever made it.
func TestNoiseIsCounted(t *testing.T) {
	l, _ := listen(t, keep, quiet, testConfig())
	conn := dial(t, l.Addr())
	fmt.Fprint(conn, "\vMSH|^~\\&|\r\x1c\r\n\r\n")
	_, _ = io.ReadAll(conn)
	conn.Close()
	eventually(t, "counted as noise", func() bool { return l.Stats().Framing["noise"] == 1 })
}

// Many messages on one connection, as engines send them.
func TestKeepsConnections(t *testing.T) {
	l, _ := listen(t, keep, quiet, testConfig())
	client := newClient(t)
	for i := range 100 {
		got := post(t, client, request(t, "POST", "http://"+l.Addr().String()+"/", "text/plain", bytes.NewReader(feedtest.ADT(fmt.Sprint(i)))))
		if !strings.Contains(got.body, fmt.Sprintf("\rMSA|AA|%d", i)) {
			t.Fatalf("got %d, %q", got.status, got.body)
		}
	}
	if s := l.Stats(); s.Opened != 1 || s.Accepted != 100 {
		t.Errorf("opened %d connections for %d messages, want 1 for 100", s.Opened, s.Accepted)
	}
}
