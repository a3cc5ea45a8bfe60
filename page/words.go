package page

import (
	"fmt"
	"html/template"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Moment is a time as a person and a program read it.
func Moment(at time.Time, layout string) template.HTML {
	if at.IsZero() || at.Unix() <= 0 {
		return "never"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, at.Format(time.RFC3339), at.Format(layout)))
}

// Icon is a sign for a severity that does not need its colour to be told.
func Icon(s safeguard.Severity) string {
	return map[safeguard.Severity]string{safeguard.Critical: "■", safeguard.Attention: "▲", safeguard.Notice: "●"}[s]
}

// Duration is in the unit that matters.
func Duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "none"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Size is a number of bytes.
func Size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// Share is a part of the whole.
func Share(part, whole int) string {
	if whole == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}
