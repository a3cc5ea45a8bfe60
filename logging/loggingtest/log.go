// Package loggingtest keeps what tests have logged.
package loggingtest

import (
	"bytes"
	"sync"
)

// Log is a log that can be read while it is written. The zero value is empty.
type Log struct {
	mu   sync.Mutex // guards the field below
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
