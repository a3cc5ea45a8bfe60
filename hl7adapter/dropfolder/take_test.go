package dropfolder

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

// oneOf refuses the messages that hold one of the words.
func refusing(words ...string) func(feed.Message) error {
	return func(m feed.Message) error {
		for _, w := range words {
			if strings.Contains(string(m.Body), w) {
				return feed.ErrRefuse
			}
		}
		return nil
	}
}

// What was not taken goes aside by itself, with the reason, and the rest is
// taken all the same.
func TestBadMessagesDoNotStopGoodOnes(t *testing.T) {
	one, two, three := string(feedtest.ADT("one")), string(feedtest.ADT("two")), string(feedtest.ADT("three"))
	long := string(feedtest.ADT("long")) + "NTE|1||" + strings.Repeat("x", 5000) + "\r"
	for _, c := range []struct {
		name   string
		file   string
		want   []string
		aside  string // what the failed file holds; none where empty
		reason []string
	}{
		{"none bad", one + three, []string{one, three}, "", nil},
		{"one refused", one + two + three, []string{one, three}, two, []string{"part 2, at byte ", "rejected: message refused"}},
		{"the only one refused", two, nil, two, []string{"part 1, at byte 0, was rejected"}},
		{"the only one, as it came", "\xef\xbb\xbf" + strings.TrimSuffix(two, "\r"), nil, "\xef\xbb\xbf" + strings.TrimSuffix(two, "\r"), nil},
		{"in MLLP frames", "\v" + one + "\x1c\r\v" + strings.TrimSuffix(two, "\r") + "\x1c\r\v" + three + "\x1c\r", []string{one, three}, two, nil},
		{"in a batch", "BHS|^~\\&\r" + one + two + three + "BTS|3\r", []string{one, three}, two, nil},
		{"too long", one + long + three, []string{one, three}, long, []string{"part 2", "longer than this feed takes"}},
		{"too long and refused", one + long + two + three, []string{one, three}, long + two, []string{"part 2", "part 3"}},
		{"a batch that lost one", "BHS|^~\\&\r" + one + three + "BTS|3\r", []string{one, three}, "", []string{"BTS-1 says 3 messages, found 2", "All messages that are in it were taken"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig(t)
			config.MaxMessage = 2000
			var log lockedBuffer
			d := &disk{answer: refusing("|two|")}
			drop(t, config, "MARLOWE-9990000018.hl7", c.file)
			f, stop := start(t, config, d, textLog(&log))
			eventually(t, "taken", gone(t, config))
			stop()
			if got := d.bodies(); !slices.Equal(got, c.want) {
				t.Errorf("took %q, want %q", got, c.want)
			}
			failed := names(t, config, "failed")
			if c.aside == "" && len(c.reason) == 0 && len(failed) > 0 {
				t.Errorf("set aside %q", failed)
			}
			if c.aside != "" {
				if got := read(t, config, "failed", "~MARLOWE-9990000018.hl7"); got != c.aside {
					t.Errorf("set aside %q, want %q", got, c.aside)
				}
				if s := f.Status(); s.Taken != 1 || s.Failed != 1 || s.Waiting != 0 || s.Taking != "" {
					t.Errorf("status %+v", s)
				}
			}
			text := log.String()
			if c.aside != "" || len(c.reason) > 0 {
				reason := read(t, config, "failed", ".reason.txt")
				for _, r := range c.reason {
					if !strings.Contains(reason, r) {
						t.Errorf("the reason is %q, want %q", reason, r)
					}
				}
				text += reason
			}
			for _, private := range []string{"MARLOWE", "9990000018", "44001", "ROBIN"} {
				if strings.Contains(text, private) {
					t.Errorf("log or reason hold %q:\n%s", private, text)
				}
			}
			if left := names(t, config, taking); len(left) > 0 {
				t.Errorf("left behind in taking: %q", left)
			}
			if left, _ := os.ReadDir(config.Progress); len(left) > 0 {
				t.Errorf("%d records of progress are left", len(left))
			}
		})
	}
}

// A failed file that is mended and dropped again is taken.
func TestFailedFileCanBeDroppedAgain(t *testing.T) {
	config := testConfig(t)
	d := &disk{answer: refusing("|two|")}
	_, stop := start(t, config, d, quiet)
	drop(t, config, "a.hl7", string(feedtest.ADT("one"))+string(feedtest.ADT("two")))
	eventually(t, "taken", gone(t, config))
	stop()
	aside := read(t, config, "failed", "~a.hl7")
	d.answer = nil
	_, stop = start(t, config, d, quiet)
	drop(t, config, "a.hl7", aside)
	eventually(t, "taken again", gone(t, config))
	stop()
	if got := d.bodies(); len(got) != 2 || got[1] != string(feedtest.ADT("two")) {
		t.Errorf("took %q", got)
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		order Order
		want  []string
	}{
		{ByName, []string{"a2", "a10", "a100", "b1"}},
		{ByTime, []string{"b1", "a100", "a2", "a10"}},
	} {
		t.Run(string(c.order), func(t *testing.T) {
			config := testConfig(t)
			config.Order = c.order
			for i, name := range []string{"b1", "a100", "a2", "a10"} {
				drop(t, config, name+".hl7", string(feedtest.ADT(name)))
				at := time.Now().Add(time.Duration(i-10) * time.Minute)
				if err := os.Chtimes(filepath.Join(config.Folder, name+".hl7"), at, at); err != nil {
					t.Fatal(err)
				}
			}
			d := &disk{}
			start(t, config, d, quiet)
			eventually(t, "taken", gone(t, config))
			for i, body := range d.bodies() {
				if !strings.Contains(body, "|"+c.want[i]+"|") {
					t.Errorf("number %d is not %s", i, c.want[i])
				}
			}
		})
	}
}

func TestOnlyWhatMatchesIsTaken(t *testing.T) {
	config := testConfig(t)
	config.Match = []string{"*.hl7", "adt*"}
	for _, name := range []string{"1.hl7", "2.HL7", "adt3", "4.hl7.tmp", ".5.hl7", "6.txt", "7.hl7~", "ADT8.part", "~9.hl7"} {
		drop(t, config, name, string(feedtest.ADT("1")))
	}
	d := &disk{}
	f, _ := start(t, config, d, quiet)
	eventually(t, "three taken", func() bool { return f.Status().Taken == 3 })
	drop(t, config, "last.hl7", string(feedtest.ADT("last")))
	eventually(t, "a fourth taken", func() bool { return f.Status().Taken == 4 })
	if got := names(t, config, "."); len(got) != 6 {
		t.Errorf("left %q", got)
	}
}

// A file without its marker is not whole, whatever it looks like.
func TestMarker(t *testing.T) {
	config := testConfig(t)
	config.Ready, config.Marker, config.Match = Marked, ".ok", []string{"*.hl7"}
	drop(t, config, "unfinished.hl7", string(feedtest.ADT("unfinished")))
	drop(t, config, "orphan.hl7.ok", "")
	drop(t, config, "whole.hl7", string(feedtest.ADT("whole")))
	drop(t, config, "whole.hl7.ok", "")
	d := &disk{}
	f, _ := start(t, config, d, quiet)
	eventually(t, "the whole one taken", func() bool { return f.Status().Taken == 1 })
	drop(t, config, "other.hl7", string(feedtest.ADT("other")))
	drop(t, config, "other.hl7.ok", "")
	eventually(t, "another taken", func() bool { return f.Status().Taken == 2 })
	if got, want := names(t, config, "."), []string{"orphan.hl7.ok", "unfinished.hl7"}; !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

// A link is not followed, wherever it leads; nor is a folder of ours that is one.
func TestLinksAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs a privilege on Windows")
	}
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.hl7")
	if err := os.WriteFile(secret, feedtest.ADT("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Ack = "ack"
	for from, to := range map[string]string{"link.hl7": secret, "inside.hl7": "real.txt", "failed": outside, "ack": outside} {
		if err := os.Symlink(to, filepath.Join(config.Folder, from)); err != nil {
			t.Fatal(err)
		}
	}
	config.Match = []string{"*.hl7"}
	drop(t, config, "real.txt", string(feedtest.ADT("real")))
	d := &disk{answer: refusing("|bad|")}
	var log lockedBuffer
	f, stop := start(t, config, d, textLog(&log))
	drop(t, config, "good.hl7", string(feedtest.ADT("good")))
	drop(t, config, "bad.hl7", string(feedtest.ADT("bad")))
	eventually(t, "both were tried", func() bool { return len(d.bodies()) == 1 && f.Stats().Rejected == 1 && f.Status().Retrying > 0 })
	stop()
	if !strings.Contains(log.String(), "neither files nor folders") {
		t.Error("the links are not in the log")
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder outside has %d files, %v, want the one it had", len(entries), err)
	}
	if _, err := os.Stat(secret); err != nil {
		t.Errorf("the file outside: %v", err)
	}
}

// Acknowledgements are in a file that has the name of the dropped one.
func TestAcknowledgements(t *testing.T) {
	config := testConfig(t)
	config.Ack, config.Policy.Hold = "ack", feed.Nack
	full := false
	d := &disk{answer: func(m feed.Message) error {
		if full {
			return feed.ErrHold
		}
		return refusing("|two|")(m)
	}}
	_, stop := start(t, config, d, quiet)
	drop(t, config, "a.hl7", string(feedtest.ADT("one"))+string(feedtest.ADT("two"))+string(feedtest.Asking("three", "NE", "NE"))+string(feedtest.ADT("four")))
	drop(t, config, "silent.hl7", string(feedtest.Asking("five", "NE", "NE")))
	eventually(t, "taken", gone(t, config))
	stop()
	got := read(t, config, "ack", "a.hl7.ack")
	for _, want := range []string{"MSA|AA|one", "MSA|AR|two", "MSA|AA|four"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("acknowledgements %q, want one %s", got, want)
		}
	}
	if strings.Contains(got, "three") || len(names(t, config, "ack")) != 1 {
		t.Error("who asked for no acknowledgement got one")
	}

	// With nack, what can not be kept now is the sender's again.
	full = true
	_, stop = start(t, config, d, quiet)
	drop(t, config, "b.hl7", string(feedtest.ADT("later")))
	eventually(t, "answered", gone(t, config))
	stop()
	if got := read(t, config, "ack", "b.hl7.ack"); !strings.Contains(got, "MSA|AE|later") {
		t.Errorf("got %q, want AE", got)
	}
	if got := read(t, config, "failed", "~b.hl7"); got != string(feedtest.ADT("later")) {
		t.Errorf("set aside %q", got)
	}
}

// Intake goes on where nothing can be written beside it.
func TestFullShareDoesNotStopIntake(t *testing.T) {
	if os.Getuid() == 0 && runtime.GOOS == "windows" {
		t.Skip("permissions bind no administrator")
	}
	config := testConfig(t)
	config.Ack = "ack"
	var log lockedBuffer
	d := &disk{answer: refusing("|two|")}
	f, err := New(config, textLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	// A folder with the name of what is to be written makes any write fail.
	f.before = func(what string) {
		if what != "write" {
			return
		}
		for _, name := range names(t, config, taking) {
			if r, _, ok := claimOf(name); ok {
				_ = os.Mkdir(filepath.Join(config.Folder, taking, string(r)+".failed"), 0o700)
				_ = os.Mkdir(filepath.Join(config.Folder, taking, string(r)+".ack"), 0o700)
			}
		}
	}
	file := string(feedtest.ADT("one")) + string(feedtest.ADT("two")) + string(feedtest.ADT("three"))
	drop(t, config, "a.hl7", file)
	stop := run(t, f, d)
	eventually(t, "taken", gone(t, config))
	stop()
	if got := d.bodies(); len(got) != 2 {
		t.Errorf("took %d messages, want 2", len(got))
	}
	if got := read(t, config, "failed", "~a.hl7"); got != file {
		t.Errorf("set aside %q, want the whole file", got)
	}
	if !strings.Contains(log.String(), "could not write beside the file") {
		t.Error("the log does not say so")
	}
}

// Memory is bounded by the longest message, not by the file.
func TestLargeFileNeedsLittleMemory(t *testing.T) {
	const count, size = 40_000, 1 << 10 // 40 MB
	config := testConfig(t)
	config.MaxMessage = 64 << 10
	f, err := os.Create(filepath.Join(config.Folder, "large.tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		m := string(feedtest.ADT(fmt.Sprint(i)))
		if _, err := fmt.Fprintf(f, "%sNTE|1||%s\r", m, strings.Repeat("x", size-len(m))); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.Name(), filepath.Join(config.Folder, "large.hl7")); err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := uint64(0)
	seen := 0
	d := &disk{answer: func(feed.Message) error {
		if seen++; seen%1000 == 0 {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return feed.ErrRefuse // so that the disk keeps nothing, and all goes aside
	}}
	_, stop := start(t, config, d, quiet)
	eventually(t, "taken", gone(t, config))
	stop()
	if seen != count {
		t.Errorf("offered %d messages, want %d", seen, count)
	}
	if most > before.HeapAlloc+16<<20 {
		t.Errorf("%d MB of memory for a file of 40 MB", (most-before.HeapAlloc)>>20)
	}
	if n := len(names(t, config, "failed")); n != 2 {
		t.Errorf("%d files are set aside, want 2", n)
	}
	if reason := read(t, config, "failed", ".reason.txt"); strings.Count(reason, "part ") != mostReasons {
		t.Errorf("%d reasons, want %d", strings.Count(reason, "part "), mostReasons)
	}
}

// A backlog is taken whole and in order, however many files there are.
func TestBacklog(t *testing.T) {
	config := testConfig(t)
	const count = window + 100
	for i := range count {
		name := filepath.Join(config.Folder, fmt.Sprintf("%d.hl7", i))
		if err := os.WriteFile(name, feedtest.ADT(fmt.Sprint(i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config.Report = time.Nanosecond
	var log lockedBuffer
	d := &disk{}
	f, _ := start(t, config, d, textLog(&log))
	eventually(t, "it is known how many wait", func() bool { return f.Status().Waiting > 0 })
	eventually(t, "taken", gone(t, config))
	for i, body := range d.bodies() {
		if body != string(feedtest.ADT(fmt.Sprint(i))) {
			t.Fatalf("message %d is out of order", i)
		}
	}
	if n := len(d.bodies()); n != count {
		t.Errorf("took %d, want %d", n, count)
	}
	if !strings.Contains(log.String(), "taking a backlog") {
		t.Error("the log does not tell of the backlog")
	}
}

// Where the system gives events, nobody waits for the next look.
func TestEventsAreQuick(t *testing.T) {
	config := testConfig(t)
	config.Poll = time.Hour
	d := &disk{}
	start(t, config, d, quiet)
	for i := range 5 {
		drop(t, config, fmt.Sprintf("%d.hl7", i), string(feedtest.ADT(fmt.Sprint(i))))
		eventually(t, "taken", gone(t, config))
	}
	if n := len(d.bodies()); n != 5 {
		t.Errorf("took %d messages, want 5", n)
	}
}

// One feed whose folder does not answer, one whose folder does.
func TestHangingFolderDoesNotStopOtherFeeds(t *testing.T) {
	hung, other := testConfig(t), testConfig(t)
	hung.Drain = 10 * time.Millisecond
	f, err := New(hung, quiet)
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	f.before = func(string) { <-gate }
	stopHung := run(t, f, &disk{})
	_, stopOther := start(t, other, &disk{}, quiet)
	drop(t, other, "a.hl7", string(feedtest.ADT("1")))
	eventually(t, "taken", gone(t, other))
	stopHung()
	stopOther()
	close(gate)
	<-f.hands.idle
}
