package httpfeed

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long a test waits for what must come.
const deadline = time.Minute

var quiet = slog.New(slog.DiscardHandler)

func testConfig() Config {
	c := DefaultConfig()
	c.Name, c.Address = "pas", "127.0.0.1:0"
	return c
}

// keep is an Accept that keeps everything.
func keep(_ context.Context, m feed.Message) (feed.Ack, error) { return m.Ack, nil }

// listen starts a feed; it must end cleanly when the test does, or before.
func listen(t testing.TB, accept feed.Accept, log *slog.Logger, c Config, more ...Config) (l *Listener, stop func()) {
	t.Helper()
	l, err := Listen(c, log, more...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, accept) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(deadline):
			t.Error("run did not end")
		}
	})
	t.Cleanup(stop)
	return l, stop
}

// answer is what a sender sees.
type answer struct {
	status int
	header http.Header
	body   string
}

// post sends a request over a connection of its own.
func post(t testing.TB, client *http.Client, r *http.Request) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	response, err := client.Do(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func request(t testing.TB, method, url, kind string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return r
}

func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// dial opens a connection that gives up in time.
func dial(t testing.TB, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), deadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return conn
}

var eventually = feedtest.Eventually

type lockedBuffer = loggingtest.Log
