package logging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin is a log whose error stream is a file, and what reads it.
func begin(t *testing.T) (*logging.Log, func() string) {
	t.Helper()
	stream, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return logging.Start(logging.System{Stderr: stream}), func() string { return read(t, stream.Name()) }
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func configure(t *testing.T, l *logging.Log, c logging.Config) {
	t.Helper()
	if err := l.Configure(c); err != nil {
		t.Fatal(err)
	}
}

func TestHandler(t *testing.T) {
	var l *logging.Log
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		l, _ = begin(t)
		return l.Logger().Handler()
	}, func(t *testing.T) map[string]any {
		lines := logging.Recent(l.Logger())
		var line map[string]any
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
			t.Fatal(err)
		}
		return line
	})
}

func TestALineSaysWhatHappened(t *testing.T) {
	l, read := begin(t)
	number, err := safeguard.ParseNHSNumber("9990000018")
	if err != nil {
		t.Fatal(err)
	}
	l.Logger().With("feed", "pas").WarnContext(logging.WithEntry(t.Context(), 4711), "message set aside", "err", errors.New("no PID segment"), "patient", number)
	got := read()
	for _, want := range []string{"level=WARN", `msg="message set aside"`, "feed=pas", `err="no PID segment"`, "entry=4711"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "999000") {
		t.Errorf("a number in %s", got)
	}
}

func TestEntryOverAWire(t *testing.T) {
	for text, want := range map[string]string{"17": "17", "0": "", "-4": "", "": "", "Smith": "", "99999999999999999999": ""} {
		if got := logging.Entry(logging.ParseEntry(t.Context(), text)); got != want {
			t.Errorf("entry %q: got %q, want %q", text, got, want)
		}
	}
}

func TestLevelOfTheConfiguration(t *testing.T) {
	l, read := begin(t)
	c := logging.DefaultConfig()
	c.Level = logging.Warn
	configure(t, l, c)
	l.Logger().Info("quiet")
	l.Logger().Warn("loud")
	if got := read(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("got %s", got)
	}
}

func TestLevelForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, read := begin(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		defer func() { stop(); running.Wait() }()
		log := l.Logger().With("part", "derived before") // goes along

		l.SetLevel(logging.Debug, 10*time.Minute)
		if now, until, then := l.Levels(); now != logging.Debug || time.Until(until) != 10*time.Minute || then != logging.Info {
			t.Errorf("levels: got %v until %v, then %v", now, until, then)
		}
		log.Debug("looked for")
		time.Sleep(9 * time.Minute)
		c := logging.DefaultConfig() // a reload does not end it
		configure(t, l, c)
		log.Debug("still looked for")
		time.Sleep(61 * time.Second)
		synctest.Wait()
		log.Debug("not looked for any more")
		got := read()
		if !strings.Contains(got, "looked for") || !strings.Contains(got, "still looked for") || strings.Contains(got, "any more") {
			t.Errorf("got %s", got)
		}
		if !strings.Contains(got, "log level is the configured one again") {
			t.Errorf("the end is not said: %s", got)
		}
		l.SetLevel(logging.Error, 0)
		if now, until, then := l.Levels(); now != logging.Error || !until.IsZero() || then != logging.Info {
			t.Errorf("levels: got %v until %v, then %v", now, until, then)
		}
	})
}

func TestRepeatsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, read := begin(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		defer func() { stop(); running.Wait() }()
		for n := range 50 {
			l.Logger().Warn("alert not delivered, trying again", "sink", "epr", "attempt", n, "err", fmt.Errorf("dial %d: refused", n))
			l.Logger().Warn("alert not delivered, trying again", "sink", "archive", "attempt", n)
			l.Logger().Info("alert delivered", "sink", "epr", "entry", n)
			time.Sleep(time.Second)
		}
		count := func(text, line string) int { return strings.Count(text, line) }
		got := read()
		if n := count(got, "sink=epr attempt"); n != 1 {
			t.Errorf("%d lines of the same failure, want 1: %s", n, got)
		}
		if n := count(got, "sink=archive"); n != 1 {
			t.Errorf("%d lines of another sink, want 1: %s", n, got)
		}
		if n := count(got, "alert delivered"); n != 50 {
			t.Errorf("%d lines of deliveries that differ, want 50", n)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		got = read()
		if !strings.Contains(got, `sink=epr attempt=49 err="dial 49: refused" repeats=49`) || count(got, "sink=epr attempt") != 2 {
			t.Errorf("the count is not told, with the last line: %s", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		l.Logger().Warn("alert not delivered, trying again", "sink", "epr", "attempt", 51)
		if got = read(); !strings.Contains(got, "attempt=51") {
			t.Error("after a quiet minute it is not said at once")
		}
		l.Logger().Warn("alert not delivered, trying again", "sink", "epr", "attempt", 52)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got = read(); !strings.Contains(got, "attempt=52 repeats=1") {
			t.Error("what was counted is not told at the end")
		}
	})
}

func TestWarningsOfTwoCodesAreTwo(t *testing.T) {
	l, read := begin(t)
	for _, code := range []safeguard.WarningCode{safeguard.SinkDown, safeguard.DiskLow, safeguard.SinkDown} {
		l.Logger().Warn("warning opened", "code", code)
	}
	if got := strings.Count(read(), "warning opened"); got != 2 {
		t.Errorf("%d lines, want 2", got)
	}
}

func TestNothingIsCountedAtDebugLevel(t *testing.T) {
	l, read := begin(t)
	l.SetLevel(logging.Debug, 0)
	for range 3 {
		l.Logger().Warn("again")
	}
	if got := strings.Count(read(), "again"); got != 3 {
		t.Errorf("%d lines, want 3", got)
	}
}

func TestRecentLinesAreBounded(t *testing.T) {
	l, _ := begin(t)
	long := strings.Repeat("x", 1000)
	for n := range 5000 {
		l.Logger().Info("line", "n", n, "long", long)
	}
	l.Logger().Info("longest", "long", strings.Repeat("y", 1<<20))
	lines := logging.Recent(l.Logger())
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	if len(lines) < 100 || len(lines) > 2000 || size > 513<<10 {
		t.Errorf("%d lines of %d bytes", len(lines), size)
	}
	if before := lines[len(lines)-2]; !strings.Contains(before, `"n":4999`) {
		t.Errorf("the last but one is %.60s", before)
	}
	if logging.Recent(slog.New(slog.DiscardHandler)) != nil {
		t.Error("lines of a log that is none of ours")
	}
}

func TestFilesAreBounded(t *testing.T) {
	folder := t.TempDir()
	c := logging.DefaultConfig()
	c.To, c.File = logging.Files, logging.File{Path: filepath.Join(folder, "logs", "agent.log"), SizeMB: 1, Files: 2, AgeDays: 1}
	l, _ := begin(t)
	configure(t, l, c)
	long := strings.Repeat("x", 10<<10)
	for n := range 600 { // 6 MB
		l.Logger().Info("line", "n", n, "long", long)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Dir(c.File.Path))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by %v", f.Name(), info.Mode())
		}
		size += info.Size()
	}
	if len(files) > 3 || size > 3<<20 {
		t.Errorf("%d files of %d bytes", len(files), size)
	}
	if got := read(t, c.File.Path); !strings.Contains(got, "n=599") {
		t.Error("the last line is not in the file that is written")
	}
}

func TestALogThatCanNotBeOpened(t *testing.T) {
	l, read := begin(t)
	c := logging.DefaultConfig()
	c.To, c.File.Path = logging.Files, filepath.Join("/dev/null", "agent.log")
	if err := l.Configure(c); err == nil || !strings.Contains(err.Error(), "log.to") {
		t.Errorf("got %v", err)
	}
	l.Logger().Info("as before")
	if !strings.Contains(read(), "as before") {
		t.Error("nothing is logged any more")
	}
}

func TestAFullDiskIsSaidLater(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	l := logging.Start(logging.System{Stderr: full})
	for n := range 3 {
		l.Logger().Info("lost", "n", n)
	}
	c := logging.DefaultConfig()
	c.To, c.File.Path = logging.Files, filepath.Join(t.TempDir(), "agent.log")
	configure(t, l, c)
	l.Logger().Info("first")
	l.Logger().Info("second")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c.File.Path); !strings.Contains(got, "msg=first lines_lost_before=3") || strings.Count(got, "lost") != 1 {
		t.Errorf("got %s", got)
	}
}

// The journal takes a line's level from its beginning.
func TestJournal(t *testing.T) {
	l, read := begin(t)
	c := logging.DefaultConfig()
	c.To, c.Level = logging.Journal, logging.Debug
	configure(t, l, c)
	log := l.Logger()
	log.Debug("one")
	log.Info("two")
	log.Warn("three", "stack", "a\nb")
	log.Error("four")
	if got, want := read(), "<7>msg=one\n<6>msg=two\n<4>msg=three stack=\"a\\nb\"\n<3>msg=four\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.Format = logging.JSON
	configure(t, l, c)
	log.Error("five")
	if !strings.HasSuffix(read(), "<3>{\"msg\":\"five\"}\n") {
		t.Errorf("got %q", read())
	}
}

func TestConfigurationsThatCanNotWork(t *testing.T) {
	for want, change := range map[string]func(*logging.Config){
		"level":         func(c *logging.Config) { c.Level = 0 },
		"format":        func(c *logging.Config) { c.Format = "xml" },
		"to":            func(c *logging.Config) { c.To = "syslog" },
		"file.path":     func(c *logging.Config) { c.To = logging.Files },
		"file.size_mb":  func(c *logging.Config) { c.To, c.File.Path, c.File.SizeMB = logging.Files, "x", 0 },
		"file.files":    func(c *logging.Config) { c.To, c.File.Path, c.File.Files = logging.Files, "x", 0 },
		"file.age_days": func(c *logging.Config) { c.To, c.File.Path, c.File.AgeDays = logging.Files, "x", 0 },
	} {
		c := logging.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want+":") {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// A repeat of many goroutines is neither lost nor written twice.
func TestManyLoggersAtOnce(t *testing.T) {
	l, read := begin(t)
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			for range 50 {
				l.Logger().Error("same", "n", n)
				l.SetLevel(logging.Info, time.Minute)
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(read()))
	if repeats := regexp.MustCompile(`repeats=(\d+)`).FindStringSubmatch(lines[len(lines)-1]); len(lines) != 2 || repeats == nil || repeats[1] != "999" {
		t.Errorf("got %q", lines)
	}
}
