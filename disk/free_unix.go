//go:build !windows

// Package disk tells how much room there is, and writes what must be whole.
package disk

import "golang.org/x/sys/unix"

// Free is what an ordinary user may still write on the disk of the folder, in bytes.
func Free(folder string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
