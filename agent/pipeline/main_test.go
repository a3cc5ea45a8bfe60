package pipeline_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/safeguard-edge/safeguard"
)

func TestMain(m *testing.M) {
	// What is told here is what follows from what, not what a disk survives: where
	// files can be in memory, hundreds of journals need not wait for a disk.
	dir, err := os.MkdirTemp("/dev/shm", "safeguard-pipeline-")
	if err == nil {
		if err := os.Setenv("TMPDIR", dir); err != nil {
			panic(err)
		}
	}
	code := run(m)
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// run wants, after all tests, that every change of stage that the diagram shows
// was seen: what never happens is not to be drawn.
func run(m *testing.M) int {
	code := m.Run()
	all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	for _, from := range safeguard.Stages() {
		for _, to := range from.Next() {
			if _, ok := seen.Load([2]safeguard.Stage{from, to}); !ok && all && code == 0 {
				fmt.Fprintf(os.Stderr, "no test saw an attendance that was %s become %s\n", from, to)
				code = 1
			}
		}
	}
	return code
}
