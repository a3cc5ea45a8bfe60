package logging

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/DeRuina/timberjack"
)

// open opens where the configuration says to log to. What is nil needs no closing.
func (s System) open(c Config) (slog.Handler, io.Closer, error) {
	to := c.To
	if to == Auto {
		to = s.auto()
	}
	switch to {
	case Journal:
		return newJournal(s.Stderr, c.Format), nil, nil
	case EventLog:
		return s.openEventLog(c.Format)
	case Files:
		return openFiles(c)
	}
	return newHandler(s.Stderr, c.Format, false), nil, nil
}

// openFiles begins, or goes on with, a log in files. One that can not be written
// is said now, and not by the first line that is lost.
func openFiles(c Config) (slog.Handler, io.Closer, error) {
	if err := os.MkdirAll(filepath.Dir(c.File.Path), 0o700); err != nil {
		return nil, nil, err
	}
	const own = 0o600
	tried, err := os.OpenFile(c.File.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, own)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(tried.Chmod(own), tried.Close()); err != nil {
		return nil, nil, err
	}
	// lumberjack, which this is a maintained fork of, leaves a goroutine behind when
	// it is closed, and never puts a file aside because of its age.
	files := &timberjack.Logger{
		Filename: c.File.Path, MaxSize: c.File.SizeMB, MaxBackups: c.File.Files, MaxAge: c.File.AgeDays,
		RotationInterval: 24 * time.Hour, FileMode: own,
	}
	return newHandler(files, c.Format, false), files, nil
}
