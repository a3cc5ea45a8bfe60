package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/disk"
)

// current is the column of the moment. The caller holds mu.
func (r *Reporter) current(now time.Time) *safeguard.Period {
	start := now.Truncate(column)
	if n := len(r.columns); n > 0 && r.columns[n-1].Start.Sub(start) > time.Hour {
		r.columns = nil // of a clock that was far ahead
	}
	if n := len(r.columns); n > 0 && !r.columns[n-1].Start.Before(start) {
		return &r.columns[n-1] // also while a clock that was put back catches up
	}
	r.columns = append(r.columns, safeguard.Period{Start: start, Length: column})
	r.over(start)
	for len(r.columns) > int(day/column)+1 || r.columns[0].Start.Before(start.Add(-day)) {
		r.columns = r.columns[1:]
	}
	return &r.columns[len(r.columns)-1]
}

// over learns the hour before, if another has begun and all of it was seen.
func (r *Reporter) over(start time.Time) {
	hour := start.Truncate(time.Hour).Add(-time.Hour)
	whole, seen := safeguard.Period{Start: hour.In(r.agent.Zone), Length: time.Hour}, 0
	for _, c := range r.columns {
		if !c.Start.Before(hour) && c.Start.Before(hour.Add(time.Hour)) {
			whole = whole.With(c)
			seen++
		}
	}
	if seen == columnsHour && start.Truncate(time.Hour) == start {
		r.usual.Learn(whole, r.agent.Limits)
	}
}

// count takes up what has been counted since the last look. The caller holds mu.
func (r *Reporter) count(now time.Time, h *safeguard.Heartbeat, kept Journal, unseen bool) {
	step := safeguard.Period{Waiting: h.Journal.Waiting.Length, Oldest: h.Journal.Waiting.Age(now), Lookups: h.Lookups.Length}
	for i := range h.Feeds {
		f := &h.Feeds[i]
		last := r.before.feeds[f.Name]
		step.Feeds = append(step.Feeds, safeguard.FeedPeriod{Name: f.Name, Messages: int(f.Messages - last.Messages), Errors: int(f.Errors - last.Errors)})
		r.before.feeds[f.Name] = *f
		if known := r.usual.Feed(f.Name); f.LastMessage.After(known.Last) {
			known.Last = f.LastMessage
		}
	}
	delivered := 0
	for _, s := range h.Sinks {
		step.Undelivered += s.Waiting.Length
		delivered += s.Delivered
	}
	step.Delivered = delivered - r.before.delivered
	r.before.delivered = delivered
	if !unseen {
		step.Begun, step.NotCompleted, step.NoNumber = kept.Begun-r.before.begun, kept.NotCompleted-r.before.notCompleted, kept.NoNumber-r.before.noNumber
		r.before.begun, r.before.notCompleted, r.before.noNumber = kept.Begun, kept.NotCompleted, kept.NoNumber
	}
	c := r.current(now)
	*c = c.With(step)

	r.recent(now, h)
}

// recent gives what the last hours brought.
func (r *Reporter) recent(now time.Time, h *safeguard.Heartbeat) {
	for i := range h.Feeds {
		h.Feeds[i].LastHour, h.Feeds[i].HourErrors = 0, 0
	}
	h.Attendances.Window = window
	a := &h.Attendances
	a.Begun, a.NotCompleted, a.NoNumber = 0, 0, 0
	for _, c := range slices.Backward(r.columns) {
		if !c.Start.After(now.Add(-window)) {
			return
		}
		a.Begun, a.NotCompleted, a.NoNumber = a.Begun+c.Begun, a.NotCompleted+c.NotCompleted, a.NoNumber+c.NoNumber
		if !c.Start.After(now.Add(-time.Hour)) {
			continue
		}
		for i := range h.Feeds {
			f := c.Feed(h.Feeds[i].Name)
			h.Feeds[i].LastHour += f.Messages
			h.Feeds[i].HourErrors += f.Errors
		}
	}
}

// probe measures, once a column, how long a small write takes to be on the disk;
// 0 is not now.
func (r *Reporter) probe() time.Duration {
	now := time.Now()
	if r.agent.File == "" || now.Sub(r.probed) < probeEvery {
		return 0
	}
	r.probed = now
	return max(r.save(), 1)
}

// kept is what is on disk.
type kept struct {
	Usual   safeguard.Usual    `json:"usual"`
	Columns []safeguard.Period `json:"columns"`
	Sent    time.Time          `json:"sent,omitzero"`
}

// save writes the last day and what is usual, and gives how long the disk took. A
// failure costs a chart.
func (r *Reporter) save() time.Duration {
	if r.agent.File == "" {
		return 0
	}
	r.mu.Lock()
	text, err := json.Marshal(kept{r.usual, r.columns, r.sent})
	r.mu.Unlock()
	began := time.Now()
	if err == nil {
		err = disk.Replace(r.agent.File, text)
	}
	if err != nil {
		r.log.Debug("last day not written", "err", err)
	}
	return time.Since(began)
}

// load reads what was kept, as far as it is of the last day.
func (r *Reporter) load(now time.Time) {
	text, err := os.ReadFile(r.agent.File)
	var k kept
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		if r.agent.File != "" && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("last day not read, beginning anew", "err", fmt.Sprintf("%T", err))
		}
		return
	}
	r.usual, r.sent = k.Usual, k.Sent
	for _, c := range k.Columns {
		if c.Length == column && !c.Start.After(now) && c.Start.After(now.Add(-day)) {
			r.columns = append(r.columns, c)
		}
	}
}
