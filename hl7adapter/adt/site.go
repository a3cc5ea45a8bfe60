package adt

import (
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Site is what a site says about its own messages. Its zero value reads them as
// the NHS standards have them.
type Site struct {
	Organisation safeguard.ODSCode
	Default      safeguard.ODSCode     // the feed's site
	Sites        []safeguard.ODSCode   // the organisation's, by which PV1-3.4 is known
	Setting      safeguard.CareSetting // where neither rule nor location says another
	Production   bool                  // take numbers of the 999 range as tests
	Zone         *time.Location        // of times that say none; UTC when nil
	Config
}

func (s *Site) zone() *time.Location {
	if s.Zone == nil {
		return time.UTC
	}
	return s.Zone
}
