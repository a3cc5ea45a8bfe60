package journal

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// lockRange lies behind what the file holds, so that others can read who has it.
var lockRange = windows.Overlapped{OffsetHigh: 1}

// lockFile takes a lock that ends with the process or with the file's closing.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	at := lockRange
	if err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &at); err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
			return nil, fmt.Errorf("%w%s", ErrInUse, holder(f))
		}
		return nil, err
	}
	return f, nil
}

// syncDir has nothing to do: NTFS journals new names.
func syncDir(string) error { return nil }
