package keys

import (
	"fmt"
	"os"
	"time"
)

// lockWait bounds the wait for another process, which holds the lock for some
// file writes only.
const lockWait = 10 * time.Second

// lock keeps other processes, and other rings of this one, from changing the
// ring's files at the same time. Closing the file unlocks.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		if err = tryLock(f); err == nil {
			return func() { _ = f.Close() }, nil
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s, held by another process for %v: %w", path, lockWait, err)
		}
	}
}
