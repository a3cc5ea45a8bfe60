// Package holidays says which days are bank holidays.
package holidays

import (
	"time"

	"github.com/rickar/cal/v2"
	"github.com/rickar/cal/v2/gb"
)

var england = &cal.Calendar{Holidays: gb.Holidays}

// England tells whether the day that the time has in its zone is a bank holiday of
// England and Wales, or one at a weekend for which another day is given. Of those
// that are proclaimed once, such as for a coronation, the past ones are known.
func England(t time.Time) bool {
	actual, observed, _ := england.IsHoliday(t)
	return actual || observed
}
