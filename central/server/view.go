package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// View is a look that a member of staff takes at a person's flags by hand. Number
// and date of birth must both be right.
type View struct {
	Number safeguard.NHSNumber
	Born   safeguard.Date

	Organisation safeguard.ODSCode // that the viewer works for
	Site         safeguard.ODSCode // of it, where the viewer is
	Setting      safeguard.CareSetting

	By     audit.Who    // the viewer, as the audit is to have them
	Notify bool         // as an access for unscheduled care, which is shown to others and notifies; else silently
	Reason string       // that was chosen
	Once   string       // by break-glass: what makes it the same view when it is repeated
	Glass  *BrokenGlass // what lets the viewer look where nobody attended; nil for nothing
}

// BrokenGlass is why somebody may look who otherwise may not.
type BrokenGlass struct {
	By    store.StaffMember
	Words safeguard.Private[string] // in the viewer's own
}

// Viewed is what a view shows.
type Viewed struct {
	Answer     safeguard.Answer // held, or unknown: a view never says that none is held
	Attended   time.Time        // at the viewer's organisation; zero where the glass was broken for it
	BreakGlass bool             // it is on the privacy officer's list
	Notified   bool             // the local authorities are told
	Test       bool             // it is about nobody
}

// ViewRefused says why somebody may not look.
type ViewRefused struct{ Reason string }

func (r *ViewRefused) Error() string { return r.Reason }

// ErrNotAttended says that no lookup with that number and date of birth told of an
// attendance at the organisation in the last while. It says nothing else, also not
// whether there is such a person.
var ErrNotAttended = errors.New("no attendance at this organisation in the time that counts")

// AttendedWithin is how long an attendance lets the organisation's staff look.
const AttendedWithin = 72 * time.Hour

// repeatedWithin is how long a view by break-glass that comes again under its name
// is the same: what is sent twice, and not what is looked at once more.
const repeatedWithin = 10 * time.Minute

// Places are the sites of an organisation that take part.
func (s *Server) Places(organisation safeguard.ODSCode) []store.Site {
	return s.directory.places(organisation)
}

func (d *Directory) places(organisation safeguard.ODSCode) (list []store.Site) {
	for _, site := range d.now.Load().sites {
		if site.Organisation == organisation && site.Stage != store.Invited {
			list = append(list, site)
		}
	}
	slices.SortFunc(list, func(a, b store.Site) int { return slices.Compare([]byte(a.Code.String()), []byte(b.Code.String())) })
	return list
}

// KnownAuthority tells whether a local authority takes part, and may see its own.
func (s *Server) KnownAuthority(code safeguard.ODSCode) bool { return s.directory.Known(code) }

// Notifies tells whether a view from the site would be recorded as an access and
// notify, were it not silent.
func (s *Server) Notifies(v View) bool {
	site, ok := s.directory.site(v.Organisation, v.Site)
	return ok && v.Notify && notifies(site) && v.Number != safeguard.TestPatient
}

// Attended gives when the person attended at the organisation within the time that
// counts, or ErrNotAttended. The test patient always has, just now.
func (s *Server) Attended(ctx context.Context, v View, now time.Time) (time.Time, error) {
	if v.Number == safeguard.TestPatient {
		return now, nil
	}
	at, err := s.store.Attended(ctx, v.Organisation, v.Number, v.Born, now.Add(-AttendedWithin), now.Add(time.Hour))
	if err == nil && at.IsZero() {
		err = ErrNotAttended
	}
	return at, err
}

// MayView tells why nobody may look from there, if so, as a *ViewRefused.
func (s *Server) MayView(v View) error {
	_, err := s.viewing(v)
	return err
}

func (s *Server) viewing(v View) (store.Site, error) {
	site, ok := s.directory.site(v.Organisation, v.Site)
	switch {
	case !ok || site.Stage == store.Invited:
		return site, &ViewRefused{fmt.Sprintf("site %s does not take part under organisation %s", v.Site, v.Organisation)}
	case !slices.Contains(site.Settings, v.Setting):
		return site, &ViewRefused{fmt.Sprintf("site %s is not registered for care setting %s", v.Site, v.Setting)}
	case site.Stage == store.Testing && !v.Number.IsTest():
		return site, &ViewRefused{fmt.Sprintf("site %s is at the stage testing: test numbers (999) only can be viewed", v.Site)}
	case v.Notify && v.Number != safeguard.TestPatient && v.Number.IsTest() && s.policy.ProductionChecks && notifies(site):
		return site, &ViewRefused{"a test number (999) can not be viewed as an access at a live centre: the one for trying this page is 999 000 0018"}
	}
	return site, nil
}

// View answers a member of staff: whether they may, what is held, whether it is
// the right person, what is to be recorded, the answer. Whatever is not held, under
// that number with that date of birth, is answered in one way.
func (s *Server) View(ctx context.Context, v View, now time.Time) (Viewed, error) {
	site, err := s.viewing(v)
	if err != nil {
		return Viewed{}, err
	}
	if v.Number == safeguard.TestPatient {
		return Viewed{Answer: safeguard.Answer{Status: safeguard.Held, Flags: []safeguard.Flag{testFlag}, AsOf: now, Source: safeguard.FromCentre}, Attended: now, Test: true}, nil
	}
	var out Viewed
	if out.Attended, err = s.Attended(ctx, v, now); errors.Is(err, ErrNotAttended) && v.Glass != nil {
		out.BreakGlass = true
	} else if err != nil {
		return Viewed{}, err
	}
	q := v.query(out.Attended, now)
	history, err := s.accessesBefore(ctx, q, site)
	if err != nil {
		return Viewed{}, err
	}
	var visible []store.Flag
	// On disk before the answer leaves: whoever was shown a flag was recorded, and
	// is on the privacy officer's list where they had no other right to look.
	err = s.store.Look(ctx, q.Number, func(all []store.Flag) store.Decision {
		var confirmed bool
		if visible, confirmed = s.policy.visible(safeguard.DateOf(now), v.Born, all); !confirmed {
			visible = nil
		}
		if len(visible) == 0 {
			history = nil
		}
		d := store.Decision{Look: lookOf(v, q, now, visible, len(history))}
		// Unlike an agent's lookup, of which the hospital vouches for the number, one
		// that finds nothing may be a slip of the hand: it is in the audit alone.
		if d.Access = len(visible) > 0 && s.Notifies(v); d.Access {
			d.Owed = s.owed(q, site, visible, now)
			for i := range d.Owed {
				d.Owed[i].Viewed = true
			}
		}
		out.Notified = d.Access
		if out.BreakGlass {
			d.BreakGlass = &store.BreakGlass{
				Organisation: v.Organisation, Site: v.Site, Look: q.Attendance, Number: v.Number, Born: q.Born, By: v.Glass.By,
				Why: v.Reason, Words: v.Glass.Words, Answer: d.Look.Answer, Notified: d.Access, At: now,
			}
		}
		return d
	})
	if err != nil {
		return Viewed{}, err
	}
	if out.Notified {
		s.counts.recorded.Add(1)
	}
	out.Answer = s.viewedAnswer(visible, history, now)
	return out, nil
}

// query is the view as a lookup. It is a look of its own, and not the attendance
// that gives the right to it, which has been notified: one for each viewer and
// attendance, however often it is repeated.
func (v View) query(attended, now time.Time) safeguard.Query {
	purpose := safeguard.Scheduled
	if v.Notify {
		purpose = safeguard.Unscheduled
	}
	parts := []string{"view", v.By.Caller, attended.UTC().Format(time.RFC3339Nano)}
	if attended.IsZero() {
		parts = []string{"view by break-glass", v.By.Caller, v.Once, now.UTC().Truncate(repeatedWithin).Format(time.RFC3339)}
	}
	return safeguard.Query{
		Number: v.Number, Born: safeguard.Hide(v.Born), Purpose: purpose, Attendance: safeguard.NewAttendanceID(v.Organisation, parts...), At: now,
		Author: safeguard.Author{Device: "staff view", Organisation: v.Organisation, Site: v.Site, Setting: v.Setting, Accountable: safeguard.Accountable{Name: v.By.Name, Role: v.By.Role}},
	}
}

func lookOf(v View, q safeguard.Query, now time.Time, visible []store.Flag, shown int) store.Look {
	answer := "nothing held under number and date of birth"
	if len(visible) > 0 {
		answer = safeguard.Held.String()
	}
	return store.Look{
		Access: store.Access{
			Number: q.Number, Organisation: v.Organisation, Attendance: q.Attendance, Site: v.Site, Setting: v.Setting, Device: v.By.Device,
			Accountable: q.Author.Accountable, At: now, Recorded: now, Viewed: true,
		},
		Caller: v.By.Caller, Purpose: q.Purpose, Reason: v.Reason, Answer: answer, Shown: visible, History: shown, Born: q.Born,
	}
}

func (s *Server) viewedAnswer(visible []store.Flag, history []safeguard.PastAccess, now time.Time) safeguard.Answer {
	answer := safeguard.Answer{AsOf: now, Source: safeguard.FromCentre, Data: s.directory.ages(visible, s.policy.DataAge, now)}
	for _, f := range visible {
		answer.Status = safeguard.Held
		answer.Flags = append(answer.Flags, safeguard.Flag{Plan: f.Plan, Start: f.Start, End: f.End, Authority: s.directory.Authority(f.Authority)})
	}
	answer.History = history
	return answer
}

// ages is how old the data are of the authorities of the flags.
func (d *Directory) ages(flags []store.Flag, after time.Duration, now time.Time) (list []safeguard.DataAge) {
	uploaded := *d.uploaded.Load()
	for _, f := range flags {
		if slices.ContainsFunc(list, func(a safeguard.DataAge) bool { return a.Authority == f.Authority }) {
			continue
		}
		at := uploaded[f.Authority]
		list = append(list, safeguard.DataAge{Authority: f.Authority, Name: d.Authority(f.Authority).Name, Uploaded: at, Overdue: now.Sub(at) > after})
	}
	return list
}
