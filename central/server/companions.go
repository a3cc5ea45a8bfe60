package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// companions gives what adds to a response all that comes with every answer: what
// the site may keep, how old the data are, and how fast owed lookups may come.
func (s *Server) companions(id identity.Identity, q safeguard.Query, site store.Site, now time.Time) func(*flagpb.LookupResponse) *flagpb.LookupResponse {
	late := q.Purpose == safeguard.Unscheduled && now.Sub(q.At) > owedAfter
	pause := s.owing.pause(id.String(), late, s.policy.OwedRate, now)
	return func(r *flagpb.LookupResponse) *flagpb.LookupResponse {
		r.Policy = wireCachePolicy(site.Policy.Cache(s.policy.Cache))
		r.Data = s.directory.data(r.GetHeld().GetFlags(), s.policy.DataAge, now)
		r.OwedPause = durationpb.New(pause)
		return r
	}
}

func wireCachePolicy(p safeguard.CachePolicy) *flagpb.CachePolicy {
	if p.Off {
		return &flagpb.CachePolicy{Off: true}
	}
	return &flagpb.CachePolicy{Held: wireAges(p.Held), None: wireAges(p.None)}
}

func wireAges(a safeguard.Ages) *flagpb.Ages {
	return &flagpb.Ages{Fresh: durationpb.New(a.Fresh), Usable: durationpb.New(a.Usable)}
}

// data is how old the data are of the authorities of the flags, and of every
// other one whose data are overdue.
func (d *Directory) data(flags []*flagpb.Flag, after time.Duration, now time.Time) []*flagpb.DataAge {
	uploaded := *d.uploaded.Load()
	overdue := d.overdue(uploaded, after, now)
	if len(flags) == 0 {
		return overdue
	}
	var list []*flagpb.DataAge
	listed := map[string]bool{}
	for _, f := range flags {
		if code := f.GetAuthority().GetCode(); !listed[code] && code != testAuthority.String() {
			listed[code] = true
			parsed, _ := safeguard.ParseODSCode(code) // it was one before it was written
			list = append(list, dataAge(d.Authority(parsed), uploaded, after, now))
		}
	}
	for _, age := range overdue {
		if !listed[age.GetAuthority()] {
			list = append(list, age)
		}
	}
	return list
}

func dataAge(a safeguard.Authority, uploaded map[safeguard.ODSCode]time.Time, after time.Duration, now time.Time) *flagpb.DataAge {
	at, ever := uploaded[a.Code]
	out := &flagpb.DataAge{Authority: a.Code.String(), Name: a.Name, Overdue: now.Sub(at) > after}
	if ever {
		out.UploadedAt = timestamppb.New(at)
	}
	return out
}

// overdueAges is a list that is the same for every answer of a while.
type overdueAges struct {
	until time.Time
	list  []*flagpb.DataAge
}

// overdueFor is how long such a list is used.
const overdueFor = time.Second

func (d *Directory) overdue(uploaded map[safeguard.ODSCode]time.Time, after time.Duration, now time.Time) []*flagpb.DataAge {
	if last := d.late.Load(); last != nil && now.Before(last.until) {
		return last.list
	}
	next := &overdueAges{until: now.Add(overdueFor)}
	for _, a := range d.now.Load().live {
		if now.Sub(uploaded[a.Code]) > after {
			next.list = append(next.list, dataAge(a, uploaded, after, now))
		}
	}
	d.late.Store(next)
	return next.list
}

// historyLength is how many past accesses a site is shown.
const historyLength = 25

// history is who asked before for unscheduled care about a person, without the
// attendance that asks now. Only a site that may see it gets it, and not with a
// refresh, which nobody looks at.
func (s *Server) history(ctx context.Context, q safeguard.Query, site store.Site) ([]safeguard.PastAccess, error) {
	if !site.Policy.History || q.Purpose == safeguard.Refresh {
		return nil, nil
	}
	accesses, err := s.store.Accesses(ctx, q.Number, historyLength+1)
	if err != nil {
		return nil, err
	}
	var past []safeguard.PastAccess
	for _, a := range accesses {
		if len(past) < historyLength && (a.Organisation != q.Author.Organisation || a.Attendance != q.Attendance) {
			past = append(past, s.pastAccess(a, site))
		}
	}
	return past, nil
}

// pastAccess is an access as the site may see it: of another site's whose
// location is sensitive, nothing that tells the place.
func (s *Server) pastAccess(a store.Access, to store.Site) safeguard.PastAccess {
	out := safeguard.PastAccess{At: a.At, Setting: a.Setting, Sensitive: a.Sensitive}
	if a.Sensitive && (a.Organisation != to.Organisation || a.Site != to.Code) {
		return out
	}
	out.Organisation, out.Site, out.Accountable = a.Organisation, a.Site, a.Accountable
	if from, ok := s.directory.site(a.Organisation, a.Site); ok {
		out.OrganisationName, out.SiteName = from.OrganisationName, from.Name
	}
	return out
}

func wireHistory(list []safeguard.PastAccess) []*flagpb.PastAccess {
	out := make([]*flagpb.PastAccess, len(list))
	for i, a := range list {
		out[i] = &flagpb.PastAccess{
			AttendedAt:        timestamppb.New(a.At),
			CareSetting:       wireSettings[a.Setting],
			Organisation:      a.Organisation.String(),
			OrganisationName:  a.OrganisationName,
			Site:              a.Site.String(),
			SiteName:          a.SiteName,
			SensitiveLocation: a.Sensitive,
		}
		if a.Accountable != (safeguard.Accountable{}) {
			out[i].Accountable = &flagpb.Accountable{Name: a.Accountable.Name, Role: a.Accountable.Role}
		}
	}
	return out
}

const (
	owedAfter  = 2 * time.Minute // an unscheduled lookup that much later than its attendance was owed
	owingSince = time.Minute     // after which who paid nothing owes nothing more
)

// owing shares the rate at which owed lookups may come among those that pay.
type owing struct {
	mu    sync.Mutex // guards the fields below
	paid  map[string]time.Time
	swept time.Time
}

// pause is how long a caller is to wait between two owed lookups.
func (o *owing) pause(caller string, late bool, rate int, now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.swept) > owingSince/10 {
		for c, at := range o.paid {
			if now.Sub(at) > owingSince {
				delete(o.paid, c)
			}
		}
		o.swept = now
	}
	if late {
		if o.paid == nil {
			o.paid = map[string]time.Time{}
		}
		o.paid[caller] = now
	}
	return time.Second * time.Duration(max(1, len(o.paid))) / time.Duration(max(1, rate))
}
