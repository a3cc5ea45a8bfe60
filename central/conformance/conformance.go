// Package conformance lets a supplier of a local authority's system prove it: a
// centre of its own, on this machine, with made-up persons, that asks for one
// thing after the other, watches what the system does, and reports, clause by
// clause, what was expected and what was found. Parts of the data are drawn anew
// for each run, so that only who reads what the centre says can know them.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Run says what is tried, and how.
type Run struct {
	Folder    string            // new or empty: what the system is told, and what it is to write
	Listen    string            // host:port; port 0 is any free one
	Hosts     []string          // further names or addresses the centre is called by
	Authority safeguard.ODSCode // that the system speaks for
	Patience  time.Duration     // for each step, where nobody is told to do it
	Command   []string          // does a step: the step's name is its last argument; empty where a person does them
	Tell      io.Writer         // where it is said what is to be done
}

// Report is what a run has found.
type Report struct {
	Authority safeguard.ODSCode `json:"authority"`
	Begun     time.Time         `json:"begun"`
	Ended     time.Time         `json:"ended"`
	Passed    bool              `json:"passed"`
	Clauses   []Clause          `json:"clauses"`
}

// Clause is one thing that the system must do.
type Clause struct {
	Name     string  `json:"name"`
	Title    string  `json:"title"`
	Passed   bool    `json:"passed"`
	Expected string  `json:"expected"`
	Found    string  `json:"found"`
	Seconds  float64 `json:"seconds"`
}

// Write writes the report for people, or as JSON.
func (r Report) Write(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	for _, c := range r.Clauses {
		word := "pass"
		if !c.Passed {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%s  %-20s %s\n", word, c.Name, c.Title)
		if !c.Passed {
			fmt.Fprintf(&b, "      expected: %s\n      found:    %s\n", c.Expected, c.Found)
		}
	}
	verdict := "conforms"
	if !r.Passed {
		verdict = "does not conform"
	}
	fmt.Fprintf(&b, "the system of local authority %s %s\n", r.Authority, verdict)
	_, err := io.WriteString(out, b.String())
	return err
}

// Do runs all steps, also after one that fails, unless ctx ends.
func (r Run) Do(ctx context.Context) (Report, error) {
	if err := r.folder(); err != nil {
		return Report{}, err
	}
	c, err := begin(ctx, r)
	if err != nil {
		return Report{}, err
	}
	report := Report{Authority: r.Authority, Begun: time.Now().UTC(), Passed: true}
	for _, s := range c.steps() {
		clause, err := r.step(ctx, c, s)
		if err != nil {
			return Report{}, errors.Join(fmt.Errorf("step %s: %w", s.name, err), c.end())
		}
		report.Clauses = append(report.Clauses, clause)
		report.Passed = report.Passed && clause.Passed
	}
	report.Ended = time.Now().UTC()
	return report, c.end()
}

// folder makes the folder. What another run left there would be taken for the
// system's.
func (r Run) folder() error {
	if err := os.MkdirAll(r.Folder, 0o700); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	there, err := os.ReadDir(r.Folder)
	if err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("folder: %s is not empty, want a new one", r.Folder)
	}
	return nil
}

// look is how often a step that a person does is looked at.
const look = 200 * time.Millisecond

func (r Run) step(ctx context.Context, c *centre, s step) (Clause, error) {
	begun := time.Now()
	if s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return Clause{}, err
		}
	}
	task := s.task + "\n"
	if err := os.WriteFile(filepath.Join(r.Folder, "task.txt"), []byte(s.name+"\n"+task), 0o600); err != nil {
		return Clause{}, err
	}
	if _, err := fmt.Fprintf(r.Tell, "\n%s: %s\n%s", s.name, s.title, task); err != nil {
		return Clause{}, err
	}
	found, failure := "", ""
	if len(r.Command) > 0 {
		failure = r.command(ctx, c, s.name)
		found = s.check()
	} else {
		deadline := time.Now().Add(r.Patience)
		for found = s.check(); found != "" && ctx.Err() == nil && time.Now().Before(deadline); found = s.check() {
			select {
			case <-time.After(look):
			case <-ctx.Done():
			}
		}
	}
	if ctx.Err() != nil {
		return Clause{}, ctx.Err()
	}
	clause := Clause{Name: s.name, Title: s.title, Passed: found == "", Expected: s.expected, Found: found, Seconds: time.Since(begun).Seconds()}
	switch {
	case clause.Passed:
		clause.Found = "as expected"
	case failure != "":
		clause.Found += "; " + failure
	}
	return clause, nil
}

// command does a step, and tells how that ended where it did not end well.
func (r Run) command(ctx context.Context, c *centre, name string) (failure string) {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	args := append(append([]string{}, r.Command[1:]...), name)
	command := exec.CommandContext(ctx, r.Command[0], args...)
	command.Env = append(os.Environ(), "CONFORMANCE_FOLDER="+r.Folder, "CONFORMANCE_SERVER="+c.address())
	command.Stdout, command.Stderr = r.Tell, r.Tell
	command.WaitDelay = 10 * time.Second
	if err := command.Run(); err != nil {
		return "the command ended with " + err.Error()
	}
	return ""
}
