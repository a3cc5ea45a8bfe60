package httpfeed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

func TestListenerConforms(t *testing.T) {
	feedtest.Run(t, feedtest.Subject{Answers: true, Open: func(_ testing.TB, p feed.Policy) feedtest.Site {
		c := testConfig()
		c.Policy, c.MaxMessage = p, 1<<20
		return &site{config: c}
	}})
}

// Senders that wait for a reply less long than intake is on hold get a 503,
// and send again.
func TestImpatientListenerConforms(t *testing.T) {
	feedtest.Run(t, feedtest.Subject{Answers: true, Open: func(_ testing.TB, p feed.Policy) feedtest.Site {
		c := testConfig()
		c.Policy, c.MaxMessage, c.HoldTimeout = p, 1<<20, time.Millisecond
		return &site{config: c}
	}})
}

// site is a port.
type site struct{ config Config }

func (s *site) Feed() (feedtest.Feed, error) {
	l, err := Listen(s.config, quiet)
	if err == nil && s.config.Address == testConfig().Address {
		s.config.Address = l.Addr().String()
	}
	return l, err
}

func (s *site) Peer() feedtest.Peer {
	return &poster{site: s, client: &http.Client{Transport: &http.Transport{}}}
}

// poster is a sender with connections of its own.
type poster struct {
	site   *site
	client *http.Client
}

func (p *poster) Send(ctx context.Context, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.site.config.Address+p.site.config.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/hl7-v2; charset=utf-8")
	response, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusOK:
		return got, nil
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "":
		return nil, errors.New("a 503 without Retry-After")
	case response.StatusCode == http.StatusServiceUnavailable && bytes.HasPrefix(got, []byte("MSH")):
		return got, nil
	}
	return nil, fmt.Errorf("status %s", response.Status)
}

func (p *poster) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// Misbehaviour is what peers on a connection do wrong. The feed may close
// first; that is its right.
func (s *site) Misbehaviour() map[string]func(context.Context) error {
	say := func(what ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", s.config.Address)
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, part := range what {
				if _, err := io.WriteString(conn, part); err != nil {
					return nil
				}
			}
			return nil
		}
	}
	head := func(lines ...string) string {
		return "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/hl7-v2\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	good := string(feedtest.ADT("odd"))
	length := fmt.Sprintf("Content-Length: %d", len(good))
	return map[string]func(context.Context) error{
		"a probe":                     say(),
		"noise":                       say("hello?\r\n\r\n"),
		"an MLLP frame":               say("\v" + good + "\x1c\r"),
		"a TLS hello":                 say("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"an HTTP/2 preface":           say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		"half a head":                 say("POST / HTTP/1.1\r\nHost: x\r\nContent-"),
		"a head without end":          say("POST / HTTP/1.1\r\n" + strings.Repeat("X-Filler: filler\r\n", 10_000)),
		"half a message":              say(head(length), good[:40]),
		"half a chunk":                say(head("Transfer-Encoding: chunked"), "40\r\n", good[:20]),
		"a chunk without a length":    say(head("Transfer-Encoding: chunked"), "xyz\r\n", good),
		"a length and chunks":         say(head(length, "Transfer-Encoding: chunked"), "0\r\n\r\n", good),
		"two lengths":                 say(head(length, "Content-Length: 3"), good),
		"a length below zero":         say(head("Content-Length: -1"), good),
		"a length over the limit":     say(head("Content-Length: 99999999999"), good),
		"a message over the limit":    say(head("Content-Length: 3000000"), strings.Repeat("x", 3_000_000)),
		"chunks over the limit":       say(head("Transfer-Encoding: chunked"), strings.Repeat("8000\r\n"+strings.Repeat("x", 0x8000)+"\r\n", 100)),
		"nothing in it":               say(head("Content-Length: 0")),
		"a GET":                       say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"another path":                say(strings.Replace(head(length), "POST /", "POST /other", 1), good),
		"a path out of the folder":    say(strings.Replace(head(length), "POST /", "POST /../../etc/passwd", 1), good),
		"another type":                say(strings.Replace(head(length), "hl7-v2", "json", 1), good),
		"answers it does not read":    say(strings.Repeat(head(length)+good, 2000)),
		"leaving before the answer":   say(head(length), good),
		"a wait to be told to go on":  say(head(length, "Expect: 100-continue")),
		"a change of protocol":        say(head(length, "Connection: Upgrade", "Upgrade: websocket"), good),
		"a compressed message":        say(head(length, "Content-Encoding: gzip"), good),
		"trailers behind the message": say(head("Transfer-Encoding: chunked", "Trailer: X"), fmt.Sprintf("%x\r\n%s\r\n0\r\nX: y\r\n\r\n", len(good), good)),
	}
}
