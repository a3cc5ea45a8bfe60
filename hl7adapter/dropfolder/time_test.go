package dropfolder

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

// inBubble runs a feed on real files with a clock of its own.
func inBubble(t *testing.T, c Config, before func(string), story func(f *Folder, d *disk, log *lockedBuffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c.Watch = false // events come from outside of the bubble
		log := &lockedBuffer{}
		f, err := New(c, textLog(log))
		if err != nil {
			t.Fatal(err)
		}
		f.before = before
		d := &disk{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx, d.accept) }()
		story(f, d, log)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func appendTo(t *testing.T, c Config, name, content string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(c.Folder, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func TestStableFilesAreTakenWhenTheyAreStable(t *testing.T) {
	c := testConfig(t)
	c.Ready, c.Stable, c.Poll = Stable, 10*time.Second, time.Second
	inBubble(t, c, nil, func(f *Folder, d *disk, _ *lockedBuffer) {
		good := string(feedtest.ADT("1"))
		for _, piece := range []string{good[:20], good[20:60], good[60:]} {
			appendTo(t, c, "a.hl7", piece)
			time.Sleep(9 * time.Second) // not long enough
			synctest.Wait()
			if n := len(d.bodies()); n != 0 {
				t.Fatal("taken while it was written")
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := d.bodies(); len(got) != 1 || got[0] != good {
			t.Errorf("took %q, want the whole", got)
		}
	})
}

// A file that grows while it is being taken keeps its end, and does not keep
// the others from being taken.
func TestFileThatGrowsWhileItIsTaken(t *testing.T) {
	c := testConfig(t)
	c.Ready, c.Stable, c.Poll = Stable, 2*time.Second, time.Second
	one, two := string(feedtest.ADT("1")), string(feedtest.ADT("2"))
	grows := 3
	before := func(what string) {
		if what != "look" || grows == 0 {
			return
		}
		for _, name := range names(t, c, taking) {
			if strings.HasSuffix(name, "~a.hl7") {
				grows--
				appendTo(t, c, filepath.Join(taking, name), "NTE|1||more\r")
			}
		}
	}
	inBubble(t, c, before, func(f *Folder, d *disk, _ *lockedBuffer) {
		appendTo(t, c, "a.hl7", one+two)
		time.Sleep(5 * time.Second)
		appendTo(t, c, "b.hl7", string(feedtest.ADT("3")))
		time.Sleep(time.Minute)
		synctest.Wait()
		got := d.bodies()
		want := two + strings.Repeat("NTE|1||more\r", 3)
		if len(got) != 3 || got[0] != one || got[1] != want && got[2] != want {
			t.Errorf("took %q, want each once, the second with all that came", got)
		}
	})
}

func TestEmptyFileMayBeTheBeginningOfOne(t *testing.T) {
	c := testConfig(t)
	c.Ready, c.Stable = Stable, time.Second
	inBubble(t, c, nil, func(f *Folder, d *disk, _ *lockedBuffer) {
		appendTo(t, c, "a.hl7", "")
		appendTo(t, c, "b.hl7", "")
		time.Sleep(9 * time.Minute)
		appendTo(t, c, "a.hl7", string(feedtest.ADT("1")))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := d.bodies(); len(got) != 1 || f.Stats().Framing["empty"] != 1 || len(names(t, c, ".")) != 0 {
			t.Errorf("took %q, framing errors %v, want one message and one empty file", got, f.Stats().Framing)
		}
	})
}

func TestKeptFilesAreRemovedInTime(t *testing.T) {
	c := testConfig(t)
	c.Done, c.DoneFor, c.FailedFor, c.Poll = "done", 24*time.Hour, 72*time.Hour, time.Minute
	inBubble(t, c, nil, func(f *Folder, d *disk, _ *lockedBuffer) {
		d.answer = refusing("|2|")
		drop(t, c, "a.hl7", string(feedtest.ADT("1"))+string(feedtest.ADT("2")))
		if err := os.MkdirAll(filepath.Join(c.Folder, "done"), 0o700); err != nil {
			t.Fatal(err)
		}
		appendTo(t, c, "done/a note of somebody", "x")
		for _, after := range []struct {
			wait         time.Duration
			done, failed int
		}{{time.Minute, 2, 2}, {23 * time.Hour, 2, 2}, {3 * time.Hour, 1, 2}, {45 * time.Hour, 1, 2}, {4 * time.Hour, 1, 0}} {
			time.Sleep(after.wait)
			synctest.Wait()
			if d, f := len(names(t, c, "done")), len(names(t, c, "failed")); d != after.done || f != after.failed {
				t.Errorf("after another %v %d are done and %d failed, want %d and %d", after.wait, d, f, after.done, after.failed)
			}
		}
	})
}

// A share that does not answer is said to, and is used again when it does.
func TestHangingFolderSaysSo(t *testing.T) {
	c := testConfig(t)
	c.Deadline = 15 * time.Second
	var hang atomic.Pointer[chan struct{}]
	before := func(what string) {
		if gate := hang.Load(); what == "list" && gate != nil {
			<-*gate
		}
	}
	inBubble(t, c, before, func(f *Folder, d *disk, log *lockedBuffer) {
		synctest.Wait()
		gate := make(chan struct{})
		hang.Store(&gate)
		drop(t, c, "a.hl7", string(feedtest.ADT("1")))
		time.Sleep(c.Poll + 14*time.Second)
		synctest.Wait()
		if s := f.Status(); !s.Unanswered.IsZero() {
			t.Errorf("said to hang too early: %+v", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s := f.Status()
		if s.Unanswered.IsZero() || s.Doing != "list" || !strings.Contains(log.String(), "folder does not answer") {
			t.Errorf("not said to hang: %+v", s)
		}
		hang.Store(nil)
		close(gate)
		time.Sleep(time.Second)
		synctest.Wait()
		if s := f.Status(); !s.Unanswered.IsZero() || len(d.bodies()) != 1 || !strings.Contains(log.String(), "answers again") {
			t.Errorf("not used again: %+v", s)
		}
	})
}

// A stop does not wait for a share that does not answer, wherever it hangs. The
// next life takes what is left, and nothing twice that can be told apart.
func TestStopLeavesHangingFolder(t *testing.T) {
	for _, where := range []string{"list", "open", "read", "look", "write", "sync", "finish", "close"} {
		t.Run(where, func(t *testing.T) {
			c := testConfig(t)
			c.Ack, c.Drain, c.Deadline = "ack", 20*time.Millisecond, time.Millisecond
			gate, hung := make(chan struct{}), make(chan struct{}, 1000)
			var log lockedBuffer
			f, err := New(c, textLog(&log))
			if err != nil {
				t.Fatal(err)
			}
			f.before = func(what string) {
				if what == where {
					hung <- struct{}{}
					<-gate
				}
			}
			drop(t, c, "a.hl7", string(feedtest.ADT(""))+string(feedtest.ADT("2")))
			d := &disk{}
			stop := run(t, f, d)
			<-hung
			eventually(t, "said to hang", func() bool { return !f.Status().Unanswered.IsZero() })
			begun := time.Now()
			stop()
			if took := time.Since(begun); took > deadline/4 {
				t.Errorf("the stop took %v", took)
			}
			if d.mu.Lock(); len(d.messages) > 2 {
				t.Errorf("took %d messages", len(d.messages))
			}
			d.mu.Unlock()
			close(gate) // the share is back, long after the stop
			<-f.hands.idle
			start(t, c, d, quiet)
			eventually(t, "taken", gone(t, c))
			sources := make(map[string]int)
			d.mu.Lock()
			for _, m := range d.messages {
				sources[m.Source]++
			}
			d.mu.Unlock()
			if len(sources) != 2 {
				t.Errorf("got messages from %d places, want 2: %v", len(sources), sources)
			}
		})
	}
}

// A folder that is not there is waited for.
func TestFolderComesAndGoes(t *testing.T) {
	c := testConfig(t)
	if err := os.Remove(c.Folder); err != nil {
		t.Fatal(err)
	}
	inBubble(t, c, nil, func(f *Folder, d *disk, log *lockedBuffer) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := f.Status(); s.Trouble == "" || strings.Count(log.String(), "folder can not be read") != 1 {
			t.Errorf("status %+v, want one line in the log: %s", s, log.String())
		}
		if err := os.Mkdir(c.Folder, 0o700); err != nil {
			t.Fatal(err)
		}
		drop(t, c, "a.hl7", string(feedtest.ADT("1")))
		time.Sleep(time.Second)
		synctest.Wait()
		if s := f.Status(); s.Trouble != "" || len(d.bodies()) != 1 {
			t.Errorf("status %+v after the folder was there", s)
		}
	})
}

// A file that can not be read is tried again, ever more seldom, and the others
// are taken meanwhile.
func TestTroublesomeFileDoesNotStopOthers(t *testing.T) {
	c := testConfig(t)
	drop(t, c, "a.hl7", string(feedtest.ADT("1")))
	drop(t, c, "b.hl7", string(feedtest.ADT("2")))
	opened := 0
	before := func(what string) {
		if what != "open" {
			return
		}
		opened++
		_ = os.Remove(c.Progress)
		if opened == 1 || opened == 3 || opened == 4 { // a file, where there should be a folder
			if err := os.WriteFile(c.Progress, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	inBubble(t, c, before, func(f *Folder, d *disk, log *lockedBuffer) {
		begun := time.Now()
		synctest.Wait()
		if got := d.bodies(); len(got) != 1 || got[0] != string(feedtest.ADT("2")) || f.Status().Taken != 1 {
			t.Errorf("took %q, want the second", got)
		}
		for len(d.bodies()) < 2 {
			if time.Since(begun) > time.Hour {
				t.Fatal("the first was never taken")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begun).Round(time.Second); took != 7*time.Second { // 1 + 2 + 4
			t.Errorf("the first was taken after %v, want 7s", took)
		}
		synctest.Wait()
		if s := f.Status(); s.Retrying != 0 || s.Taken != 2 {
			t.Errorf("status %+v", s)
		}
		if n := strings.Count(log.String(), "file not taken yet"); n != 1 {
			t.Errorf("logged %d times, want once a minute", n)
		}
	})
}
