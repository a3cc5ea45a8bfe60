// Package disk tells how much room there is, and writes what must be whole.
package disk

import "golang.org/x/sys/windows"

// Free is what this user may still write on the disk of the folder, in bytes.
func Free(folder string) (uint64, error) {
	path, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, err
	}
	return free, nil
}
