package server

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// Directory is who takes part: the sites that may ask, and the local authorities
// that hold flags. It may be set anew while it is used.
type Directory struct {
	now      atomic.Pointer[participants]
	uploaded atomic.Pointer[map[safeguard.ODSCode]time.Time]
	late     atomic.Pointer[overdueAges] // of now and uploaded; nil when they have changed
}

type participants struct {
	sites       map[siteKey]store.Site
	authorities map[safeguard.ODSCode]Authority
	live        []safeguard.Authority // whose data are expected

	organisations map[safeguard.ODSCode]bool // with a site
}

// Authority is a local authority, as it is to be called, at its stage.
type Authority struct {
	safeguard.Authority
	Stage  store.Stage
	Closed string // why it may not upload, and who is to in its place, in a sentence; empty while it is there
}

type siteKey struct{ organisation, site safeguard.ODSCode }

// NewDirectory makes a directory. Of two entries with the same code the last
// counts.
func NewDirectory(sites []store.Site, authorities []Authority) *Directory {
	d := &Directory{}
	d.SetUploaded(nil)
	d.Set(sites, authorities)
	return d
}

// Set puts others in the place of all that take part. Authorities that are
// invited are known to clinicians, and may not call.
func (d *Directory) Set(sites []store.Site, authorities []Authority) {
	p := &participants{sites: map[siteKey]store.Site{}, authorities: map[safeguard.ODSCode]Authority{}, organisations: map[safeguard.ODSCode]bool{}}
	for _, s := range sites {
		p.organisations[s.Organisation] = true
		p.sites[siteKey{s.Organisation, s.Code}] = s
	}
	for _, a := range authorities {
		p.authorities[a.Code] = a
		if a.Stage == store.Live && a.Closed == "" {
			p.live = append(p.live, a.Authority)
		}
	}
	d.now.Store(p)
	d.late.Store(nil)
}

// SetUploaded says when each authority's last complete upload was.
func (d *Directory) SetUploaded(at map[safeguard.ODSCode]time.Time) {
	d.uploaded.Store(&at)
	d.late.Store(nil)
}

// AdmitUpload tells why the authority may not upload, if so, as a
// *upload.Refused.
func (d *Directory) AdmitUpload(authority safeguard.ODSCode) error {
	if !d.Known(authority) {
		return &upload.Refused{Why: upload.NotAsked, Reason: fmt.Sprintf("local authority %s is not registered at the centre, or only invited to take part", authority)}
	}
	if why := d.now.Load().authorities[authority].Closed; why != "" {
		return &upload.Refused{Why: upload.NotAsked, Reason: why}
	}
	return nil
}

// site gives the site that is registered under an organisation.
func (d *Directory) site(organisation, code safeguard.ODSCode) (store.Site, bool) {
	s, ok := d.now.Load().sites[siteKey{organisation, code}]
	return s, ok
}

// organisation tells whether any site of it is registered.
func (d *Directory) organisation(code safeguard.ODSCode) bool {
	return d.now.Load().organisations[code]
}

// Authority gives whom to call. A flag whose authority is not in the directory
// any more is still shown, with the code that is known.
func (d *Directory) Authority(code safeguard.ODSCode) safeguard.Authority {
	if a, ok := d.now.Load().authorities[code]; ok {
		return a.Authority
	}
	return safeguard.Authority{Code: code, Name: "Local authority " + code.String()}
}

// Known tells whether a local authority takes part, and may call.
func (d *Directory) Known(authority safeguard.ODSCode) bool {
	a, ok := d.now.Load().authorities[authority]
	return ok && a.Stage != store.Invited
}

// testing tells whether a local authority is to send test numbers only.
func (d *Directory) testing(authority safeguard.ODSCode) bool {
	return d.now.Load().authorities[authority].Stage == store.Testing
}

// followed is for how long after it asked about someone a site is told of
// changes: as long as it may use the answer. One that may keep none is told for as
// long as an attendance may be open, since an alert follows its reason.
func followed(site store.Site, byDefault safeguard.CachePolicy) time.Duration {
	p := site.Policy.Cache(byDefault)
	if p.Off {
		return 30 * 24 * time.Hour
	}
	return min(maxFollow, max(p.Held.Usable, p.None.Usable))
}

// longestFollowed is the longest of any site.
func (d *Directory) longestFollowed(byDefault safeguard.CachePolicy) time.Duration {
	var longest time.Duration
	for _, s := range d.now.Load().sites {
		longest = max(longest, followed(s, byDefault))
	}
	return longest
}
