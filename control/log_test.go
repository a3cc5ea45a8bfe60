package control

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/logging"
)

func TestLogLevelByCommand(t *testing.T) {
	stream, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	logs := logging.Start(logging.System{Stderr: stream})
	do := HandleLog(logs.Logger())
	ask := func(r logRequest) (l logLevels, err error) {
		args, _ := json.Marshal(r)
		err = do(t.Context(), "uid 0", args, func(row any) error { l = row.(logLevels); return nil })
		return l, err
	}
	l, err := ask(logRequest{Level: logging.Debug, For: time.Minute})
	if err != nil || l.Level != logging.Debug || l.Then != logging.Info || time.Until(l.Until) < 50*time.Second {
		t.Errorf("got %+v, %v", l, err)
	}
	var shown strings.Builder
	if err := l.print(&shown, false); err != nil || !strings.HasPrefix(shown.String(), "debug until ") || !strings.HasSuffix(shown.String(), ", then info\n") {
		t.Errorf("shown as %q, %v", shown.String(), err)
	}
	logs.Logger().Debug("looked for")
	if l, err := ask(logRequest{Reset: true}); err != nil || l.Level != logging.Info || !l.Until.IsZero() {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := ask(logRequest{}); err != nil || l.Level != logging.Info {
		t.Errorf("got %+v, %v", l, err)
	}
	if _, err := ask(logRequest{Level: logging.Debug, For: -1}); err == nil {
		t.Error("a time before now is taken")
	}
	logged, err := os.ReadFile(stream.Name())
	if err != nil || !strings.Contains(string(logged), "looked for") || !strings.Contains(string(logged), `"log level changed by an operator" to=debug for=1m0s by="uid 0"`) {
		t.Errorf("got %s, %v", logged, err)
	}
	var lines []string
	args, _ := json.Marshal(logRequest{Recent: true})
	if err := do(t.Context(), "uid 0", args, func(row any) error { lines = append(lines, row.(string)); return nil }); err != nil || len(lines) != 3 {
		t.Errorf("got %q, %v", lines, err)
	}
	if err := HandleLog(slog.New(slog.DiscardHandler))(t.Context(), "uid 0", args, nil); err == nil {
		t.Error("a log that is none of ours is changed")
	}
}
