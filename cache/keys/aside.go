package keys

import (
	"errors"
	"os"
	"path/filepath"
)

// asideSuffix is of the one name that a file is written under before it takes
// its own, so that an interrupted write leaves nothing that is not found again.
const asideSuffix = ".new"

// writeAside replaces the file at path with body, durably: whoever looks, also
// after a power cut, sees the old file or the new one, and only its owner sees
// either. The caller holds a lock on path.
func writeAside(path string, body []byte) (err error) {
	aside := path + asideSuffix
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(aside)
		}
	}()
	if err := restrict(aside); err != nil {
		return err
	}
	if _, err := f.Write(body); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := rename(aside, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
