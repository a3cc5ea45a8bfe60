package agent

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestLogLevelByCommand(t *testing.T) {
	logs, logged := logTo(t)
	do := operateLog(logs.Logger())
	ask := func(r LogRequest) (l LogLevels, err error) {
		args, _ := json.Marshal(r)
		err = do(t.Context(), "uid 0", args, func(row any) error { l = row.(LogLevels); return nil })
		return l, err
	}
	if l, err := ask(LogRequest{Level: logging.Debug, For: time.Minute}); err != nil || l.Level != logging.Debug || l.Then != logging.Info || time.Until(l.Until) < 50*time.Second {
		t.Errorf("got %+v, %v", l, err)
	}
	logs.Logger().Debug("looked for")
	if l, err := ask(LogRequest{Reset: true}); err != nil || l.Level != logging.Info || !l.Until.IsZero() {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := ask(LogRequest{}); err != nil || l.Level != logging.Info {
		t.Errorf("got %+v, %v", l, err)
	}
	if _, err := ask(LogRequest{Level: logging.Debug, For: -1}); err == nil {
		t.Error("a time before now is taken")
	}
	if got := logged(); !strings.Contains(got, "looked for") || !strings.Contains(got, `"log level changed by an operator" to=debug for=1m0s by="uid 0"`) {
		t.Errorf("got %s", got)
	}
	var lines []string
	args, _ := json.Marshal(LogRequest{Recent: true})
	if err := do(t.Context(), "uid 0", args, func(row any) error { lines = append(lines, row.(string)); return nil }); err != nil || len(lines) != 3 {
		t.Errorf("got %q, %v", lines, err)
	}
	if err := operateLog(slog.New(slog.DiscardHandler))(t.Context(), "uid 0", args, nil); err == nil {
		t.Error("a log that is none of ours is changed")
	}
}
