package web

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

const (
	monthDays = 31
	dayHours  = 24
)

// chart is columns over time, which the server draws and says in a table too.
type chart struct {
	ID      string
	Title   string
	Summary string // what it shows, in a sentence
	Unit    string
	Top     string // the highest value of the axis
	Columns []column
}

// column is a stretch of time in a chart. Of those that were not seen nothing is
// known, which is not the same as none.
type column struct {
	Label    string
	Tick     string // stands below the axis; empty for nothing
	Seen     bool
	Value    float64
	Text     string // of Value
	Bad      float64
	BadText  string
	Severity safeguard.Severity

	X, W, Y, H, BadY, BadH int // as drawn
}

// The size of a drawing.
const (
	chartWidth  = 720
	chartHeight = 120
)

// Width is the drawing's.
func (chart) Width() int { return chartWidth }

// Height is the drawing's, without what stands below the axis.
func (chart) Height() int { return chartHeight }

// Half is half of the height.
func (chart) Half() int { return chartHeight / 2 }

// Outer is the width with the values of the axis.
func (chart) Outer() int { return chartWidth + 60 }

// Last tells whether a label that begins at the column would not find room.
func (c column) Last() bool { return c.X > chartWidth*9/10 }

// span is a column before it is known what is drawn of it.
type span struct {
	label string
	tick  string
	seen  bool
	safeguard.Period
}

// dayColumns are the hours until now.
func dayColumns(hours []store.FleetHour, now time.Time) []span {
	first := now.Truncate(time.Hour).Add(-(dayHours - 1) * time.Hour)
	columns := make([]span, dayHours)
	for i := range columns {
		at := first.Add(time.Duration(i) * time.Hour)
		columns[i] = span{label: at.Format("Mon 15:04")}
		if at.Hour()%6 == 0 {
			columns[i].tick = at.Format("15:04")
		}
	}
	for _, h := range hours {
		if i := int(h.Whole.Start.Sub(first) / time.Hour); !h.Whole.Start.Before(first) && i < dayHours {
			columns[i].take(h.Whole)
		}
	}
	return columns
}

// monthColumns are the days from the first on, as the zone of its time has them.
func monthColumns(hours []store.FleetHour, first time.Time) []span {
	columns, at := make([]span, monthDays), map[string]int{}
	for i := range columns {
		day := first.AddDate(0, 0, i)
		columns[i] = span{label: day.Format("Mon 2 Jan")}
		if day.Weekday() == time.Monday {
			columns[i].tick = day.Format("2 Jan")
		}
		at[day.Format(time.DateOnly)] = i
	}
	for _, h := range hours {
		if i, ok := at[h.Whole.Start.In(first.Location()).Format(time.DateOnly)]; ok {
			columns[i].take(h.Whole)
		}
	}
	return columns
}

func (s *span) take(p safeguard.Period) { s.seen, s.Period = true, s.With(p) }

// charts are what is drawn of the columns.
func charts(id, over string, spans []span) []chart {
	messages := chart{Title: "Messages, " + over, Unit: "messages"}
	waited := chart{Title: "Longest wait of a message, " + over, Unit: "seconds"}
	checks := chart{Title: "Checks, " + over, Unit: "attendances"}
	var sum, errors, begun, open int
	var longest time.Duration
	for _, s := range spans {
		var count, bad int
		for _, f := range s.Feeds {
			count, bad = count+f.Messages, bad+f.Errors
		}
		sum, errors, begun, open = sum+count, errors+bad, begun+s.Begun, open+s.NotCompleted
		longest = max(longest, s.Oldest)
		blank := column{Label: s.label, Tick: s.tick, Seen: s.seen, Severity: s.Severity}
		messages.add(blank, float64(count), strconv.Itoa(count), float64(bad), strconv.Itoa(bad)+" not read")
		waited.add(blank, s.Oldest.Seconds(), duration(s.Oldest), 0, "")
		checks.add(blank, float64(s.Begun), strconv.Itoa(s.Begun), float64(s.NotCompleted), strconv.Itoa(s.NotCompleted)+" not completed")
	}
	messages.Summary = fmt.Sprintf("%d messages, %d of them not read.", sum, errors)
	waited.Summary = "The longest was " + duration(longest) + "."
	checks.Summary = fmt.Sprintf("%d attendances to be asked about, %d not completed at first.", begun, open)
	all := []chart{messages, waited, checks}
	for i := range all {
		all[i].ID = fmt.Sprintf("%s-%d", id, i)
		all[i].lay()
	}
	return all
}

func (c *chart) add(to column, value float64, text string, bad float64, badText string) {
	to.Value, to.Text, to.Bad = value, text, bad
	if bad > 0 {
		to.BadText = badText
	}
	c.Columns = append(c.Columns, to)
}

// lay finds where the columns stand.
func (c *chart) lay() {
	most := 0.0
	for _, col := range c.Columns {
		most = max(most, col.Value, col.Bad)
	}
	top := roundUp(most)
	c.Top = strconv.FormatFloat(top, 'f', -1, 64)
	for i := range c.Columns {
		col := &c.Columns[i]
		from, to := i*chartWidth/len(c.Columns), (i+1)*chartWidth/len(c.Columns)
		col.X, col.W = from+1, to-from-2
		col.H, col.BadH = tall(col.Value, top), tall(col.Bad, top)
		col.Y, col.BadY = chartHeight-col.H, chartHeight-col.BadH
	}
}

// tall is never nothing for something.
func tall(value, top float64) int {
	if value <= 0 {
		return 0
	}
	return max(2, int(value/top*chartHeight))
}

// roundUp is 1, 2 or 5 times a power of ten, and at least 1.
func roundUp(v float64) float64 {
	if v <= 1 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, times := range []float64{1, 2, 5} {
		if times*power >= v {
			return times * power
		}
	}
	return 10 * power
}
