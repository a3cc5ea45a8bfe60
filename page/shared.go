package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Shared draws the changing part of a page once for all who see the same of it at
// the time, however many look: pages that keep themselves up to date all ask at the
// same time.
type Shared struct {
	Pages http.Handler
	Sees  func(r *http.Request) string // what of who looks a page depends on

	mu    sync.Mutex // guards drawn
	drawn map[sight]*drawing
}

// sight is what somebody sees of a page.
type sight struct{ as, of string }

const (
	sharedFor  = 2 * time.Second // less than pages are apart that keep themselves up to date
	sharedTime = 10 * time.Second
)

// drawing is a page's changing part, for one browser after the other.
type drawing struct {
	begun  time.Time
	once   sync.Once
	header http.Header
	status int // 0 for none yet
	body   bytes.Buffer
	digest [sha256.Size]byte
	pack   sync.Once
	packed []byte
}

func (s *Shared) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !Fragment(r) {
		s.Pages.ServeHTTP(w, r)
		return
	}
	d := s.draw(r)
	h := w.Header()
	for name, values := range d.header {
		h[name] = values
	}
	if d.body.Len() >= leastPacked && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		w.WriteHeader(d.status)
		_, _ = w.Write(d.gzip())
		return
	}
	w.WriteHeader(d.status)
	_, _ = w.Write(d.body.Bytes())
}

// draw gives what was drawn for somebody who sees the same, or draws it.
func (s *Shared) draw(r *http.Request) *drawing {
	key := sight{s.Sees(r), r.URL.Path + "?" + r.URL.Query().Encode()}
	now := time.Now()
	s.mu.Lock()
	d := s.drawn[key]
	if d == nil || now.Sub(d.begun) >= sharedFor {
		if s.drawn == nil {
			s.drawn = map[sight]*drawing{}
		}
		maps.DeleteFunc(s.drawn, func(_ sight, old *drawing) bool { return now.Sub(old.begun) >= sharedFor })
		d = &drawing{begun: now, header: http.Header{}}
		s.drawn[key] = d
	}
	s.mu.Unlock()
	d.once.Do(func() {
		defer func() {
			if d.status == 0 { // it has panicked
				d.status = http.StatusInternalServerError
			}
		}()
		// Others wait for it who are there still when the one who asked first has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), sharedTime)
		defer cancel()
		plain := r.Clone(ctx)
		plain.Header.Del("Accept-Encoding")
		s.Pages.ServeHTTP(d, plain)
		d.digest = sha256.Sum256(d.body.Bytes())
	})
	return d
}

// Header implements http.ResponseWriter.
func (d *drawing) Header() http.Header { return d.header }

// WriteHeader implements http.ResponseWriter.
func (d *drawing) WriteHeader(status int) { d.status = status }

func (d *drawing) Write(text []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	return d.body.Write(text)
}

func (d *drawing) gzip() []byte {
	d.pack.Do(func() { d.packed = packed(d.body.Bytes()) })
	return d.packed
}

// packed is text as gzip has it, made quickly.
func packed(text []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	_, _ = w.Write(text)
	_ = w.Close()
	return out.Bytes()
}
