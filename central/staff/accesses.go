package staff

import (
	"net/http"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// ownReasons are those that a local authority's staff can choose.
var ownReasons = []string{
	"I work with this person or their family",
	"I follow up a notification about this person",
	"I take part in a safeguarding enquiry or meeting",
	"The person, or who answers for them, asked who had access",
}

// ownAccesses is the page on which a local authority sees who accessed the flags
// that it holds for a person, and nothing of another's.
type ownAccesses struct {
	searchForm
	Asked bool
	List  []store.Notified
}

func (s *Server) accessesPage(w http.ResponseWriter, r *http.Request) {
	s.draw(w, r, http.StatusOK, "accesses", "Who accessed our flags", ownAccesses{searchForm: searchForm{Reasons: ownReasons}})
}

func (s *Server) accesses(w http.ResponseWriter, r *http.Request) {
	c := ownAccesses{searchForm: searchForm{Reasons: ownReasons, Number: r.PostFormValue("number"), Born: r.PostFormValue("born"), Reason: r.PostFormValue("reason")}}
	number, born := c.person(time.Now())
	if !slices.Contains(ownReasons, c.Reason) {
		c.say("reason", "Choose why you look.")
	}
	if len(c.Wrong) > 0 {
		s.draw(w, r, http.StatusBadRequest, "accesses", "Who accessed our flags", c)
		return
	}
	if s.limited(w, r, "search") {
		return
	}
	by := whoOf(r)
	err := s.Store.NoteAbout(r.Context(), audit.Entry{At: time.Now(), Act: audit.StaffSearched, Who: by, Where: whereOf(r), Reason: c.Reason, Purpose: "own access history"}, number)
	if err == nil {
		err = s.Store.Notified(r.Context(), store.Which{Authority: sessionOf(r).Organisation, Number: number}, by.Caller, func(n store.Notified) error {
			if n.Born.Reveal() == born {
				c.List = append(c.List, n)
			}
			return nil
		})
	}
	if err != nil {
		s.broken(w, r, err)
		return
	}
	c.Asked = true
	slices.SortStableFunc(c.List, func(a, b store.Notified) int { return b.Recorded.Compare(a.Recorded) })
	s.draw(w, r, http.StatusOK, "accesses", "Who accessed our flags", c)
}
