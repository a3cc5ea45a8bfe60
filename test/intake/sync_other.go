//go:build !linux

package intake

import "os"

func syncData(f *os.File) error { return f.Sync() }
