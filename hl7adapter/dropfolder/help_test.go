package dropfolder

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimFolder); dir != "" {
		victim(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// deadline is how long a test waits for what must come.
const deadline = time.Minute

var quiet = slog.New(slog.DiscardHandler)

func testConfig(t testing.TB) Config {
	c := DefaultConfig()
	c.Name, c.Folder, c.Progress = "pas", t.TempDir(), filepath.Join(t.TempDir(), "progress")
	c.Ready = Renamed
	c.Poll = 20 * time.Millisecond
	return c
}

// disk is an Accept that remembers.
type disk struct {
	mu       sync.Mutex // guards the fields below
	messages []feed.Message
	answer   func(feed.Message) error // nil for yes
}

func (d *disk) accept(_ context.Context, m feed.Message) (feed.Ack, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.answer != nil {
		if err := d.answer(m); err != nil {
			return nil, err
		}
	}
	d.messages = append(d.messages, m)
	return m.Ack, nil
}

func (d *disk) bodies() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, m := range d.messages {
		out = append(out, string(m.Body))
	}
	return out
}

// start runs a feed; it must end cleanly when the test does, or before.
func start(t testing.TB, c Config, d *disk, log *slog.Logger) (f *Folder, stop func()) {
	t.Helper()
	f, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	return f, run(t, f, d)
}

func run(t testing.TB, f *Folder, d *disk) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, d.accept) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(deadline):
			t.Error("run did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// drop puts a file into the folder at once.
func drop(t testing.TB, c Config, name, content string) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.WriteFile(aside, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(c.Folder, name)); err != nil {
		t.Fatal(err)
	}
}

// names lists a folder inside the drop folder, without folders.
func names(t testing.TB, c Config, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.Folder, dir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

// read returns the one file in a folder inside the drop folder whose name ends so.
func read(t testing.TB, c Config, dir, suffix string) string {
	t.Helper()
	var found []string
	for _, name := range names(t, c, dir) {
		if strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d files that end with %s, want 1", dir, len(found), suffix)
	}
	b, err := os.ReadFile(filepath.Join(c.Folder, dir, found[0]))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// gone says whether every file was taken to its end.
func gone(t testing.TB, c Config) func() bool {
	return func() bool { return len(names(t, c, "."))+len(names(t, c, taking)) == 0 }
}

var eventually = feedtest.Eventually

type lockedBuffer = loggingtest.Log

var textLog = feedtest.TextLog
