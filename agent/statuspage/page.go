package statuspage

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/docs"
	"github.com/safeguard-edge/safeguard/page"
)

//go:embed templates/*.html
var files embed.FS

// drawn is what every page is drawn from.
type drawn struct {
	Title   string
	Page    string // its template
	Live    string // the path of a page that keeps itself up to date
	Content any
}

// parse makes the pages, which show times in the zone.
func parse(zone *time.Location) page.Set {
	return page.NewSet(files, template.FuncMap{
		"when":    func(at time.Time) template.HTML { return when(at.In(zone), time.Now()) },
		"clock":   func(at time.Time) template.HTML { return page.Moment(at.In(zone), "15:04:05") },
		"day":     func(at time.Time) template.HTML { return page.Moment(at.In(zone), "2 Jan 2006") },
		"runbook": func(code safeguard.WarningCode) string { return "/" + code.Declared().Runbook() },
	})
}

// when is a time and how long ago that is.
func when(at, now time.Time) template.HTML {
	if at.IsZero() || at.Unix() <= 0 {
		return "never"
	}
	layout := "2 Jan 15:04"
	if now.Sub(at).Abs() < 18*time.Hour {
		layout = "15:04"
	}
	said := page.Moment(at, layout)
	if !at.After(now) {
		said += template.HTML(` <span class="ago">(` + Ago(now, at) + `)</span>`)
	}
	return said
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	view := Look(s.Shown(), time.Now().In(s.parts.Zone))
	s.draw(w, r, http.StatusOK, drawn{Title: view.Report.Device + " · " + view.Report.State.String(), Page: "status", Live: "/", Content: view})
}

func (s *Server) draw(w http.ResponseWriter, r *http.Request, status int, d drawn) {
	if err := s.pages.Draw(w, r, status, d.Page, d); err != nil {
		s.log.Error("page not drawn", "page", d.Page, "err", err)
		http.Error(w, "This page could not be drawn.", http.StatusInternalServerError)
	}
}

func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	s.draw(w, r, http.StatusNotFound, drawn{Title: "Not found", Page: "message", Content: "There is no such page."})
}

// markdown writes what docs are written in: GitHub's, without HTML of their own.
var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

// document shows a page of the documentation: who needs the runbook may have no way
// to the network.
func (s *Server) document(w http.ResponseWriter, r *http.Request) {
	name := path.Clean(r.PathValue("name"))
	text, err := fs.ReadFile(docs.Files, name)
	var out bytes.Buffer
	if err == nil {
		err = markdown.Convert(text, &out)
	}
	if err != nil {
		s.nothing(w, r)
		return
	}
	title, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
	s.draw(w, r, http.StatusOK, drawn{Title: title, Page: "document", Content: template.HTML(out.String())})
}
