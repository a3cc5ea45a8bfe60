package staff

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// reasons are those that can be chosen: the audit keeps them for ever, so that
// none is in words that may name somebody.
var reasons = []string{
	"I am assessing or treating this person",
	"A concern about this person was raised with me",
	"I am planning this person's discharge or transfer",
	"I prepare for this person's appointment or visit",
	"I take part in a safeguarding enquiry or meeting",
}

// place is where the viewer may be.
type place struct {
	Value, Label string
	site         store.Site
	setting      safeguard.CareSetting
}

func (s *Server) places(organisation safeguard.ODSCode) (list []place) {
	for _, site := range s.Flags.Places(organisation) {
		for _, setting := range site.Settings {
			list = append(list, place{
				Value: site.Code.String() + " " + setting.String(), Label: site.Name + ", " + strings.ReplaceAll(setting.String(), "-", " "), site: site, setting: setting,
			})
		}
	}
	return list
}

// searchForm is what is typed, and what is wrong with it.
type searchForm struct {
	Number, Born, Place, Mode, Reason string
	Places                            []place
	Reasons                           []string
	Notify, Silent                    bool // which of the two the viewer may choose
	Wrong                             []wrong
}

// wrong is what is wrong with a field.
type wrong struct{ Field, Text string }

func (f *searchForm) say(field, text string) { f.Wrong = append(f.Wrong, wrong{field, text}) }

// Says is what is wrong with a field; empty for nothing.
func (f searchForm) Says(field string) string {
	i := slices.IndexFunc(f.Wrong, func(w wrong) bool { return w.Field == field })
	if i < 0 {
		return ""
	}
	return f.Wrong[i].Text
}

func (s *Server) emptyForm(r *http.Request) searchForm {
	rights := sessionOf(r).Rights
	f := searchForm{Places: s.places(sessionOf(r).Organisation), Reasons: reasons, Notify: rights.Has(store.ViewAndNotify), Silent: rights.Has(store.ViewSilently), Mode: silent}
	if f.Notify {
		f.Mode = notify
	}
	return f
}

// The ways of viewing.
const (
	notify = "notify"
	silent = "silent"
)

func (s *Server) searchPage(w http.ResponseWriter, r *http.Request) {
	s.draw(w, r, http.StatusOK, "search", "View safeguarding flags", s.emptyForm(r))
}

// asked reads what is asked for. What was typed wrongly is said in the form; what
// may not be asked is refused. Then ok is false.
func (s *Server) asked(w http.ResponseWriter, r *http.Request) (v server.View, f searchForm, ok bool) {
	session := sessionOf(r)
	f = s.emptyForm(r)
	f.Number, f.Born, f.Place, f.Reason = r.PostFormValue("number"), r.PostFormValue("born"), r.PostFormValue("place"), r.PostFormValue("reason")
	v = server.View{Organisation: session.Organisation, By: whoOf(r), Reason: f.Reason}
	v.Number, v.Born = f.person(time.Now())
	if mode := r.PostFormValue("mode"); mode != "" {
		f.Mode = mode
	}
	v.Notify = f.Mode == notify
	at := slices.IndexFunc(f.Places, func(p place) bool { return p.Value == f.Place })
	switch {
	case f.Place == "":
		f.say("place", "Choose where you are.")
	case at < 0:
		s.refuse(w, r, "That is not a place of your organisation "+session.Organisation.String()+".")
		return v, f, false
	default:
		v.Site, v.Setting = f.Places[at].site.Code, f.Places[at].setting
	}
	if !slices.Contains(reasons, f.Reason) {
		f.say("reason", "Choose why you look.")
	}
	if f.Mode != notify && f.Mode != silent || f.Mode == notify && !f.Notify || f.Mode == silent && !f.Silent {
		s.refuse(w, r, "You have no right to look in that way: B0107 is for looking with the local authority told, B0170 for looking without.")
		return v, f, false
	}
	if len(f.Wrong) > 0 {
		s.draw(w, r, http.StatusBadRequest, "search", "View safeguarding flags", f)
		return v, f, false
	}
	var refused *server.ViewRefused
	if err := s.Flags.MayView(v); errors.As(err, &refused) {
		s.refuse(w, r, "You can not look: "+refused.Reason+".")
		return v, f, false
	} else if err != nil {
		s.broken(w, r, err)
		return v, f, false
	}
	return v, f, true
}

// person reads the two that must both be right.
func (f *searchForm) person(now time.Time) (number safeguard.NHSNumber, born safeguard.Date) {
	number, err := safeguard.ParseNHSNumber(f.Number)
	if err != nil {
		f.say("number", "This is no valid NHS number: want its ten digits.")
	}
	if born, err = safeguard.ParseDate(f.Born); err != nil || born.IsZero() || safeguard.DateOf(now).Before(born) {
		f.say("born", "This is no date of birth: want day, month and year.")
	}
	return number, born
}

// limited counts what somebody asks for, and says so when it is too much. Then it
// is true.
func (s *Server) limited(w http.ResponseWriter, r *http.Request, what string) bool {
	by := sessionOf(r)
	within, err := s.Store.Attempt(r.Context(), []store.AttemptLimit{{Subject: "staff " + what + " " + by.Source + " " + by.Subject, Most: s.Searches}}, time.Now().Add(-searchesWithin))
	if err != nil {
		s.broken(w, r, err)
		return true
	}
	if within {
		return false
	}
	s.Log.Warn("too many searches by one member of staff", "organisation", by.Organisation, "most", s.Searches, "within", searchesWithin)
	if s.noteRefusal(w, r, "too many searches") {
		w.Header().Set("Retry-After", "900")
		s.fail(w, r, http.StatusTooManyRequests, "You have searched too often. Try again in a quarter of an hour; if a child is at risk now, follow your local procedure and call social care.")
	}
	return true
}

// asking is the page before anything is shown: it says what showing it will do.
type asking struct {
	searchForm
	View       server.View
	Site       string
	Attended   time.Time // at the viewer's organisation; zero where the glass is to be broken
	Notifies   bool
	Once       string // names a view by break-glass, so that one sent twice is one
	Words      string
	WrongGlass string // what is wrong with it
	Changed    bool   // what would happen is not what was said before
}

// search finds out whether the person attended here, and asks whether to go on. It
// tells nothing of flags, also not whether there are any.
func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	v, f, ok := s.asked(w, r)
	if !ok || s.limited(w, r, "search") {
		return
	}
	a, err := s.ask(r, v, f)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	entry := audit.Entry{
		At: time.Now(), Act: audit.StaffSearched, Who: v.By, Where: &audit.Where{Organisation: v.Organisation.String(), Site: v.Site.String(), Setting: v.Setting.String()},
		Reason: v.Reason, Answer: "attended", AttendedAt: a.Attended,
	}
	if a.Attended.IsZero() {
		entry.Answer = "not attended"
	}
	if err := s.Store.NoteAbout(r.Context(), entry, v.Number); err != nil {
		s.broken(w, r, err)
		return
	}
	s.draw(w, r, http.StatusOK, "ask", "View safeguarding flags", a)
}

func (s *Server) ask(r *http.Request, v server.View, f searchForm) (asking, error) {
	attended, err := s.Flags.Attended(r.Context(), v, time.Now())
	if err != nil && !errors.Is(err, server.ErrNotAttended) {
		return asking{}, err
	}
	a := asking{searchForm: f, View: v, Attended: attended, Notifies: s.Flags.Notifies(v), Once: rand.Text()}
	for _, p := range f.Places {
		if p.Value == f.Place {
			a.Site = p.Label
		}
	}
	return a, nil
}
