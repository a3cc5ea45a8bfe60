package server

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// flags is the service that agents ask.
type flags struct {
	flagpb.UnimplementedFlagsServer
	*Server
}

// Lookup answers one question: who asks, whether they may, what is held, whether
// it is the right person, what is to be recorded, the answer.
func (s flags) Lookup(ctx context.Context, request *flagpb.LookupRequest) (*flagpb.LookupResponse, error) {
	id, err := caller(ctx, identity.Agent)
	if err != nil {
		return nil, err
	}
	q, err := queryOf(request)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	site, err := s.admit(id, &q.Author)
	if err != nil {
		return nil, err
	}
	l := looking{id, q, site, time.Now()}
	response, err := s.look(ctx, l)
	if err != nil {
		return nil, err
	}
	response.Policy = wireCachePolicy(site.Policy.Cache(s.policy.Cache))
	response.Data = withOverdue(response.Data, s.directory.overdue(s.policy.DataAge, l.now))
	response.OwedPause = durationpb.New(s.owedPause(l))
	return response, nil
}

// looking is one question on its way through the centre.
type looking struct {
	id   identity.Identity
	q    safeguard.Query
	site store.Site
	now  time.Time
}

// look answers a question of an author who was admitted.
func (s *Server) look(ctx context.Context, l looking) (*flagpb.LookupResponse, error) {
	if err := s.mayAsk(l.site, l.q); err != nil {
		return nil, err
	}
	if l.q.Number == safeguard.TestPatient {
		s.counts.test.Add(1)
		return s.held(l.now, []safeguard.Flag{testFlag}), nil
	}
	history, err := s.history(ctx, l.q, l.site)
	if err != nil {
		return nil, err
	}
	var visible []store.Flag
	var confirmed, access bool
	// On disk before the answer leaves: whoever was shown a flag was recorded.
	err = s.store.Look(ctx, l.q.Number, func(all []store.Flag) store.Decision {
		visible, confirmed = s.policy.visible(safeguard.DateOf(l.now), l.q.Born.Reveal(), all)
		answer := safeguard.NoneHeld.String()
		switch {
		case !confirmed:
			answer = safeguard.IdentityNotConfirmed.String()
		case len(visible) > 0:
			answer = safeguard.Held.String()
		}
		if len(visible) == 0 {
			history = nil // it is shown beside flags only
		}
		d := store.Decision{Look: lookedUp(l.id, l.q, l.now, answer, visible)}
		d.Look.History = len(history)
		if access = confirmed && l.q.Purpose == safeguard.Unscheduled && notifies(l.site); access {
			d.Access, d.Owed = true, s.owed(l.q, l.site, visible, l.now)
		}
		return d
	})
	if err != nil {
		return nil, err
	}
	if access {
		s.counts.recorded.Add(1)
	}
	if !confirmed {
		s.counts.mismatch.Add(1)
		return identityNotConfirmed(l.now), nil
	}
	if len(visible) == 0 {
		s.counts.none.Add(1)
		return noneHeld(l.now), nil
	}
	s.counts.held.Add(1)
	shown := make([]safeguard.Flag, len(visible))
	for i, f := range visible {
		shown[i] = safeguard.Flag{Plan: f.Plan, Start: f.Start, End: f.End, Authority: s.directory.Authority(f.Authority)}
	}
	response := s.held(l.now, shown)
	response.History = wireHistory(history)
	return response, nil
}

// admit gives the site that an author asks for: deny by default. The site's
// accountable person stands in where the author names none.
func (s *Server) admit(id identity.Identity, a *safeguard.Author) (store.Site, error) {
	if a.Organisation != id.Code {
		return store.Site{}, status.Errorf(codes.PermissionDenied, "the caller's certificate is for organisation %s, and the lookup is for %s", id.Code, a.Organisation)
	}
	site, err := s.participant(a.Organisation, a.Site)
	if err != nil {
		return store.Site{}, err
	}
	if !slices.Contains(site.Settings, a.Setting) {
		return store.Site{}, status.Errorf(codes.PermissionDenied, "site %s is not registered for care setting %s at the centre, but for %v", a.Site, a.Setting, site.Settings)
	}
	if a.Accountable.Name == "" {
		a.Accountable = site.Accountable
	}
	if a.Accountable.Name == "" {
		return store.Site{}, status.Errorf(codes.InvalidArgument, "accountable person: none is named, nor registered for site %s; want name and role", a.Site)
	}
	return site, nil
}

// mayAsk tells why the site may not ask about this number.
func (s *Server) mayAsk(site store.Site, q safeguard.Query) error {
	switch {
	case site.Stage == store.Testing && !q.Number.IsTest():
		return status.Errorf(codes.PermissionDenied, "site %s is at the stage testing, and may ask about test numbers (999) only", site.Code)
	case q.Purpose == safeguard.Unscheduled && q.Number != safeguard.TestPatient && q.Number.IsTest() && s.policy.ProductionChecks && notifies(site):
		return status.Error(codes.FailedPrecondition,
			"a test number (999) is not looked up as unscheduled by a live centre; for a demonstration, set production_checks: false there")
	}
	return nil
}

// notifies tells whether the site's unscheduled lookups are recorded as accesses
// and notify. Those of a site that tests never do, and those of one that observes
// only where nobody else notifies for it.
func notifies(site store.Site) bool {
	return site.Stage == store.Live || site.Stage == store.Observing && site.Policy.Declared
}

// participant is a site that may ask.
func (s *Server) participant(organisation, code safeguard.ODSCode) (store.Site, error) {
	site, ok := s.directory.site(organisation, code)
	if !ok {
		return store.Site{}, status.Errorf(codes.PermissionDenied, "site %s is not registered under organisation %s at the centre", code, organisation)
	}
	if site.Stage == store.Invited {
		return store.Site{}, status.Errorf(codes.PermissionDenied, "site %s is invited to take part, and may ask once it is at the stage testing", code)
	}
	return site, nil
}

// visible gives the flags to show. A flag with another date of birth than the
// lookup's is never shown, and unless a further one confirms the person, the
// identity is not confirmed: then there is no answer, not even none.
func (p Policy) visible(today, born safeguard.Date, all []store.Flag) (show []store.Flag, confirmed bool) {
	doubt := false
	for _, f := range all {
		flag, own := safeguard.Flag{Plan: f.Plan, Start: f.Start, End: f.End}, f.Born.Reveal()
		switch {
		case born.IsZero() || born == own:
			if flag.Visible(today, own, p.Tails) {
				show = append(show, f)
			}
		case flag.Visible(today, own, p.Tails), flag.Visible(today, born, p.Tails):
			// Visible by either date: which of the two is wrong is not known.
			doubt = true
		}
	}
	return show, len(show) > 0 || !doubt
}

func lookedUp(id identity.Identity, q safeguard.Query, now time.Time, answer string, visible []store.Flag) store.Look {
	return store.Look{
		Access: store.Access{
			Number:       q.Number,
			Organisation: q.Author.Organisation,
			Attendance:   q.Attendance,
			Site:         q.Author.Site,
			Setting:      q.Author.Setting,
			Device:       q.Author.Device,
			Accountable:  q.Author.Accountable,
			At:           q.At,
			Recorded:     now,
			Sensitive:    q.Sensitive,
		},
		Caller:  id.String(),
		Purpose: q.Purpose,
		Answer:  answer,
		Shown:   visible,
		Born:    q.Born,
	}
}

// owed is one notification for each authority whose flags are shown.
func (s *Server) owed(q safeguard.Query, site store.Site, visible []store.Flag, now time.Time) []safeguard.Notification {
	var list []safeguard.Notification
	at := map[safeguard.ODSCode]int{}
	for _, f := range visible {
		i, ok := at[f.Authority]
		if !ok {
			i = len(list)
			at[f.Authority] = i
			list = append(list, safeguard.Notification{
				Authority:    f.Authority,
				Number:       q.Number,
				Born:         f.Born,
				Organisation: q.Author.Organisation,
				Site:         q.Author.Site,
				SiteName:     site.Name,
				Setting:      q.Author.Setting,
				Accountable:  q.Author.Accountable,
				Attendance:   q.Attendance,
				At:           q.At,
				Recorded:     now,
				Sensitive:    q.Sensitive,
				Late:         now.Sub(q.At) > s.policy.Late,
			})
		}
		list[i].Plans = append(list[i].Plans, f.Plan)
	}
	return list
}

// testFlag is what the test patient is always answered with, so that a round
// trip shows an alert. The phone number is of the range kept for drama (Ofcom).
var testFlag = safeguard.Flag{
	Plan:      safeguard.ChildProtection,
	Start:     safeguard.Date{Year: 2020, Month: time.January, Day: 1},
	Authority: safeguard.Authority{Code: testAuthority, Name: "TEST: not a real patient, no action", EmergencyDutyPhone: "01632 960999"},
}

var testAuthority, _ = safeguard.ParseODSCode("TEST")
