// Package logging is where both programs log: to the systemd journal, the Windows
// Event Log, files that are bounded in number, size and age, or the error stream.
// What repeats is counted instead of written; the latest lines are kept in memory
// for a support bundle. It is the only way to a log that the programs have.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Log is where a program logs. Start one at the beginning of the program, before
// its configuration is read, and Configure it afterwards. Its methods may be
// called concurrently.
type Log struct {
	system System

	level atomic.Int64 // in force; a slog.Level

	mu      sync.Mutex // guards the fields below; held while a line is written
	config  Config
	until   time.Time // when the level becomes the configured one again; zero for never
	out     slog.Handler
	file    io.Closer // nil where the log is in no file
	repeats repeats
	recent  ring
	lines   slog.Handler // writes into recent
	lost    int          // lines that could not be written since the last that could
}

// System says how the program was started.
type System struct {
	Managed bool   // by the system's service manager
	Source  string // under which the Event Log knows the program
	Stderr  *os.File
}

// Start begins a log as DefaultConfig has it.
func Start(s System) *Log {
	if s.Stderr == nil {
		s.Stderr = os.Stderr
	}
	l := &Log{system: s}
	l.lines = slog.NewJSONHandler(&l.recent, &slog.HandlerOptions{Level: everything})
	if err := l.Configure(DefaultConfig()); err != nil {
		// The Event Log does not know the program: better said there than nowhere.
		l.out = newHandler(s.Stderr, Text, false)
	}
	return l
}

// everything is a level below all: what is logged is decided once, by Log.level.
const everything = slog.Level(-1 << 20)

// Logger is a logger that writes to l.
func (l *Log) Logger() *slog.Logger { return slog.New(handler{log: l}) }

// Of is the log that a logger writes to; nil where it is none of this package.
func Of(logger *slog.Logger) *Log {
	if h, ok := logger.Handler().(handler); ok {
		return h.log
	}
	return nil
}

// Configure has the log written as c says from the next line on. After an error it
// is written as before. The level that SetLevel set for a while stays for that
// while.
func (l *Log) Configure(c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	out, file, err := l.system.open(c)
	if err != nil {
		return fmt.Errorf("log.to: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
	l.config, l.out, l.file = c, out, file
	if l.until.IsZero() {
		l.set(c.Level)
	}
	return nil
}

// Config is how the log is written.
func (l *Log) Config() Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config
}

// SetLevel logs at another level than the configured one: for so long, or with 0
// until the next change.
func (l *Log) SetLevel(level Level, during time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	if during > 0 {
		l.until = time.Now().Add(during)
	}
	l.set(level)
}

// ResetLevel logs at the configured level again.
func (l *Log) ResetLevel() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	l.set(l.config.Level)
}

func (l *Log) set(level Level) { l.level.Store(int64(level.slog())) }

// Levels tells which level is in force, until when, and the configured one.
func (l *Log) Levels() (now Level, until time.Time, then Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return levelOf(slog.Level(l.level.Load())), l.until, l.config.Level
}

// Run writes how often lines were repeated, and ends what SetLevel set for a
// while, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.tend(time.Now())
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *Log) tend(now time.Time) {
	l.mu.Lock()
	ended := !l.until.IsZero() && !now.Before(l.until)
	if ended {
		l.until = time.Time{}
		l.set(l.config.Level)
	}
	l.told(now)
	l.mu.Unlock()
	if ended {
		l.Logger().Info("log level is the configured one again", "level", l.config.Level)
	}
}

// Close writes what is to be written still, and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.repeats.all() {
		l.write(r)
	}
	return l.close()
}

func (l *Log) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// take writes a line, or counts it where it repeats one. At debug level every line
// is written: somebody is looking for something.
func (l *Log) take(r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.told(now)
	if slog.Level(l.level.Load()) > slog.LevelDebug && l.repeats.has(r, now) {
		return nil
	}
	return l.write(r)
}

// told writes how often lines were repeated whose minute is over.
func (l *Log) told(now time.Time) {
	for _, r := range l.repeats.due(now) {
		_ = l.write(r) // the next line says that lines are lost
	}
}

// write writes a line. One that can not be written, as when the disk is full, is
// counted, and the next one that can says so.
func (l *Log) write(r slog.Record) error {
	ctx := context.Background()
	_ = l.lines.Handle(ctx, r) // memory takes everything
	if l.lost > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("lines_lost_before", l.lost))
	}
	if err := l.out.Handle(ctx, r); err != nil {
		l.lost++
		return err
	}
	l.lost = 0
	return nil
}
