package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
)

// existing is the folder, or the nearest one above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// checkDisk looks at the room, and at how long it takes until something is safe
// on the disk: every message waits for that.
func (k *checker) checkDisk() {
	dir := existing(k.config.Data)
	free, err := journal.Free(dir)
	floor := uint64(k.config.Journal.MinFreeMB) << 20
	switch {
	case err != nil:
		k.add("disk space", Fail, err.Error(), "look at the disk of "+dir)
	case free < floor:
		k.add("disk space", Fail, fmt.Sprintf("%d MB free in %s, and intake stops under journal.min_free_mb (%d)", free>>20, dir, floor>>20), "free some, or give the folder a larger disk")
	case free < floor+uint64(max(0, k.config.Journal.MaxSizeMB))<<20:
		k.add("disk space", Warn, fmt.Sprintf("%d MB free in %s; the journal may take up to %d MB and leaves %d", free>>20, dir, k.config.Journal.MaxSizeMB, floor>>20),
			"give the folder a larger disk, or lower journal.max_size_mb")
	default:
		k.add("disk space", Pass, fmt.Sprintf("%d MB free in %s", free>>20, dir), "")
	}
	took, err := syncTime(dir)
	switch {
	case err != nil:
		k.add("disk sync", Fail, plainly(err), "give the service's user the folder")
	case took > 250*time.Millisecond:
		k.add("disk sync", Fail, fmt.Sprintf("%v until a write is safe on the disk of %s", took.Round(time.Millisecond), dir), "use a local disk; a share or an overloaded one makes every sender wait")
	case took > 25*time.Millisecond:
		k.add("disk sync", Warn, fmt.Sprintf("%v until a write is safe on the disk of %s", took.Round(time.Millisecond), dir), "use a faster local disk where many messages come at once")
	default:
		k.add("disk sync", Pass, fmt.Sprintf("%v until a write is safe on the disk of %s", took.Round(10*time.Microsecond), dir), "")
	}
}

// syncTime is the median of a few writes of a page.
func syncTime(dir string) (median time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".safeguard-check-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	var all []time.Duration
	for range 9 {
		begun := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// checkAntivirus sees, on Windows, whether something holds new files for a while:
// renaming them fails or is slow then.
func (k *checker) checkAntivirus() {
	if runtime.GOOS != "windows" {
		return
	}
	dir := existing(k.config.Data)
	do := "exclude " + k.config.Data + " from the virus scanner's real-time protection: what is in it is sealed, and holds nothing that runs"
	slowest := time.Duration(0)
	for i := range 10 {
		f, err := os.CreateTemp(dir, ".safeguard-check-*")
		if err != nil {
			return // is told of the folder
		}
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Close())
		begun := time.Now()
		name := f.Name() + ".renamed"
		err = errors.Join(err, os.Rename(f.Name(), name))
		slowest = max(slowest, time.Since(begun))
		_ = os.Remove(f.Name())
		_ = os.Remove(name)
		if err != nil {
			k.add("virus scanner", Warn, fmt.Sprintf("renaming a new file failed (%d of 10): %v", i+1, err), do)
			return
		}
	}
	if slowest > 100*time.Millisecond {
		k.add("virus scanner", Warn, fmt.Sprintf("renaming a new file took %v", slowest.Round(time.Millisecond)), do)
		return
	}
	k.add("virus scanner", Pass, "new files can be renamed at once; if that changes, exclude "+k.config.Data+" from real-time protection", "")
}
