package installer

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// secretSize bounds the files whose bytes are overwritten before they are
// removed: keys and certificates are small, and what is larger is sealed under
// them.
const secretSize = 1 << 20

// shredAll removes a folder, and overwrites what may be a key in it first. A
// disk or a file system that writes anew elsewhere may still hold the old
// bytes; so may a backup.
func shredAll(folder string) error {
	var failed error
	var paths []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		paths = append(paths, path)
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && info.Size() <= secretSize {
			failed = errors.Join(failed, overwrite(path, info.Size()))
		}
		return nil
	})
	for _, path := range slices.Backward(paths) { // a folder after what is in it
		failed = errors.Join(failed, os.Remove(path))
	}
	return errors.Join(err, failed)
}

func overwrite(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, size)
	return errors.Join(err, f.Sync(), f.Close())
}
