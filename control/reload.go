package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ReloadCommand has the running service take its configuration file again, as
// flags of a program. It calls "config" with "reload", whose handler answers with
// a Reloaded, or with more.
type ReloadCommand struct {
	Operated
	JSON bool `help:"Write JSON." name:"json"`
}

// Reloaded tells what became of a configuration that was read again.
type Reloaded struct {
	Applied []string `json:"applied"` // what changed and is in force
	Restart []string `json:"restart"` // keys that changed and need a restart
}

// ErrRestart means that some of the configuration is not in force.
var ErrRestart = errors.New("needs a restart")

// Run returns an ErrRestart where something needs one.
func (c ReloadCommand) Run(s Service) error {
	return c.ask(s, "config", "reload", func(row json.RawMessage) error { return c.print(os.Stdout, row) })
}

func (c ReloadCommand) print(out io.Writer, row json.RawMessage) (err error) {
	var r Reloaded
	if err := json.Unmarshal(row, &r); err != nil {
		return err
	}
	switch {
	case c.JSON:
		_, err = fmt.Fprintf(out, "%s\n", row)
	case len(r.Applied) == 0 && len(r.Restart) == 0:
		_, err = fmt.Fprintln(out, "nothing has changed")
	case len(r.Applied) > 0:
		_, err = fmt.Fprintln(out, "in force:", strings.Join(r.Applied, ", "))
	}
	if err == nil && len(r.Restart) > 0 {
		err = fmt.Errorf("%w: %s", ErrRestart, strings.Join(r.Restart, ", "))
	}
	return err
}
