//go:build !windows

package logging_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/safeguard-edge/safeguard/logging"
)

// systemd says in JOURNAL_STREAM which stream leads to its journal.
func TestTheErrorStreamIsTheJournals(t *testing.T) {
	stream, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(stream.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))
	logging.Start(logging.System{Stderr: stream}).Logger().Warn("to the journal")
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino+1)) // as when it was redirected since
	logging.Start(logging.System{Stderr: stream}).Logger().Warn("to a file")
	got := read(t, stream.Name())
	if !strings.HasPrefix(got, "<4>msg=\"to the journal\"\ntime=") {
		t.Errorf("got %q", got)
	}
}
