package logging

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// Config is the section log of a program's configuration.
type Config struct {
	Level  Level  `yaml:"level"`  // the least that is written
	Format Format `yaml:"format"` // of a line
	To     To     `yaml:"to"`     // where; auto is where the system keeps logs: the journal of systemd, the Event Log for a service on Windows, else the error stream
	File   File   `yaml:"file"`   // of "to: file"
}

// File is a log in files: the one that is written, and former ones beside it that
// have the time in their names.
type File struct {
	Path    string `yaml:"path"`     // of the one that is written
	SizeMB  int    `yaml:"size_mb"`  // a larger one is put aside, and a new one begun
	Files   int    `yaml:"files"`    // how many former ones are kept
	AgeDays int    `yaml:"age_days"` // former ones that are older are removed; a file is written for a day at most
}

// Level is how much matters what a line says.
type Level int

// The levels. The zero value is none.
const (
	_ Level = iota
	Debug
	Info
	Warn
	Error
)

var levels = []string{"", "debug", "info", "warn", "error"}

func (l Level) String() string { return levels[max(0, min(int(l), len(levels)-1))] }

// MarshalText writes the level's word.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the level's word.
func (l *Level) UnmarshalText(text []byte) error {
	n := slices.Index(levels, strings.ToLower(string(text)))
	if n <= 0 {
		return fmt.Errorf("level %q: want debug, info, warn or error", text)
	}
	*l = Level(n)
	return nil
}

func (l Level) slog() slog.Level { return slog.Level(4 * (int(l) - int(Info))) }

func levelOf(l slog.Level) Level { return Level(int(l)/4 + int(Info)) }

// Format is how a line is written.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// To is where lines are written.
type To string

// Where.
const (
	Auto     To = "auto"
	Stderr   To = "stderr"
	Journal  To = "journal"
	EventLog To = "event-log"
	Files    To = "file"
)

// DefaultConfig logs from info on to where the system keeps logs.
func DefaultConfig() Config {
	return Config{Level: Info, Format: Text, To: Auto, File: File{SizeMB: 20, Files: 10, AgeDays: 30}}
}

// Validate names the first key that can not work, and what would.
func (c Config) Validate() error {
	switch {
	case c.Level < Debug || c.Level > Error:
		return fmt.Errorf("level: want debug, info, warn or error")
	case c.Format != Text && c.Format != JSON:
		return fmt.Errorf("format: %q, want text or json", c.Format)
	case !slices.Contains([]To{Auto, Stderr, Journal, EventLog, Files}, c.To):
		return fmt.Errorf("to: %q, want auto, stderr, journal, event-log or file", c.To)
	case c.To != Files:
		return nil
	case c.File.Path == "" || strings.HasSuffix(c.File.Path, string(filepath.Separator)):
		return fmt.Errorf("file.path: %q, want the file to log to", c.File.Path)
	case c.File.SizeMB < 1:
		return fmt.Errorf("file.size_mb: %d, want at least 1", c.File.SizeMB)
	case c.File.Files < 1:
		return fmt.Errorf("file.files: %d, want at least 1", c.File.Files)
	case c.File.AgeDays < 1:
		return fmt.Errorf("file.age_days: %d, want at least 1", c.File.AgeDays)
	}
	return nil
}
