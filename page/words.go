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
