package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/store"
)

func wireCachePolicy(p safeguard.CachePolicy) *flagpb.CachePolicy {
	if p.Off {
		return &flagpb.CachePolicy{Off: true}
	}
	return &flagpb.CachePolicy{Held: wireAges(p.Held), None: wireAges(p.None)}
}

func wireAges(a safeguard.Ages) *flagpb.Ages {
	return &flagpb.Ages{Fresh: durationpb.New(a.Fresh), Usable: durationpb.New(a.Usable)}
}

// ages is how old the data of the flags' authorities are.
func (s *Server) ages(flags []safeguard.Flag, now time.Time) []*flagpb.DataAge {
	uploaded := *s.directory.uploaded.Load()
	var list []*flagpb.DataAge
	for i, f := range flags {
		same := func(other safeguard.Flag) bool { return other.Authority.Code == f.Authority.Code }
		if f.Authority.Code != testAuthority && !slices.ContainsFunc(flags[:i], same) {
			list = append(list, dataAge(f.Authority, uploaded, s.policy.DataAge, now))
		}
	}
	return list
}

// withOverdue adds every other authority whose data are overdue.
func withOverdue(own, overdue []*flagpb.DataAge) []*flagpb.DataAge {
	if len(own) == 0 {
		return overdue
	}
	for _, age := range overdue {
		if !slices.ContainsFunc(own, func(o *flagpb.DataAge) bool { return o.GetAuthority() == age.GetAuthority() }) {
			own = append(own, age)
		}
	}
	return own
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

func (d *Directory) overdue(after time.Duration, now time.Time) []*flagpb.DataAge {
	if last := d.late.Load(); last != nil && now.Before(last.until) {
		return last.list
	}
	uploaded := *d.uploaded.Load()
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
	return s.accessesBefore(ctx, q, site)
}

// accessesBefore is history for whoever may see it.
func (s *Server) accessesBefore(ctx context.Context, q safeguard.Query, site store.Site) ([]safeguard.PastAccess, error) {
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
	out := safeguard.PastAccess{At: a.At, Setting: a.Setting, Sensitive: a.Sensitive, Viewed: a.Viewed}
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

// owedAfter is how much later than its attendance an unscheduled lookup was owed.
const owedAfter = 2 * time.Minute

// owedPause is how long who asks is to wait between two owed lookups.
func (s *Server) owedPause(l looking) time.Duration {
	pays := l.q.Purpose == safeguard.Unscheduled && l.now.Sub(l.q.At) > owedAfter
	return s.owing.pause(l.id.String(), pays, s.policy.OwedRate, l.now)
}

// sharedFor is how long one who did nothing more has a share.
const sharedFor = time.Minute

// shared is a rate that those share who make use of it.
type shared struct {
	mu    sync.Mutex // guards the fields below
	used  map[string]time.Time
	swept time.Time
}

// pause is how long a caller is to wait between two uses.
func (r *shared) pause(caller string, uses bool, rate int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.swept) > sharedFor/10 {
		for c, at := range r.used {
			if now.Sub(at) > sharedFor {
				delete(r.used, c)
			}
		}
		r.swept = now
	}
	if uses {
		if r.used == nil {
			r.used = map[string]time.Time{}
		}
		r.used[caller] = now
	}
	return time.Second * time.Duration(max(1, len(r.used))) / time.Duration(max(1, rate))
}
