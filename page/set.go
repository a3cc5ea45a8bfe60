package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/safeguard-edge/safeguard"
)

//go:embed templates/*.html static/*
var files embed.FS

// Set is the pages of a program: each a template of its own within the program's
// layout. All may use the templates and functions that the programs share.
type Set map[string]*template.Template

// NewSet reads the templates in the folder templates of own: layout.html, and one
// for each page, which defines a template of the file's name. more is what the
// program's own functions are, or has shared ones do otherwise.
func NewSet(own fs.FS, more template.FuncMap) Set {
	shared := template.FuncMap{"icon": Icon, "duration": safeguard.InWords, "bytes": Size, "share": Share, "static": staticPath}
	layout := template.Must(template.New("").Funcs(shared).Funcs(more).ParseFS(files, "templates/*.html"))
	template.Must(layout.ParseFS(own, "templates/layout.html"))
	all := Set{}
	names, _ := fs.Glob(own, "templates/*.html")
	for _, file := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name == "layout" {
			continue
		}
		page := template.Must(template.Must(layout.Clone()).ParseFS(own, file))
		all[name] = template.Must(page.AddParseTree("content", page.Lookup(name).Tree))
	}
	return all
}

const leastPacked = 2 << 10 // bytes

// Draw writes a page, packed where the browser takes it so. With ?fragment it is
// its changing part alone. Nothing is written after an error.
func (s Set) Draw(w http.ResponseWriter, r *http.Request, status int, page string, data any) error {
	name := "layout"
	if Fragment(r) {
		name = page
	}
	var out bytes.Buffer
	if err := s[page].ExecuteTemplate(&out, name, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept-Encoding")
	if out.Len() < leastPacked || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		_, _ = w.Write(out.Bytes())
		return nil
	}
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	_, _ = w.Write(packed(out.Bytes()))
	return nil
}

// Fragment tells whether the changing part of a page is wanted alone.
func Fragment(r *http.Request) bool { return r.URL.Query().Has("fragment") }

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

// Static serves what all pages need. It is for the path GET /static/{file}.
func Static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if digests()[name] == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeFileFS(w, r, files, "static/"+name)
}
