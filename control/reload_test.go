package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestWhatBecameOfAReload(t *testing.T) {
	for name, c := range map[string]struct {
		row, out string
		json     bool
		err      string
		code     int
	}{
		"all in force":        {`{"applied":["feed pas","log"],"restart":null}`, "in force: feed pas, log\n", false, "", 0},
		"nothing":             {`{"applied":null,"restart":null}`, "nothing has changed\n", false, "", 0},
		"some need a restart": {`{"applied":["log"],"restart":["listen","data"]}`, "in force: log\n", false, "needs a restart: listen, data", 3},
		"all need one":        {`{"applied":null,"restart":["listen"]}`, "", false, "needs a restart: listen", 3},
		"JSON":                {`{"applied":["log"],"restart":["data"],"file":"x"}`, `{"applied":["log"],"restart":["data"],"file":"x"}` + "\n", true, "needs a restart: data", 3},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := ReloadCommand{JSON: c.json}.print(&out, []byte(c.row))
			if out.String() != c.out || fmt.Sprint(err) != c.err && (err != nil || c.err != "") || ExitCode(err) != c.code {
				t.Errorf("printed %q, %v, code %d, want %q, %q, %d", out.String(), err, ExitCode(err), c.out, c.err, c.code)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("any"), 1}, {fmt.Errorf("log: %w", ErrNotRunning), 4}, {fmt.Errorf("log: %w", ErrDenied), 4}, {fmt.Errorf("%w: data", ErrRestart), 3},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
}
