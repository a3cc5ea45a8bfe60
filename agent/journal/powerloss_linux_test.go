package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// TestPowerLoss stops a writer at any moment and looks at what a power failure
// would have left of its data folder: the image of the file system as the disk
// has it, without what the kernel only holds in memory. What was acknowledged
// must be in it.
func TestPowerLoss(t *testing.T) {
	l := newPowerLoss(t)
	for round, after := range []int{1, 25, 250, 600, 150} {
		l.round(t, round, after)
		if n := l.missing(t); n > 0 {
			t.Errorf("round %d: %d of %d acknowledged are missing", round, n, len(l.ledger))
		}
	}
	t.Logf("%d acknowledged and %d settled over 5 power failures", len(l.ledger), len(l.ended))
}

// TestPowerLossShowsWhatIsNotSynced proves that TestPowerLoss can fail: a journal
// that does not sync loses what it acknowledged.
func TestPowerLossShowsWhatIsNotSynced(t *testing.T) {
	l := newPowerLoss(t)
	l.round(t, 0, 20)
	l.unsafe = true
	missing := 0
	for round := 1; round <= 5 && missing == 0; round++ {
		l.round(t, round, 300)
		missing = l.missing(t)
	}
	if missing == 0 {
		t.Error("nothing is missing although nothing was synced: this harness would not notice a loss")
	}
	t.Logf("%d of %d acknowledged are missing without syncs", missing, len(l.ledger))
}

// powerLoss is a data folder on a file system of its own, in an image.
type powerLoss struct {
	dir    string            // of what is not on the image
	unsafe bool              // the writer does not sync
	ledger map[string]string // by control id: its acknowledgement, as the sender has it
	ended  map[string]bool   // control ids of those whose settling was reported
}

func newPowerLoss(t *testing.T) *powerLoss {
	l := &powerLoss{dir: t.TempDir(), ledger: map[string]string{}, ended: map[string]bool{}}
	image := filepath.Join(l.dir, "image")
	const size = 64 << 20
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Fatalf("make a file system: %v: %s", err, out)
	}
	mount(t, image, l.path("mounted"))
	return l
}

func (l *powerLoss) path(name string) string { return filepath.Join(l.dir, name) }

// mount mounts an image by a loop device, until the test ends.
func mount(t *testing.T, image, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system is mounted: run as root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v: %s", err, out)
	}
	t.Cleanup(func() { unmount(t, dir) })
}

func unmount(t *testing.T, dir string) {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it is not mounted
		t.Errorf("unmount %s: %v", dir, err)
	}
}

// round runs a writer until it has acknowledged so many, stops it, and copies the
// image as the disk has it.
func (l *powerLoss) round(t *testing.T, round, after int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], l.path("mounted/data"), l.path("master"), strconv.Itoa(round), strconv.FormatBool(l.unsafe))
	cmd.Env = append(os.Environ(), childKey+"=writer")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for n := 0; n < after; n++ {
		if !in.Scan() {
			t.Fatalf("the writer ended: %v", cmd.Wait())
		}
		l.note(in.Text())
	}
	pause(t, cmd.Process.Pid)
	l.copyImage(t)
	// It dies without another instruction: what it wrote to us, it wrote before.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for in.Scan() {
		l.note(in.Text())
	}
	_ = cmd.Wait()
}

// note takes a line of the writer's into the ledger.
func (l *powerLoss) note(line string) {
	what, rest, _ := strings.Cut(line, " ")
	control, ack, _ := strings.Cut(rest, " ")
	if what == "settled" {
		l.ended[control] = true
	} else {
		l.ledger[control] = ack
	}
}

// pause stops all threads of the process, and returns once they have stopped.
func pause(t *testing.T, pid int) {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	for !status.Stopped() {
		if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatalf("wait for the writer to stop: %v", err)
		}
		if status.Exited() || status.Signaled() {
			t.Fatal("the writer ended")
		}
	}
}

// copyImage copies the image once two readings of it are the same: the kernel may
// be writing still, and no disk is ever half before and half after it.
func (l *powerLoss) copyImage(t *testing.T) {
	var before []byte
	for {
		now, err := os.ReadFile(l.path("image"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(before, now) {
			break
		}
		before = now
	}
	if err := os.WriteFile(l.path("copy"), before, 0o600); err != nil {
		t.Fatal(err)
	}
}

// missing opens the copy, and counts what was acknowledged and is not in it.
func (l *powerLoss) missing(t *testing.T) (n int) {
	t.Helper()
	mount(t, l.path("copy"), l.path("after"))
	defer unmount(t, l.path("after"))
	ring, err := keys.Open(l.path("after/data/keys"), keys.FileMaster(l.path("master")))
	if err != nil {
		if l.unsafe {
			return len(l.ledger)
		}
		t.Fatal(err)
	}
	j, err := journal.Open(l.path("after/data/journal"), ring, quiet, small)
	if err != nil {
		if l.unsafe {
			return len(l.ledger)
		}
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	waiting := map[string]bool{}
	for _, e := range waitingEntries(t, j) {
		waiting[controlOf(e.Body)] = true
	}
	for control, ack := range l.ledger {
		// Sent again, it is answered as it was, if it is there.
		m := message(control, "FERNSBY")
		m.Ack = feed.Ack("not seen before")
		if got := append1(t, j, m); string(got) != ack {
			n++
		} else if l.ended[control] && waiting[control] {
			n++ // it was settled, and waits again
		}
	}
	return n
}

// small is for a file system that has little room.
var small = journal.WithPolicy(func() journal.Policy {
	p := journal.DefaultPolicy()
	p.MinFreeMB = 1
	return p
}())

func init() { children["writer"] = writeUntilKilled }

// writeUntilKilled appends from several senders, settles what it appended, and
// says what was acknowledged and settled once it was.
func writeUntilKilled(args []string) {
	data, master, round, unsafe := args[0], args[1], args[2], args[3] == "true"
	if unsafe {
		journal.NeverSync()
	}
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
	}
	ring, err := keys.Open(filepath.Join(data, "keys"), keys.FileMaster(master))
	must(err)
	j, err := journal.Open(filepath.Join(data, "journal"), ring, journal.WithLog(slog.New(slog.DiscardHandler)), small)
	must(err)
	var out sync.Mutex
	say := func(line string) {
		out.Lock()
		defer out.Unlock()
		_, err := os.Stdout.WriteString(line + "\n")
		must(err)
	}
	go func() {
		for {
			<-j.Appended()
			entries, err := j.Unsettled(ctx, 0, 20)
			must(err)
			for _, e := range entries {
				must(j.Settle(ctx, journal.Outcome{Entry: e.Seq, State: journal.Settled, Note: "nothing follows", Keep: true}))
				say("settled " + controlOf(e.Body))
			}
		}
	}()
	var n atomic.Int64
	for range 8 {
		go func() {
			for {
				control := fmt.Sprintf("R%sN%d", round, n.Add(1))
				m := message(control, "FERNSBY")
				m.Ack = feed.Ack("taken-" + control)
				ack, err := j.Append(ctx, m)
				must(err)
				say("taken " + control + " " + string(ack))
			}
		}()
	}
	select {}
}
