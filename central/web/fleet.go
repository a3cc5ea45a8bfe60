package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

// fleetContent is all sites at a glance.
type fleetContent struct {
	At      time.Time
	Words   string // that are looked for
	Sites   []siteRow
	All     int // sites, whether they are shown or not
	Count   count
	Regions []region // with sites that are shown
}

// siteRow is a site in the list.
type siteRow struct {
	fleet.Site
	Worst *store.FleetWarning // nil where nothing is wrong
	More  int                 // warnings besides
	Acked bool                // all are taken on
}

// count is how many sites there are of a kind.
type count struct {
	Sites                         int
	Critical, Attention, Notice   int
	Well                          int // nothing is wrong
	Invited, Testing, Observe, On int
}

func (c *count) add(severity safeguard.Severity, stage store.Stage) {
	c.Sites++
	switch severity {
	case safeguard.Critical:
		c.Critical++
	case safeguard.Attention:
		c.Attention++
	case safeguard.Notice:
		c.Notice++
	default:
		c.Well++
	}
	switch stage {
	case store.Invited:
		c.Invited++
	case store.Testing:
		c.Testing++
	case store.Observing:
		c.Observe++
	default:
		c.On++
	}
}

// region is how the sites of a region are.
type region struct {
	Name string
	count
}

func (s *Server) fleetPage(r *http.Request, now time.Time) (string, any, error) {
	seen, err := s.fleet.Look(r.Context(), now)
	if err != nil {
		return "", nil, err
	}
	words := strings.TrimSpace(r.URL.Query().Get("q"))
	c := fleetContent{At: seen.At, Words: words, All: len(seen.Sites)}
	regions := map[string]*region{}
	for _, site := range seen.Find(words) {
		c.Count.add(site.Severity, site.Stage)
		at := regions[site.Region]
		if at == nil {
			at = &region{Name: site.Region}
			regions[site.Region] = at
		}
		at.add(site.Severity, site.Stage)
		row := siteRow{Site: site, Acked: len(site.Warnings) > 0 && !site.Unacknowledged()}
		if len(site.Warnings) > 0 {
			row.Worst, row.More = &site.Warnings[0], len(site.Warnings)-1
		}
		c.Sites = append(c.Sites, row)
	}
	for _, at := range regions {
		c.Regions = append(c.Regions, *at)
	}
	slices.SortFunc(c.Regions, func(a, b region) int { return cmp.Compare(a.Name, b.Name) })
	return "Fleet", c, nil
}
