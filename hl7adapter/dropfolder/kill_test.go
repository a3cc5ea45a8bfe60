package dropfolder

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

// A mixed file has messages with and without a control id, and one that is
// refused.
func mixed(count int) (file string, want []string) {
	for i := range count {
		id := fmt.Sprintf("m%d", i)
		body := string(feedtest.ADT(id))
		if i%3 == 1 {
			body = strings.Replace(body, "|"+id+"|P|", "||P|", 1)
		}
		file += body
		want = append(want, body)
	}
	return file, want
}

// copyTree is what a kill leaves: the files as they are at that moment.
func copyTree(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// At every message, killed just before it is on disk or just after, the next
// life takes all the others and none twice that a journal could tell apart; and
// of acknowledgements and failed messages there is one each.
func TestKilledAtEveryMessage(t *testing.T) {
	file, want := mixed(12)
	const bad = 5
	for kill := range want {
		for _, when := range []string{"before", "after"} {
			t.Run(fmt.Sprintf("%s %d", when, kill), func(t *testing.T) {
				c := testConfig(t)
				c.Ack = "ack"
				drop(t, c, "a.hl7", file)
				journal := map[string]string{} // by source
				var order []string
				offers := 0
				var left Config
				keep := func(m feed.Message) {
					if _, known := journal[m.Source]; !known {
						journal[m.Source] = string(m.Body)
						order = append(order, string(m.Body))
					}
				}
				d := &disk{answer: func(m feed.Message) error {
					if left.Folder != "" {
						return context.Canceled // the first life is over
					}
					defer func() { offers++ }()
					if offers == bad {
						return feed.ErrRefuse
					}
					if offers == kill && when == "after" {
						keep(m)
					}
					if offers == kill {
						left = c
						left.Folder, left.Progress = copyTree(t, c.Folder), copyTree(t, c.Progress)
						return feed.ErrHold
					}
					keep(m)
					return nil
				}}
				if kill == bad {
					return
				}
				if err := os.MkdirAll(c.Progress, 0o700); err != nil {
					t.Fatal(err)
				}
				_, stop := start(t, c, d, quiet)
				eventually(t, "killed", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return left.Folder != "" })
				stop()

				again := 0
				d = &disk{answer: func(m feed.Message) error {
					if strings.Contains(string(m.Body), fmt.Sprintf("|m%d|", bad)) {
						return feed.ErrRefuse
					}
					if _, known := journal[m.Source]; known && !identified(m.Body) {
						again++
					}
					keep(m)
					return nil
				}}
				_, stop = start(t, left, d, quiet)
				eventually(t, "taken", gone(t, left))
				stop()
				if again > 1 {
					t.Errorf("%d messages without a control id were offered again, want the one in hand at most", again)
				}
				var expected []string
				for i, body := range want {
					if i != bad {
						expected = append(expected, body)
					}
				}
				if strings.Join(order, "\n") != strings.Join(expected, "\n") {
					t.Errorf("the journal has %d messages, or not in order, want %d", len(order), len(expected))
				}
				acks := read(t, left, "ack", "a.hl7.ack")
				if n := strings.Count(acks, "\rMSA|"); n != len(want) {
					t.Errorf("%d acknowledgements for %d messages", n, len(want))
				}
				if got := read(t, left, "failed", "~a.hl7"); got != want[bad] {
					t.Errorf("set aside %q", got)
				}
				if reason := read(t, left, "failed", ".reason.txt"); strings.Count(reason, "part ") != 1 {
					t.Errorf("the reason is %q", reason)
				}
			})
		}
	}
}

const victimFolder = "SAFEGUARD_TEST_DROP_FOLDER"

// victim is the process that is killed: it takes files, and writes to its
// ledger what it has accepted.
func victim(dir string) {
	c := DefaultConfig()
	c.Name, c.Folder, c.Progress = "pas", filepath.Join(dir, "drop"), filepath.Join(dir, "progress")
	c.Ready, c.Poll = Renamed, 5*time.Millisecond
	f, err := New(c, quiet)
	if err != nil {
		panic(err)
	}
	ledger, err := os.OpenFile(filepath.Join(dir, "ledger"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	err = f.Run(context.Background(), func(_ context.Context, m feed.Message) (feed.Ack, error) {
		body := string(m.Body)
		_, nth, _ := strings.Cut(body, "||||||||||||||")
		_, err := fmt.Fprintf(ledger, "%s\t%v\t%s\n", m.Source, identified(m.Body), strings.Trim(nth, "|\r"))
		return m.Ack, err
	})
	panic(err)
}

// Killed again and again at any moment, everything dropped is taken, and what
// is offered twice is the one message in hand, under the same source.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := testConfig(t)
	c.Folder, c.Progress = filepath.Join(dir, "drop"), filepath.Join(dir, "progress")
	if err := os.Mkdir(c.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	const files, each = 30, 100
	for i := range files {
		var b strings.Builder
		for n := range each {
			id := fmt.Sprintf("f%dm%d", i, n)
			body := string(feedtest.ADT(id))
			if n%2 == 1 {
				body = strings.Replace(body, "|"+id+"|P|", "||P|", 1)
			}
			b.WriteString(body)
		}
		drop(t, c, fmt.Sprintf("%d.hl7", i), b.String())
	}
	kills := 0
	for !gone(t, c)() {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), victimFolder+"="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A kill comes when it comes; only the last life is left alone.
		life := time.Duration(10+rand.IntN(40)) * time.Millisecond
		if kills >= 25 {
			life = deadline
		}
		end := time.NewTimer(life)
		tick := time.NewTicker(5 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case <-end.C:
				waiting = false
			case <-tick.C:
				waiting = !gone(t, c)()
			}
		}
		end.Stop()
		tick.Stop()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if kills++; kills > 30 {
			t.Fatal("not taken in many lives")
		}
	}
	ledger, err := os.Open(filepath.Join(dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	sources, messages := map[string]bool{}, map[string]bool{}
	again, unnamed := 0, 0
	for in := bufio.NewScanner(ledger); in.Scan(); {
		source, rest, _ := strings.Cut(in.Text(), "\t")
		named, nth, _ := strings.Cut(rest, "\t")
		if sources[source] {
			again++
			if named == "false" {
				unnamed++
			}
			continue
		}
		sources[source], messages[nth] = true, true
	}
	t.Logf("%d kills, %d messages, %d offered again, %d of them without a control id", kills-1, len(sources), again, unnamed)
	if len(sources) != files*each || len(messages) != files*each {
		t.Errorf("%d messages under %d sources, want %d", len(messages), len(sources), files*each)
	}
	if unnamed > kills {
		t.Errorf("%d messages without a control id were offered again in %d kills", unnamed, kills)
	}
	var left []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if !d.IsDir() && filepath.Base(path) != "ledger" {
			left = append(left, path)
		}
		return nil
	})
	if len(left) > 1 { // the last kill may have come before the last record went
		t.Errorf("left behind: %q", left)
	}
}
