// Package findings is how a check of a program tells what it has looked at, what came
// of it, and what to do.
package findings

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Result is what came of one check.
type Result string

// The results, the worst last.
const (
	Pass Result = "pass"
	Warn Result = "warn"
	Fail Result = "fail"
)

// Finding is one line of a check: what was looked at, what came of it, and what
// to do. There is nothing secret in it, and nothing about a patient.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Text   string `json:"text"`
	Do     string `json:"do,omitempty"` // where it did not pass
}

// Printer writes findings as they come, for a person or as JSON lines, and counts
// them.
type Printer struct {
	Out    io.Writer
	JSON   bool
	counts map[Result]int
}

// Print writes one.
func (p *Printer) Print(f Finding) error {
	if p.counts == nil {
		p.counts = map[Result]int{}
	}
	p.counts[f.Result]++
	if p.JSON {
		return json.NewEncoder(p.Out).Encode(f)
	}
	text := fmt.Sprintf("%-4s  %s: %s\n", strings.ToUpper(string(f.Result)), f.Check, f.Text)
	if f.Do != "" {
		text += fmt.Sprintf("      do: %s\n", f.Do)
	}
	_, err := io.WriteString(p.Out, text)
	return err
}

// End writes how many there were, and gives the worst.
func (p *Printer) End() (worst Result, err error) {
	if !p.JSON {
		_, err = fmt.Fprintf(p.Out, "%d passed, %d warnings, %d failed\n", p.counts[Pass], p.counts[Warn], p.counts[Fail])
	}
	for _, r := range []Result{Fail, Warn} {
		if p.counts[r] > 0 {
			return r, err
		}
	}
	return Pass, err
}
