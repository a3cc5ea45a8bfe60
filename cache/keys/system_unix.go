//go:build !windows

package keys

import (
	"os"

	"golang.org/x/sys/unix"
)

// restrict has nothing to do where a file is made with mode 0600.
func restrict(string) error { return nil }

func rename(from, to string) error { return os.Rename(from, to) }

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
