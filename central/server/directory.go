package server

import (
	"slices"
	"sync/atomic"

	"github.com/safeguard-edge/safeguard"
)

// Site is a place that may ask, for its organisation and from its care settings.
type Site struct {
	Organisation safeguard.ODSCode
	Code         safeguard.ODSCode
	Name         string
	Settings     []safeguard.CareSetting
	Accountable  safeguard.Accountable // answers for lookups that name nobody
	Invited      bool                  // may not ask yet
}

// Directory is who takes part: the sites that may ask, and the local authorities
// that hold flags. It may be set anew while it is used.
type Directory struct{ now atomic.Pointer[participants] }

type participants struct {
	sites       map[siteKey]Site
	authorities map[safeguard.ODSCode]safeguard.Authority
	invited     map[safeguard.ODSCode]bool // authorities that may not call yet
}

type siteKey struct{ organisation, site safeguard.ODSCode }

// NewDirectory makes a directory. Of two entries with the same code the last
// counts.
func NewDirectory(sites []Site, authorities []safeguard.Authority) *Directory {
	d := &Directory{}
	d.Set(sites, authorities)
	return d
}

// Set puts others in the place of all that take part. Of the authorities, those
// invited are known to clinicians, and may not call.
func (d *Directory) Set(sites []Site, authorities []safeguard.Authority, invited ...safeguard.ODSCode) {
	p := &participants{map[siteKey]Site{}, map[safeguard.ODSCode]safeguard.Authority{}, map[safeguard.ODSCode]bool{}}
	for _, s := range sites {
		p.sites[siteKey{s.Organisation, s.Code}] = s
	}
	for _, a := range authorities {
		p.authorities[a.Code] = a
	}
	for _, code := range invited {
		p.invited[code] = true
	}
	d.now.Store(p)
}

// site gives the site that is registered under an organisation.
func (d *Directory) site(organisation, code safeguard.ODSCode) (Site, bool) {
	s, ok := d.now.Load().sites[siteKey{organisation, code}]
	return s, ok
}

// authority gives whom to call. A flag whose authority is not in the directory
// any more is still shown, with the code that is known.
func (d *Directory) authority(code safeguard.ODSCode) safeguard.Authority {
	if a, ok := d.now.Load().authorities[code]; ok {
		return a
	}
	return safeguard.Authority{Code: code, Name: "Local authority " + code.String()}
}

func (d *Directory) known(authority safeguard.ODSCode) bool {
	p := d.now.Load()
	_, ok := p.authorities[authority]
	return ok && !p.invited[authority]
}

func (s Site) has(setting safeguard.CareSetting) bool { return slices.Contains(s.Settings, setting) }
