package journal_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// TestSmallDiskFillsUpAndIsEmptied fills a real file system, with and without a
// reserve, and makes room again.
func TestSmallDiskFillsUpAndIsEmptied(t *testing.T) {
	for _, c := range []struct {
		name    string
		reserve int64 // MB
		stops   journal.FaultKind
	}{
		{"with a reserve intake stops before it is full", 8, journal.LowSpace},
		{"without a reserve it fills up", 0, journal.DiskFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			disk := filepath.Join(b.dir, "journal")
			mountMemory(t, disk, "size=40m")
			ballast := filepath.Join(disk, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 20<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			p := journal.DefaultPolicy()
			p.MinFreeMB = c.reserve
			log := &operatorsLog{}
			j := b.open(t, log.option(), journal.WithPolicy(p))
			taken := 0
			for err := error(nil); err == nil; taken++ {
				if _, err = j.Append(t.Context(), large(taken)); err != nil {
					held(t, err, c.stops)
				}
			}
			taken--
			log.says(t, c.stops.Remedy())
			if c.stops == journal.LowSpace { // there is room for what is owed
				for n := range taken {
					if err := j.Settle(t.Context(), outcome(journal.Seq(n+1), attendance(t, fmt.Sprint("V", n)))); err != nil {
						t.Fatalf("settle entry %d of %d while there is little room: %v", n+1, taken, err)
					}
				}
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			resumes(t, j, large(taken))
			for n := range taken + 1 {
				m := large(n)
				m.Ack = feed.Ack("not seen before")
				if ack := append1(t, j, m); string(ack) == string(m.Ack) {
					t.Errorf("message %d of %d was acknowledged and is not there", n, taken)
				}
			}
		})
	}
}

// mountMemory mounts a file system in memory, until the test ends.
func mountMemory(t *testing.T, dir, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system is mounted: run as root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v: %s", err, out)
	}
	t.Cleanup(func() { unmount(t, dir) })
}
