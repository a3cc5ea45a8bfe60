package page

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Chart is columns over time, which the server draws and says in a table too.
type Chart struct {
	ID      string
	Title   string
	Summary string // what it shows, in a sentence
	Unit    string
	Top     string // the highest value of the axis
	Columns []Column
}

// Column is a stretch of time in a chart. Of those that were not seen nothing is
// known, which is not the same as none.
type Column struct {
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
func (Chart) Width() int { return chartWidth }

// Height is the drawing's, without what stands below the axis.
func (Chart) Height() int { return chartHeight }

// Half is half of the height.
func (Chart) Half() int { return chartHeight / 2 }

// Outer is the width with the values of the axis.
func (Chart) Outer() int { return chartWidth + 72 }

// Last tells whether a label that begins at the column would not find room.
func (c Column) Last() bool { return c.X > chartWidth*9/10 }

// Span is a column before it is known what is drawn of it.
type Span struct {
	Label string
	Tick  string
	Seen  bool
	safeguard.Period
}

// Take adds what was seen in a part of the span.
func (s *Span) Take(p safeguard.Period) { s.Seen, s.Period = true, s.With(p) }

// Day is the last 24 hours in steps, until now and as its zone has them. The
// periods may be shorter than a step, and not longer.
func Day(periods []safeguard.Period, now time.Time, step time.Duration) []Span {
	spans := make([]Span, 24*time.Hour/step)
	first := now.Truncate(step).Add(-step * time.Duration(len(spans)-1))
	for i := range spans {
		at := first.Add(time.Duration(i) * step)
		spans[i] = Span{Label: at.Format("Mon 15:04")}
		if at.Hour()%6 == 0 && at.Minute() == 0 {
			spans[i].Tick = at.Format("15:04")
		}
	}
	for _, p := range periods {
		if i := int(p.Start.Sub(first) / step); !p.Start.Before(first) && i < len(spans) {
			spans[i].Take(p)
		}
	}
	return spans
}

// Charts are what is drawn of the spans, over that time. The id is the first one's
// beginning in the page.
func Charts(id, over string, spans []Span) []Chart {
	messages := Chart{Title: "Messages, " + over, Unit: "messages"}
	waited := Chart{Title: "Longest wait of a message, " + over, Unit: "seconds"}
	checks := Chart{Title: "Checks, " + over, Unit: "attendances"}
	var sum, errors, begun, open int
	var longest time.Duration
	for _, s := range spans {
		var count, bad int
		for _, f := range s.Feeds {
			count, bad = count+f.Messages, bad+f.Errors
		}
		sum, errors, begun, open = sum+count, errors+bad, begun+s.Begun, open+s.NotCompleted
		longest = max(longest, s.Oldest)
		blank := Column{Label: s.Label, Tick: s.Tick, Seen: s.Seen, Severity: s.Severity}
		messages.add(blank, float64(count), strconv.Itoa(count), float64(bad), strconv.Itoa(bad)+" not read")
		waited.add(blank, s.Oldest.Seconds(), safeguard.InWords(s.Oldest), 0, "")
		checks.add(blank, float64(s.Begun), strconv.Itoa(s.Begun), float64(s.NotCompleted), strconv.Itoa(s.NotCompleted)+" not completed")
	}
	messages.Summary = fmt.Sprintf("%d messages, %d of them not read.", sum, errors)
	waited.Summary = "The longest was " + safeguard.InWords(longest) + "."
	checks.Summary = fmt.Sprintf("%d attendances to be asked about, %d not completed at first.", begun, open)
	all := []Chart{messages, waited, checks}
	for i := range all {
		all[i].ID = fmt.Sprintf("%s-%d", id, i)
		all[i].lay()
	}
	return all
}

func (c *Chart) add(to Column, value float64, text string, bad float64, badText string) {
	to.Value, to.Text, to.Bad = value, text, bad
	if bad > 0 {
		to.BadText = badText
	}
	c.Columns = append(c.Columns, to)
}

// lay finds where the columns stand.
func (c *Chart) lay() {
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
