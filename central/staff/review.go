package staff

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

const (
	mostListed   = 500 // views that wait, on one page
	mostReviewed = 100 // that were reviewed
	mostNote     = 2000
)

// reviewList is the privacy officer's.
type reviewList struct {
	Waiting  []reviewRow
	Reviewed []store.BreakGlass
	Most     bool // there may be more that wait
}

type reviewRow struct {
	store.BreakGlass
	SiteName string // empty where the site takes part no more
}

// rows are views at the organisation with the names of their sites.
func (s *Server) rows(organisation safeguard.ODSCode, views ...store.BreakGlass) []reviewRow {
	names := map[safeguard.ODSCode]string{}
	for _, site := range s.Flags.Places(organisation) {
		names[site.Code] = site.Name
	}
	rows := make([]reviewRow, len(views))
	for i, v := range views {
		rows[i] = reviewRow{v, names[v.Site]}
	}
	return rows
}

func (s *Server) reviewList(w http.ResponseWriter, r *http.Request) {
	organisation := sessionOf(r).Organisation
	waiting, err := s.Store.BreakGlasses(r.Context(), organisation, false, mostListed)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	reviewed, err := s.Store.BreakGlasses(r.Context(), organisation, true, mostReviewed)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.draw(w, r, http.StatusOK, "break-glass", "Views by break-glass", reviewList{s.rows(organisation, waiting...), reviewed, len(waiting) == mostListed})
}

// reviewing is one view, with whom it was about. What is held for the person is
// not the privacy officer's to see.
type reviewing struct {
	reviewRow
	Findings []store.Finding
	Wrong    string
}

func (s *Server) reviewPage(w http.ResponseWriter, r *http.Request) {
	s.drawReview(w, r, http.StatusOK, "")
}

func (s *Server) drawReview(w http.ResponseWriter, r *http.Request, status int, wrong string) {
	position, err := strconv.ParseInt(r.PathValue("position"), 10, 64)
	if err != nil {
		s.noBreakGlass(w, r)
		return
	}
	found, err := s.Store.BreakGlass(r.Context(), sessionOf(r).Organisation, position, whoOf(r))
	switch {
	case errors.Is(err, store.ErrNoBreakGlass):
		s.noBreakGlass(w, r)
	case err != nil:
		s.broken(w, r, err)
	default:
		s.draw(w, r, status, "review", "A view by break-glass", reviewing{s.rows(sessionOf(r).Organisation, found)[0], store.Findings, wrong})
	}
}

func (s *Server) noBreakGlass(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, http.StatusNotFound, "There is no such view by break-glass at your organisation.")
}

// review keeps what the privacy officer found.
func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	finding, note := store.Finding(r.PostFormValue("finding")), strings.TrimSpace(r.PostFormValue("note"))
	n := utf8.RuneCountInString(note)
	switch {
	case !slices.Contains(store.Findings, finding):
		s.drawReview(w, r, http.StatusBadRequest, "Choose what you found.")
		return
	case n > mostNote || n == 0 && finding != store.Justified:
		s.drawReview(w, r, http.StatusBadRequest, fmt.Sprintf("Say what you found in a note, in at most %d characters.", mostNote))
		return
	}
	position, err := strconv.ParseInt(r.PathValue("position"), 10, 64)
	if err == nil {
		err = s.Store.ReviewBreakGlass(r.Context(), sessionOf(r).Organisation, position, store.Review{Finding: finding, Note: safeguard.Hide(note)}, whoOf(r))
	}
	switch {
	case errors.Is(err, strconv.ErrSyntax), errors.Is(err, strconv.ErrRange), errors.Is(err, store.ErrNoBreakGlass):
		s.noBreakGlass(w, r)
	case errors.Is(err, store.ErrReviewed):
		s.fail(w, r, http.StatusConflict, "Somebody has reviewed it meanwhile; what they found stays.")
	case err != nil:
		s.broken(w, r, err)
	default:
		http.Redirect(w, r, "/break-glass", http.StatusSeeOther)
	}
}
