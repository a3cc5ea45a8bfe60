package page

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	liveEach  = 5 * time.Second
	liveWrite = 10 * time.Second // for one event
	mostLive  = 500              // pages at a time
)

// Live tells a page when what it shows has changed, as events of the server
// (WHATWG HTML, server-sent events). The page then asks for its changing part. It
// is for the path /live.
type Live struct {
	Pages http.Handler
	Ended func(r *http.Request) bool // whether who looks may no longer; nil for never

	watching atomic.Int64 // pages that keep themselves up to date
}

func (l *Live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	of, err := url.Parse(r.URL.Query().Get("of"))
	if err != nil || r.Method != http.MethodGet || !strings.HasPrefix(of.Path, "/") || of.Path == "/live" {
		http.Error(w, "want of, the path of a page", http.StatusBadRequest)
		return
	}
	if l.watching.Add(1) > mostLive {
		l.watching.Add(-1)
		http.Error(w, "too many pages keep themselves up to date", http.StatusServiceUnavailable)
		return
	}
	defer l.watching.Add(-1)
	query := of.Query()
	query.Set("fragment", "")
	page := r.Clone(r.Context())
	page.URL = &url.URL{Path: of.Path, RawQuery: query.Encode()}
	page.Header.Del("Accept-Encoding")

	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for last := ""; ; {
		event := ": nothing new\n\n" // so that a page that has gone is found out
		switch now, ok := l.digest(page); {
		case ok && last != "" && now != last:
			event, last = "event: changed\ndata:\n\n", now
		case ok:
			last = now
		}
		if l.Ended != nil && l.Ended(r) {
			event = "event: ended\ndata:\n\n"
		}
		_ = out.SetReadDeadline(time.Time{}) // nothing more is to come
		_ = out.SetWriteDeadline(time.Now().Add(liveWrite))
		if _, err := fmt.Fprint(w, event); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Until(time.Now().Truncate(liveEach).Add(liveEach))): // with all others, so that it is drawn once
		}
	}
}

// digest is of what a page shows now.
func (l *Live) digest(page *http.Request) (string, bool) {
	if shared, ok := l.Pages.(*Shared); ok {
		d := shared.draw(page)
		return string(d.digest[:]), d.status == http.StatusOK
	}
	seen := digesting{header: http.Header{}, hash: sha256.New(), status: http.StatusOK}
	l.Pages.ServeHTTP(&seen, page)
	return string(seen.hash.Sum(nil)), seen.status == http.StatusOK
}

// digesting takes what is written to it for no more than its digest.
type digesting struct {
	header http.Header
	hash   hash.Hash
	status int
}

func (d *digesting) Header() http.Header                  { return d.header }
func (d *digesting) WriteHeader(status int)               { d.status = status }
func (d *digesting) Write(text []byte) (n int, err error) { return d.hash.Write(text) }
