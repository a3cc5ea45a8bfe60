package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/logging"
)

func logTo(t *testing.T) (*logging.Log, func() string) {
	t.Helper()
	stream, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return logging.Start(logging.System{Stderr: stream}), func() string {
		text, err := os.ReadFile(stream.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// Another level, and another place, are taken while the agent runs; a place that
// can not be written changes nothing at all.
func TestReloadTakesTheLog(t *testing.T) {
	feed := mllpFeed("pas", free(t), "")
	h := start(t, feed)
	logs, logged := logTo(t)
	h.live.log = logs.Logger()
	good := strings.Replace(liveConfig, "FEEDS", feed, 1)
	h.put(strings.Replace(good, "OUT", filepath.Join(filepath.Dir(h.file), "out"), 1) + "log: {to: file, level: debug, file: {path: logs/agent.log}}\n")
	r, err := h.live.reload("test")
	if err != nil || !slices.Equal(r.Applied, []string{"log"}) || len(r.Restart) > 0 {
		t.Fatalf("applied %v, restart for %v, %v", r.Applied, r.Restart, err)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(h.file), "logs", "agent.log"))
	if err != nil || !strings.Contains(string(text), "configuration taken") {
		t.Errorf("in the file is %q (%v)", text, err)
	}
	h.put(strings.Replace(good, "OUT", filepath.Join(filepath.Dir(h.file), "out"), 1) + "log: {to: file, file: {path: /dev/null/agent.log}}\n")
	if r, err = h.live.reload("test"); err == nil || !strings.Contains(err.Error(), "log.to") || len(r.Applied) > 0 {
		t.Errorf("applied %v, %v", r.Applied, err)
	}
	if now, _, _ := logs.Levels(); now != logging.Debug {
		t.Errorf("logs at %v", now)
	}
	if err := logs.Close(); err != nil || strings.Contains(logged(), "taken") {
		t.Errorf("still on the error stream: %s (%v)", logged(), err)
	}
}
