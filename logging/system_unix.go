//go:build !windows

package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
)

// auto is the journal where the error stream is its.
func (s System) auto() To {
	if journals(s.Stderr) {
		return Journal
	}
	return Stderr
}

// journals tells whether a stream leads to the systemd journal: JOURNAL_STREAM
// names the device and the inode of the one that does (systemd.exec(5)).
func journals(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

func (s System) openEventLog(Format) (slog.Handler, io.Closer, error) {
	return nil, nil, errors.New("event-log is for Windows, want journal, file or stderr")
}
