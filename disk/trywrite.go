package disk

import (
	"errors"
	"os"
)

// TryWrite makes a file in a folder, has it on the disk and removes it: an error says
// why this user can not.
func TryWrite(folder string) error {
	f, err := os.CreateTemp(folder, ".safeguard-check-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("probe")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}
