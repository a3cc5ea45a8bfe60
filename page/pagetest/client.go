package pagetest

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Browser is a client with cookies that follows no redirect.
func Browser() *http.Client {
	jar, _ := cookiejar.New(nil)
	return &http.Client{
		Jar: jar, Timeout: time.Minute,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Page is what came of a request.
type Page struct {
	Status int
	To     string // where it sends
	Header http.Header
	Body   string
}

// Get asks for a page.
func Get(t testing.TB, b *http.Client, address string) Page {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	must(t, err)
	return do(t, b, r)
}

// Post sends a form, with headers of which each name stands before its value.
func Post(t testing.TB, b *http.Client, address string, form url.Values, headers ...string) Page {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	must(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return do(t, b, r)
}

func do(t testing.TB, b *http.Client, r *http.Request) Page {
	t.Helper()
	answer, err := b.Do(r)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	return Page{answer.StatusCode, answer.Header.Get("Location"), answer.Header, string(body)}
}
