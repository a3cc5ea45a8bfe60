package server

import (
	"slices"

	"github.com/safeguard-edge/safeguard"
)

// Site is a place that may ask, for its organisation and from its care settings.
type Site struct {
	Organisation safeguard.ODSCode
	Code         safeguard.ODSCode
	Name         string
	Settings     []safeguard.CareSetting
	Accountable  safeguard.Accountable // answers for lookups that name nobody
}

// Directory is who takes part: the sites that may ask, and the local authorities
// that hold flags. It does not change.
type Directory struct {
	sites       map[siteKey]Site
	authorities map[safeguard.ODSCode]safeguard.Authority
}

type siteKey struct{ organisation, site safeguard.ODSCode }

// NewDirectory makes a directory. Of two entries with the same code the last
// counts.
func NewDirectory(sites []Site, authorities []safeguard.Authority) *Directory {
	d := &Directory{map[siteKey]Site{}, map[safeguard.ODSCode]safeguard.Authority{}}
	for _, s := range sites {
		d.sites[siteKey{s.Organisation, s.Code}] = s
	}
	for _, a := range authorities {
		d.authorities[a.Code] = a
	}
	return d
}

// site gives the site that is registered under an organisation.
func (d *Directory) site(organisation, code safeguard.ODSCode) (Site, bool) {
	s, ok := d.sites[siteKey{organisation, code}]
	return s, ok
}

// authority gives whom to call. A flag whose authority is not in the directory
// any more is still shown, with the code that is known.
func (d *Directory) authority(code safeguard.ODSCode) safeguard.Authority {
	if a, ok := d.authorities[code]; ok {
		return a
	}
	return safeguard.Authority{Code: code, Name: "Local authority " + code.String()}
}

func (d *Directory) known(authority safeguard.ODSCode) bool {
	_, ok := d.authorities[authority]
	return ok
}

func (s Site) has(setting safeguard.CareSetting) bool { return slices.Contains(s.Settings, setting) }
