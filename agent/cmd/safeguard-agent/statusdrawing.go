package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/page"
)

// statusDrawing is a report as it is drawn in characters.
type statusDrawing struct {
	b       strings.Builder
	width   int
	colours bool
	now     time.Time
}

func (d *statusDrawing) all(shown statuspage.Shown) {
	v := statuspage.Look(shown, d.now)
	h := v.Report
	d.wrapped("", 0, d.painted(v.Look, v.Sign+" "+v.Verdict))
	d.wrapped("  ", 2, fmt.Sprintf("%s, %s since %s. %s", printable(h.Device), h.State, d.when(h.Since), v.Explained))
	d.line("")
	for _, l := range v.Way {
		d.link(l)
	}
	d.line("")
	d.warnings(h.Warnings)
	d.day(shown.Day)
	d.facts(v)
}

func (d *statusDrawing) link(l statuspage.Link) {
	how := d.painted("well", "✓ well     ")
	if l.Unknown {
		d.line(fmt.Sprintf("%-8s not seen yet", l.Name))
		return
	}
	if l.Severity > safeguard.NoSeverity {
		how = d.painted(l.Severity.String(), fmt.Sprintf("%s %-9s", page.Icon(l.Severity), l.Severity))
	}
	before := fmt.Sprintf("%-8s %s  ", l.Name, how)
	for _, fact := range l.Facts {
		d.wrapped(before, 22, printable(fact))
		before = strings.Repeat(" ", 22)
	}
	if len(l.Facts) == 0 {
		d.line(before)
	}
}

func (d *statusDrawing) warnings(list []safeguard.Warning) {
	for _, w := range list {
		severity := w.Code.Declared().Severity
		d.wrapped(d.painted(severity.String(), page.Icon(severity)+" "), 2, printable(w.Sentence()))
		d.wrapped("  ", 2, printable(w.Remedy()))
		d.wrapped("  ", 2, d.painted("faint", fmt.Sprintf("since %s; %s", d.when(w.Since), w.Code.Declared().Runbook())))
	}
	if len(list) > 0 {
		d.line("")
	}
}

// The day is drawn with a character for each half of an hour.
const (
	dayStep   = 30 * time.Minute
	dayColumn = 11 // where it begins
)

var bars = []rune(" ▁▂▃▄▅▆▇█")

func (d *statusDrawing) day(periods []safeguard.Period) {
	spans := page.Day(periods, d.now, dayStep)
	room := max(8, d.width-dayColumn)
	spans = spans[max(0, len(spans)-room):]
	most, state, messages := 1, "", ""
	count := func(s page.Span) (n int) {
		for _, f := range s.Feeds {
			n += f.Messages
		}
		return n
	}
	for _, s := range spans {
		most = max(most, count(s))
	}
	ticks := []rune(strings.Repeat(" ", len(spans)+8))
	for i, s := range spans {
		if s.Tick != "" {
			copy(ticks[i:], []rune(s.Tick))
		}
		switch {
		case !s.Seen:
			state, messages = state+d.painted("faint", "·"), messages+" "
			continue
		case s.State == safeguard.Failing:
			state += d.painted("critical", "█")
		case s.State == safeguard.Degraded:
			state += d.painted("attention", "▄")
		default:
			state += d.painted("well", "▁")
		}
		n := count(s)
		height := n * (len(bars) - 1) / most
		if n > 0 {
			height = max(1, height)
		}
		messages += string(bars[height])
	}
	d.line(fmt.Sprintf("%-*s%s", dayColumn, "24 hours", state))
	d.line(fmt.Sprintf("%-*s%s", dayColumn, "messages", strings.TrimRight(messages, " ")))
	d.line(d.painted("faint", strings.Repeat(" ", dayColumn)+strings.TrimRight(string(ticks), " ")))
	d.wrapped(strings.Repeat(" ", dayColumn), dayColumn, d.painted("faint", "▁ working  ▄ without the centre  █ failing  · not running"))
	d.line("")
}

func (d *statusDrawing) facts(v statuspage.View) {
	h := v.Report
	certificate := "not read"
	if !h.Certificate.Until.IsZero() {
		certificate = fmt.Sprintf("until %s, %s left", h.Certificate.Until.In(d.now.Location()).Format("2 Jan 2006"), safeguard.InWords(v.CertificateLeft))
	}
	cached := h.Cache.State
	if h.Cache.Why != "" {
		cached += ": " + h.Cache.Why
	}
	if h.Cache.Entries > 0 {
		cached += fmt.Sprintf(", %d answers, newest %s, oldest %s", h.Cache.Entries, d.when(h.Cache.Newest), d.when(h.Cache.Oldest))
	}
	for _, f := range [][2]string{
		{"certificate", certificate},
		{"cache", cached},
		{"clock", v.Clock},
		{"disk", fmt.Sprintf("%s free, intake stops below %s", page.Size(h.Disk.Free), page.Size(h.Disk.Floor))},
		{"version", fmt.Sprintf("%s, configuration %.12s, started %s", h.Version, h.Config, d.when(h.Started))},
		{"as of", h.At.In(d.now.Location()).Format("2 Jan 15:04:05")},
	} {
		d.wrapped(fmt.Sprintf("%-13s", f[0]), 13, printable(f[1]))
	}
}

// when is a time and how long ago that is.
func (d *statusDrawing) when(at time.Time) string {
	if at.IsZero() || at.Unix() <= 0 {
		return "never"
	}
	layout := "2 Jan 15:04"
	if d.now.Sub(at).Abs() < 18*time.Hour {
		layout = "15:04"
	}
	return fmt.Sprintf("%s (%s)", at.In(d.now.Location()).Format(layout), statuspage.Ago(d.now, at))
}

func (d *statusDrawing) line(text string) { d.b.WriteString(strings.TrimRight(text, " ") + "\n") }

// wrapped writes words after what stands before them, and indents what does not
// fit.
func (d *statusDrawing) wrapped(before string, indent int, text string) {
	line, length, empty := before, indent, true
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(plain(word))
		if !empty && length+1+n > d.width {
			d.line(line)
			line, length, empty = strings.Repeat(" ", indent), indent, true
		}
		if !empty {
			line, length = line+" ", length+1
		}
		line, length, empty = line+word, length+n, false
	}
	d.line(line)
}

// The colours of each word, by their SGR codes (ECMA-48). None is needed to tell
// what is meant.
var paints = map[string]string{"critical": "1;31", "attention": "1;33", "notice": "1;34", "well": "32", "faint": "2"}

func (d *statusDrawing) painted(as, text string) string {
	if !d.colours {
		return text
	}
	// Each word by itself, as they may come to stand on two lines.
	var words []string
	for word := range strings.SplitSeq(text, " ") {
		if word != "" {
			word = "\x1b[" + paints[as] + "m" + word + "\x1b[0m"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// plain is text without its colours.
func plain(text string) string {
	for {
		from := strings.Index(text, "\x1b[")
		if from < 0 {
			return text
		}
		to := strings.IndexByte(text[from:], 'm')
		if to < 0 {
			return text
		}
		text = text[:from] + text[from+to+1:]
	}
}
