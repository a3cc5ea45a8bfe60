package page_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard/page"
)

// counting is a page that says who looks at what, and counts how often it is drawn.
type counting struct{ drawn atomic.Int64 }

func (c *counting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.drawn.Add(1)
	if r.URL.Path == "/broken" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprint(w, r.Header.Get("Role"), " sees ", r.URL.Path, " ", r.URL.Query().Get("q"), strings.Repeat(".", 4<<10))
}

func TestAPageIsDrawnOnceForAllWhoSeeTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{}
		shared := &page.Shared{Pages: c, Sees: func(r *http.Request) string { return r.Header.Get("Role") }}
		get := func(role, path string, packed bool) string {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Header.Set("Role", role)
			if packed {
				r.Header.Set("Accept-Encoding", "gzip, br")
			}
			w := httptest.NewRecorder()
			shared.ServeHTTP(w, r)
			body := io.Reader(w.Body)
			if (w.Header().Get("Content-Encoding") == "gzip") != packed {
				t.Errorf("encoding %q", w.Header().Get("Content-Encoding"))
			}
			if packed {
				var err error
				if body, err = gzip.NewReader(body); err != nil {
					t.Error(err)
					return ""
				}
			}
			text, err := io.ReadAll(body)
			if err != nil || w.Header().Get("Content-Type") != "text/html" {
				t.Errorf("%v, header %v", err, w.Header())
			}
			return fmt.Sprint(w.Code, " ", strings.TrimRight(string(text), "."))
		}
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() {
				role := []string{"viewer", "operator"}[i%2]
				if got, want := get(role, "/?fragment&q=north", i%3 == 0), "200 "+role+" sees / north"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
		all.Wait()
		if n := c.drawn.Load(); n != 2 {
			t.Errorf("drawn %d times for 300 who look, want once for each role", n)
		}
		for _, tt := range []struct {
			path string
			want string
			more int64 // drawings
		}{
			{"/?q=north&fragment", "200 viewer sees / north", 0}, // the same, asked otherwise
			{"/?q=south&fragment", "200 viewer sees / south", 1},
			{"/other?q=north&fragment", "200 viewer sees /other north", 1},
			{"/?q=north", "200 viewer sees / north", 1}, // a whole page is always drawn
			{"/?q=north", "200 viewer sees / north", 1},
			{"/broken?fragment", "503 viewer sees /broken ", 1},
			{"/broken?fragment", "503 viewer sees /broken ", 0},
		} {
			before := c.drawn.Load()
			if got := get("viewer", tt.path, false); got != tt.want || c.drawn.Load()-before != tt.more {
				t.Errorf("%s: got %q, drawn %d times more, want %q and %d", tt.path, got, c.drawn.Load()-before, tt.want, tt.more)
			}
		}
		before := c.drawn.Load()
		time.Sleep(2 * time.Second)
		if get("viewer", "/?fragment&q=north", false); c.drawn.Load() != before+1 {
			t.Error("two seconds later it is not drawn anew")
		}
	})
}

// Who asked first and has gone does not take the page from those who wait for it.
func TestAPageIsDrawnToItsEnd(t *testing.T) {
	shared := &page.Shared{Sees: func(*http.Request) string { return "" }, Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Err() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, "whole")
	})}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	w := httptest.NewRecorder()
	shared.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/?fragment", nil))
	if w.Code != http.StatusOK || w.Body.String() != "whole" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}
