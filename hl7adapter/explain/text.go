package explain

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteText writes the explanation for a person to read.
func (m Message) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "What it means to Safeguard\n")
	fact(b, "treatment", m.Treatment)
	fact(b, "because", m.Rule)
	fact(b, "refused", m.Refused)
	for _, f := range m.Meaning {
		fact(b, f.About, f.Says)
	}
	list(b, "Not understood", m.NotUnderstood)
	list(b, "Segments that mean nothing to Safeguard", m.NotRead)
	if len(m.Segments) > 0 {
		fmt.Fprint(b, "\nWhat was read")
		if m.Masked {
			fmt.Fprint(b, " (masked: xxx letters, # digit; --reveal shows it)")
		}
		fmt.Fprintln(b)
	}
	for _, s := range m.Segments {
		fmt.Fprintln(b, strings.TrimRight("  "+s.Name+"  "+s.Title, " "))
		for _, f := range s.Fields {
			at := fmt.Sprint(f.Number)
			if f.Repetition > 0 {
				at = fmt.Sprintf("%d[%d]", f.Number, f.Repetition)
			}
			fmt.Fprintf(b, "    %-6s %-34s %s\n", at, f.Name, f.Value)
		}
	}
	return b.Flush()
}

func fact(w io.Writer, about, says string) {
	if says != "" {
		fmt.Fprintf(w, "  %-16s %s\n", about, says)
	}
}

func list(w io.Writer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, item := range items {
		fmt.Fprintf(w, "  %s\n", item)
	}
}
