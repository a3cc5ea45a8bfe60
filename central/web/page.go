package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

//go:embed templates/*.html static/*
var files embed.FS

// errNotFound says that there is nothing of that name to show.
var errNotFound = errors.New("not found")

// shown is what every page is drawn from.
type shown struct {
	Title   string
	Page    string // its template
	Session store.Session
	Self    string // path and query
	Now     time.Time
	Content any

	server *Server
}

// May tells whether who is signed in has the role.
func (p shown) May(role string) bool {
	var r store.Role
	return r.UnmarshalText([]byte(role)) == nil && p.Session.Role >= r
}

// With is a part of the page with all that a template needs to draw it.
func (p shown) With(part any) map[string]any { return map[string]any{"Page": p, "Part": part} }

// SignedIn tells whether somebody is.
func (p shown) SignedIn() bool { return p.Session.ID != nil }

// page draws a page of what content gives. With ?fragment it is its changing part
// alone.
func (s *Server) page(name string, content func(r *http.Request, now time.Time) (title string, content any, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		title, content, err := content(r, now)
		switch {
		case errors.Is(err, errNotFound):
			s.fail(w, r, http.StatusNotFound, "There is no such page.")
			return
		case err != nil:
			s.broken(w, r, err)
			return
		}
		whole := "layout"
		query := r.URL.Query()
		if query.Has("fragment") {
			whole = name
			query.Del("fragment")
		}
		self := r.URL.Path
		if len(query) > 0 {
			self += "?" + query.Encode()
		}
		s.draw(w, r, http.StatusOK, whole, shown{Title: title, Page: name, Session: sessionOf(r), Self: self, Now: now, Content: content, server: s})
	})
}

// draw writes a page, packed where the browser takes it so.
func (s *Server) draw(w http.ResponseWriter, r *http.Request, status int, name string, p shown) {
	var out bytes.Buffer
	if err := s.drawn[p.Page].ExecuteTemplate(&out, name, p); err != nil {
		s.Log.Error("page not drawn", "page", p.Page, "err", err)
		http.Error(w, "This page could not be drawn.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept-Encoding")
	if out.Len() < 2<<10 || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		_, _ = w.Write(out.Bytes())
		return
	}
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	packed, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	_, _ = packed.Write(out.Bytes())
	_ = packed.Close()
}

// fail says in a page what is not as it should be.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.draw(w, r, status, "layout", shown{Title: http.StatusText(status), Page: "message", Session: sessionOf(r), Now: time.Now(), Content: text, server: s})
}

// broken is when the store does not answer.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits for it any more
	}
	s.Log.Warn("page not made", "path", r.URL.Path, "err", err)
	w.Header().Set("Retry-After", "5")
	s.fail(w, r, http.StatusServiceUnavailable, "The centre can not read its store just now. Flags are another matter: see whether lookups are answered. Try again in a moment.")
}

// parse makes the template of each page, which shows times in the zone.
func parse(zone *time.Location, book string) map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(template.FuncMap{
		"when":    func(at time.Time) template.HTML { return moment(at.In(zone), "2 Jan 15:04") },
		"clock":   func(at time.Time) template.HTML { return moment(at.In(zone), "15:04:05") },
		"runbook": func(code safeguard.WarningCode) string { return book + "#" + string(code) },
		"icon":    icon, "duration": duration, "bytes": size, "share": share, "static": staticPath,
	}).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	names, _ := fs.Glob(files, "templates/*.html")
	for _, file := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		page := template.Must(template.Must(layout.Clone()).ParseFS(files, file))
		all[name] = template.Must(page.AddParseTree("content", page.Lookup(name).Tree))
	}
	return all
}

func moment(at time.Time, layout string) template.HTML {
	if at.IsZero() || at.Unix() <= 0 {
		return "never"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, at.Format(time.RFC3339), at.Format(layout)))
}

// icon is a sign for a severity that does not need its colour to be told.
func icon(s safeguard.Severity) string {
	return map[safeguard.Severity]string{safeguard.Critical: "■", safeguard.Attention: "▲", safeguard.Notice: "●"}[s]
}

// duration is in the two units that matter.
func duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "none"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

func share(part, whole int) string {
	if whole == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// overviews makes an overview for all who look at the time. It is made when
// somebody looks, and not more often than keeps it fresh.
type overviews struct {
	source fleet.Source
	mu     sync.Mutex // guards last, and has others wait for the one that is being made
	last   fleet.Overview
}

// fresh is how old an overview may be: less than the watcher needs to find
// anything.
const fresh = 3 * time.Second

func (o *overviews) look(ctx context.Context, now time.Time) (fleet.Overview, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if age := now.Sub(o.last.At); age >= 0 && age < fresh {
		return o.last, nil
	}
	seen, err := fleet.Look(ctx, o.source, now)
	if err != nil {
		return fleet.Overview{}, err
	}
	o.last = seen
	return seen, nil
}

// forget has the next look see what was just changed.
func (o *overviews) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = fleet.Overview{}
}

// digests are of the static files, so that a browser keeps each until it changes.
var digests = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	names, _ := fs.Glob(files, "static/*")
	for _, name := range names {
		text, _ := files.ReadFile(name)
		sum := sha256.Sum256(text)
		all[strings.TrimPrefix(name, "static/")] = hex.EncodeToString(sum[:8])
	}
	return all
})

func staticPath(name string) string { return "/static/" + name + "?" + digests()[name] }

func static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if digests()[name] == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeFileFS(w, r, files, "static/"+name)
}
