package safeguard

import (
	"math"
	"time"
)

// Rhythm is how many messages usually come in each hour of the week, learnt as
// the weeks go by. Its hours are those of the times that it is given, so that
// they should be in the hospital's time zone.
type Rhythm struct {
	Means [hoursOfWeek]float64 `json:"means"`          // by hour, from Sunday 00:00 on
	Weeks [hoursOfWeek]int     `json:"weeks"`          // that each was learnt from
	Until time.Time            `json:"until,omitzero"` // the end of the last hour that was learnt
}

const hoursOfWeek = 7 * 24

// How fast a rhythm follows. An hour in which hardly anything came weighs little,
// for else an outage would become what is usual; a feed that has come down for
// good is taken for usual after some weeks.
const (
	follows      = 0.25
	followsQuiet = 0.06
)

// Learn takes up what came in the hour that begins then. Hours are learnt in
// their order, each once.
func (r *Rhythm) Learn(hour time.Time, count int) {
	if hour.Before(r.Until) {
		return
	}
	r.Until = hour.Add(time.Hour)
	i := hourOfWeek(hour)
	weight := max(follows, 1/float64(r.Weeks[i]+1))
	if r.Weeks[i] > 0 && float64(count) < r.Means[i]/4 {
		weight = followsQuiet
	}
	r.Means[i] += weight * (float64(count) - r.Means[i])
	r.Weeks[i]++
}

// Expected is how many messages usually come between two moments, and whether
// that is known. An hour of the week that was never seen counts as half of the
// same hour of other days. A holiday's hours count as a Sunday's; holiday is nil
// where there are none.
func (r *Rhythm) Expected(from, to time.Time, holiday func(time.Time) bool) (count float64, known bool) {
	if earliest := to.AddDate(0, 0, -14); from.Before(earliest) {
		from = earliest
	}
	off, day := false, -1
	for from.Before(to) {
		if day != from.YearDay() && holiday != nil {
			off, day = holiday(from), from.YearDay()
		}
		next := from.Truncate(time.Hour).Add(time.Hour)
		if next.After(to) {
			next = to
		}
		hour := hourOfWeek(from)
		if off {
			hour %= 24
		}
		if mean, ok := r.mean(hour); ok {
			known = true
			count += mean * next.Sub(from).Hours()
		}
		from = next
	}
	return count, known
}

func (r *Rhythm) mean(hour int) (float64, bool) {
	if r.Weeks[hour] > 0 {
		return r.Means[hour], true
	}
	sum, days := 0.0, 0
	for i := hour % 24; i < hoursOfWeek; i += 24 {
		if r.Weeks[i] > 0 {
			sum += r.Means[i]
			days++
		}
	}
	if days == 0 {
		return 0, false
	}
	return sum / float64(days) / 2, true
}

func hourOfWeek(t time.Time) int { return int(t.Weekday())*24 + t.Hour() }

// Share is what part of something is usually so, learnt as it goes by.
type Share struct {
	Mean   float64 `json:"mean"`
	Weight float64 `json:"weight"` // of how many it was learnt; bounded, so that it follows
}

// weighs is of how many a share is learnt at most: what came before that fades.
const weighs = 2000

// Learn takes up that part of the whole was so.
func (s *Share) Learn(part, whole int) {
	if whole <= 0 {
		return
	}
	n := float64(whole)
	s.Mean = (s.Mean*s.Weight + float64(min(part, whole))) / (s.Weight + n)
	s.Weight = min(s.Weight+n, weighs)
}

// Rising tells whether part of the whole is more than is usual: at least the
// floor, twice what is usual, and more than chance explains. Of fewer than least
// nothing can be said.
func (s Share) Rising(part, whole, least int, floor float64) bool {
	if whole < max(1, least) {
		return false
	}
	n, usual := float64(whole), 0.0
	if s.Weight >= float64(least) {
		usual = s.Mean
	}
	chance := n*usual + 3*math.Sqrt(n*usual*(1-usual))
	return float64(part) >= n*max(floor, 2*usual) && float64(part) > chance
}
