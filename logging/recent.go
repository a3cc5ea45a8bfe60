package logging

import (
	"log/slog"
	"slices"
)

// Recent are the latest lines that the logger's log has, oldest first, each a JSON
// object without a line end; nil where the log is none of this package. They are
// of the level that was in force when they were logged.
func Recent(logger *slog.Logger) []string {
	l := Of(logger)
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recent.lines()
}

const (
	recentLines = 2000
	recentBytes = 512 << 10
	longestLine = 16 << 10 // of which a longer one is the beginning
)

// ring keeps the last lines that are written to it, each by one Write.
type ring struct {
	kept  []string // oldest at first
	first int      // where the oldest is, once kept is full
	bytes int
}

// Write implements io.Writer.
func (r *ring) Write(line []byte) (int, error) {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if len(line) > longestLine {
		line = append(slices.Clip(line[:longestLine]), "…"...)
	}
	for len(r.kept) > 0 && (len(r.kept)-r.first >= recentLines || r.bytes+len(line) > recentBytes) && r.first < len(r.kept) {
		r.bytes -= len(r.kept[r.first])
		r.kept[r.first] = ""
		r.first++
	}
	if r.first > recentLines { // what is gone takes at most as much room as what is there
		r.kept = slices.Clone(r.kept[r.first:])
		r.first = 0
	}
	r.kept = append(r.kept, string(line))
	r.bytes += len(line)
	return n, nil
}

func (r *ring) lines() []string { return slices.Clone(r.kept[r.first:]) }
