package journal_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// held checks that a message was not taken, for that reason, and that the error
// tells the operator what to do.
func held(t *testing.T, err error, kind journal.FaultKind) {
	t.Helper()
	if !errors.Is(err, feed.ErrHold) {
		t.Fatalf("got %v, want the feed to hold", err)
	}
	var f *journal.Fault
	if errors.As(err, &f) {
		if f.Kind != kind || f.Since.IsZero() || !strings.Contains(f.Error(), kind.Remedy()) {
			t.Fatalf("got %v, want %v and its remedy", f, kind)
		}
	}
}

// stopped waits until the journal's statistics name the fault.
func stopped(t *testing.T, j *journal.Journal, kind journal.FaultKind) {
	t.Helper()
	eventually(t, "intake is stopped: "+kind.String(), func() bool {
		s, _ := j.Stats(t.Context()) // what can be counted of a journal in doubt
		return s.Fault != nil && s.Fault.Kind == kind
	})
}

// resumes waits until the journal takes the message.
func resumes(t *testing.T, j *journal.Journal, m feed.Message) {
	t.Helper()
	eventually(t, "intake resumes by itself", func() bool {
		_, err := j.Append(t.Context(), m)
		if err != nil && !errors.Is(err, feed.ErrHold) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited a minute until %s", what)
		}
	}
}

// holds checks that the journal has exactly these messages, in order, also after
// it was opened again.
func holds(t *testing.T, b bench, j *journal.Journal, want ...string) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range waitingEntries(t, b.open(t)) {
		got = append(got, controlOf(e.Body))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the journal holds %v, want %v", got, want)
	}
}

// operatorsLog is what the operator reads.
type operatorsLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *operatorsLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *operatorsLog) option() journal.Option {
	return journal.WithLog(slog.New(slog.NewTextHandler(l, nil)))
}

// says checks for words in the log, and that no patient is in it.
func (l *operatorsLog) says(t *testing.T, words ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range words {
		if !strings.Contains(l.text.String(), w) {
			t.Errorf("the log does not say %q:\n%s", w, l.text.String())
		}
	}
	for _, secret := range secrets {
		if strings.Contains(l.text.String(), secret) {
			t.Errorf("the log tells %s", secret)
		}
	}
}

func TestFailingSyncStopsIntakeUntilTheFileIsVerified(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, log.option())
	append1(t, j, message("C1", "FERNSBY"))
	mended := failing(t, func(o operation) int32 {
		if o.kind == "sync" && o.log {
			return sqlite3.SQLITE_IOERR_FSYNC
		}
		return 0
	})
	_, err := j.Append(t.Context(), message("C2", "FERNSBY"))
	held(t, err, journal.Failed)
	stopped(t, j, journal.Failed)
	_, err = j.Append(t.Context(), message("C2", "FERNSBY"))
	held(t, err, journal.Failed)
	if err := j.Settle(t.Context(), journal.Outcome{Entry: 1, State: journal.Settled}); err == nil {
		t.Error("settled on a disk that does not sync")
	}
	log.says(t, "journal stops intake", `why="disk failed"`, journal.Failed.Remedy())
	mended()
	resumes(t, j, message("C2", "FERNSBY"))
	log.says(t, "journal resumes intake")
	holds(t, b, j, "C1", "C2")
}

// What is acknowledged is in the log, and stays there until the file is synced.
func TestFailingSyncOfTheFileLosesNothing(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, log.option())
	mended := failing(t, func(o operation) int32 {
		if o.kind == "sync" && !o.log {
			return sqlite3.SQLITE_IOERR_FSYNC
		}
		return 0
	})
	append1(t, j, message("C1", "FERNSBY"))
	if err := journal.NewTender(j).Tend(t.Context()); err == nil {
		t.Error("a file that can not be synced was not noticed")
	}
	stopped(t, j, journal.Failed)
	mended()
	resumes(t, j, message("C2", "FERNSBY"))
	holds(t, b, j, "C1", "C2")
}

func TestFailingReadStopsIntakeUntilTheFileIsVerified(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	for i := range 20 {
		append1(t, j, big(i))
	}
	if err := journal.NewTender(j).Tend(t.Context()); err != nil { // moves all into the file
		t.Fatal(err)
	}
	mended := failing(t, func(o operation) int32 {
		if o.kind == "read" && !o.log {
			return sqlite3.SQLITE_IOERR_READ
		}
		return 0
	})
	if _, err := j.Unsettled(t.Context(), 0, 100); err == nil {
		t.Fatal("read from a disk that does not read")
	}
	stopped(t, j, journal.Failed)
	mended()
	resumes(t, j, big(20))
	if n := len(unsettled(t, j)); n != 21 {
		t.Errorf("%d entries, want 21", n)
	}
}

func TestFullDiskHoldsUntilThereIsRoom(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, log.option())
	append1(t, j, message("C1", "FERNSBY"))
	mended := failing(t, func(o operation) int32 {
		if o.kind == "write" {
			return sqlite3.SQLITE_FULL
		}
		return 0
	})
	_, err := j.Append(t.Context(), message("C2", "FERNSBY"))
	held(t, err, journal.DiskFull)
	stopped(t, j, journal.DiskFull)
	log.says(t, `why="disk full"`, journal.DiskFull.Remedy())
	mended()
	resumes(t, j, message("C2", "FERNSBY"))
	holds(t, b, j, "C1", "C2")
}

func TestLittleRoomStopsIntakeAndNothingElse(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t)
	append1(t, j, message("C1", "FERNSBY"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	p := journal.DefaultPolicy()
	p.MinFreeMB = 1 << 40 // no disk has so much
	j = b.open(t, log.option(), journal.WithPolicy(p))
	_, err := j.Append(t.Context(), message("C2", "FERNSBY"))
	held(t, err, journal.LowSpace)
	log.says(t, `why="little room on the disk"`, journal.LowSpace.Remedy())
	a := attendance(t, "V1")
	if err := j.Settle(t.Context(), outcome(1, a)); err != nil {
		t.Errorf("what was accepted must be settled all the same: %v", err)
	}
	item, _, err := j.Next(t.Context(), "epr", time.Now())
	if err != nil || item.ID == 0 {
		t.Fatalf("what is owed must be delivered all the same: %v", err)
	}
	if err := j.Done(t.Context(), item.ID, safeguardDelivered); err != nil {
		t.Error(err)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	b := newBench(t)
	b.open(t)
	_, err := journal.Open(filepath.Join(b.dir, "journal"), b.ring)
	if !errors.Is(err, journal.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("got %v, want one that names the process and the remedy", err)
	}
}

func init() {
	children["locker"] = func(args []string) {
		db, err := sql.Open("sqlite", "file:"+args[0])
		if err == nil {
			db.SetMaxOpenConns(1)
			_, err = db.Exec("BEGIN IMMEDIATE")
		}
		fmt.Println("locked", err)
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test closes it
	}
}

// A backup or a scanner that holds the file is waited for, and named.
func TestFileLockedByAnotherProcessHoldsUntilItIsReleased(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, log.option())
	append1(t, j, message("C1", "FERNSBY"))
	cmd := exec.Command(os.Args[0], filepath.Join(b.dir, "journal", "journal.db"))
	cmd.Env = append(os.Environ(), childKey+"=locker")
	release, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = release.Close(); _ = cmd.Wait() })
	line := make([]byte, 100)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "locked <nil>\n" {
		t.Fatalf("lock: %q %v", line[:n], err)
	}
	_, err = j.Append(t.Context(), message("C2", "FERNSBY"))
	held(t, err, journal.Locked)
	stopped(t, j, journal.Locked)
	log.says(t, `why="journal file locked"`, journal.Locked.Remedy())
	_ = release.Close()
	resumes(t, j, message("C2", "FERNSBY"))
	holds(t, b, j, "C1", "C2")
}

func TestDestroyedKeysStopIntake(t *testing.T) {
	b, log := newBench(t), &operatorsLog{}
	j := b.open(t, log.option())
	append1(t, j, message("C1", "FERNSBY"))
	if err := b.ring.Destroy(); err != nil {
		t.Fatal(err)
	}
	_, err := j.Append(t.Context(), message("C2", "FERNSBY"))
	held(t, err, journal.NoKeys)
	stopped(t, j, journal.NoKeys)
	log.says(t, `why="keys destroyed"`, journal.NoKeys.Remedy())
	if e := unsettled(t, j)[0]; e.Body != nil || e.Broken == nil {
		t.Error("read without keys")
	}
}

// A key folder that was lost is made anew by the keys, and then fits no journal.
func TestLostKeyFolderIsNotTakenForANewBeginning(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	append1(t, j, message("C1", "FERNSBY"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "keys")); err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Open(filepath.Join(b.dir, "keys"), keys.FileMaster(filepath.Join(b.dir, "master")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(filepath.Join(b.dir, "journal"), ring); !errors.Is(err, journal.ErrOtherKeys) || !strings.Contains(err.Error(), "bring back the key folder") {
		t.Errorf("got %v, want other keys and the remedy", err)
	}
	if n := len(unsettled(t, b.open(t))); n != 1 {
		t.Errorf("%d entries by the right keys, want 1", n)
	}
}

// Without the master key nothing is opened and nothing made anew: the agent does
// not start, and its feeds do not listen.
func TestMissingMasterKeyMakesNoNewJournal(t *testing.T) {
	b := newBench(t)
	j := b.open(t)
	append1(t, j, message("C1", "FERNSBY"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	master := filepath.Join(b.dir, "master")
	if err := os.Rename(master, master+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(filepath.Join(b.dir, "keys"), keys.FileMaster(master)); !errors.Is(err, keys.ErrMasterMissing) {
		t.Fatalf("got %v, want the master key missing", err)
	}
	if err := os.Rename(master+".gone", master); err != nil {
		t.Fatal(err)
	}
	if n := len(unsettled(t, b.open(t))); n != 1 {
		t.Errorf("%d entries once the key is back, want 1", n)
	}
}

func TestUnreadableFilesAreLeftAsTheyAre(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(file string) error
	}{
		{"another file", func(file string) error {
			return os.WriteFile(file, bytes.Repeat([]byte("not a database "), 1000), 0o600)
		}},
		{"file missing, log there", func(file string) error {
			return errors.Join(os.Rename(file, file+".gone"), os.WriteFile(file+"-wal", []byte("log"), 0o600))
		}},
		{"first page destroyed", func(file string) error { return overwrite(file, 0, make([]byte, 4096)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			j := b.open(t)
			append1(t, j, message("C1", "FERNSBY"))
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(b.dir, "journal", "journal.db")
			if err := c.damage(file); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(file)
			_, err := journal.Open(filepath.Join(b.dir, "journal"), b.ring, quiet)
			if !errors.Is(err, journal.ErrUnreadable) || !strings.Contains(err.Error(), "bring the file back") {
				t.Fatalf("got %v, want unreadable and the remedy", err)
			}
			if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
				t.Error("a file that can not be read was changed")
			}
		})
	}
}

func overwrite(file string, at int64, with []byte) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(with, at)
	return errors.Join(err, f.Close())
}

// big is a message of the size that hospitals send.
func big(n int) feed.Message {
	return feed.Message{Feed: "pas", Received: time.Now(), Body: registration(n), Ack: acknowledgement}
}

func TestDamagedPageIsMendedAndWhatItHeldIsNamed(t *testing.T) {
	const entries = 200
	ctx := context.Background()
	for _, c := range []struct {
		name   string
		live   bool
		notice func(t *testing.T, j *journal.Journal)
	}{
		{"while running, found by a reader", true, func(t *testing.T, j *journal.Journal) {
			if _, err := j.Unsettled(ctx, 0, entries); err == nil {
				t.Error("read a damaged page")
			}
		}},
		{"while running, found by the daily check", true, func(_ *testing.T, j *journal.Journal) { journal.CheckAll(ctx, j) }},
		{"at rest, found by a reader", false, func(_ *testing.T, j *journal.Journal) { _, _ = j.Unsettled(ctx, 0, entries) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, log := newBench(t), &operatorsLog{}
			j := b.open(t, log.option())
			for i := range entries {
				append1(t, j, big(i))
			}
			if err := journal.NewTender(j).Tend(t.Context()); err != nil { // moves all into the file
				t.Fatal(err)
			}
			if !c.live {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(b.dir, "journal", "journal.db")
			if err := overwrite(file, leaf(t, file)*4096, bytes.Repeat([]byte{0xa5}, 512)); err != nil {
				t.Fatal(err)
			}
			if !c.live {
				j = b.open(t, log.option())
			}
			c.notice(t, j)
			eventually(t, "the journal is mended", func() bool {
				s, err := j.Stats(ctx)
				return err == nil && s.Fault == nil && s.Lost > 0
			})
			s, err := j.Stats(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if s.Waiting+s.Lost != entries || s.Lost > 8 || s.Mended.IsZero() {
				t.Errorf("%d wait and %d are lost of %d, mended %v", s.Waiting, s.Lost, entries, s.Mended)
			}
			for _, e := range waitingEntries(t, j) {
				if e.Broken != nil || !bytes.Equal(e.Body, registration(int(e.Seq)-1)) {
					t.Errorf("entry %d came out changed", e.Seq)
				}
			}
			log.says(t, "journal mended", "ask the senders to repeat", "received between")
			if kept, _ := filepath.Glob(filepath.Join(b.dir, "journal", "damaged-*.db")); len(kept) != 1 {
				t.Errorf("%d damaged files kept, want 1", len(kept))
			}
			// A number is not given out again, and a repeat is still known.
			append1(t, j, big(entries))
			append1(t, j, big(entries-1))
			all := waitingEntries(t, j)
			if last := all[len(all)-1].Seq; last != entries+1 || len(all) != s.Waiting+1 {
				t.Errorf("%d entries up to %d, want %d up to %d", len(all), last, s.Waiting+1, entries+1)
			}
		})
	}
}

// leaf finds a page of entries in the middle of the file.
func leaf(t *testing.T, file string) int64 {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A leaf of a table begins with 13; rows of that size are four to a page at most.
	for page := len(raw) / 4096 / 2; page < len(raw)/4096; page++ {
		p := raw[page*4096:]
		if cells := int(p[3])<<8 | int(p[4]); p[0] == 13 && cells >= 1 && cells <= 4 {
			return int64(page)
		}
	}
	t.Fatal("no page of entries found")
	return 0
}

// What the disk changed within a row fails to open, alone, and says so.
func TestDamagedRowIsBrokenAloneAndNamesTheRemedy(t *testing.T) {
	j := newBench(t).open(t)
	for i := range 3 {
		append1(t, j, message(fmt.Sprint("C", i), "FERNSBY"))
	}
	a := attendance(t, "V1")
	if err := j.Settle(t.Context(), outcome(3, a)); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"entries", "attendances", "outbox"} {
		// The last byte of what is sealed, of one entry and of all that follows from another.
		query := "UPDATE " + table + " SET body = CAST(substr(body, 1, length(body) - 1) || char((unicode(substr(hex(body), -1)) + 1) % 100) AS BLOB) WHERE body IS NOT NULL"
		if table == "entries" {
			query += " AND seq = 1"
		}
		if err := journal.Change(t.Context(), j, query); err != nil {
			t.Fatal(err)
		}
	}
	entries := unsettled(t, j)
	if entries[0].Broken == nil || !strings.Contains(entries[0].Broken.Error(), "ask the sender to send it again") || entries[0].Body != nil {
		t.Errorf("a changed message: %v", entries[0].Broken)
	}
	if entries[1].Broken != nil {
		t.Errorf("its neighbour does not open either: %v", entries[1].Broken)
	}
	if _, _, err := j.Record(t.Context(), a.ID); !errors.Is(err, journal.ErrBroken) {
		t.Errorf("a changed attendance: %v", err)
	}
	for _, outbox := range []string{"epr", journal.Lookups} {
		if item, _, err := j.Next(t.Context(), outbox, time.Now()); err != nil || item.Broken == nil || item.ID == 0 {
			t.Errorf("a changed item of %s: %v %v", outbox, err, item.Broken)
		}
	}
	if _, err := j.Append(t.Context(), message("C9", "FERNSBY")); err != nil {
		t.Errorf("one changed row stops intake: %v", err)
	}
}

// A row that was moved to the place of another fails to open: it is bound to its own.
func TestRowInThePlaceOfAnotherIsBroken(t *testing.T) {
	j := newBench(t).open(t)
	append1(t, j, message("C1", "FERNSBY"))
	append1(t, j, message("C2", "OKONJO"))
	if err := journal.Change(t.Context(), j, "UPDATE entries SET body = (SELECT body FROM entries WHERE seq = 2) WHERE seq = 1"); err != nil {
		t.Fatal(err)
	}
	if e := unsettled(t, j)[0]; e.Broken == nil {
		t.Errorf("the message of another entry was taken: %s", controlOf(e.Body))
	}
}
