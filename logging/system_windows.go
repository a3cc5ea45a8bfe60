package logging

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/windows/svc/eventlog"
)

// auto is the Event Log for a service: nobody reads its error stream.
func (s System) auto() To {
	if s.Managed {
		return EventLog
	}
	return Stderr
}

func (s System) openEventLog(f Format) (slog.Handler, io.Closer, error) {
	log, err := eventlog.Open(s.Source)
	if err != nil {
		return nil, nil, fmt.Errorf("event-log: source %s: %w", s.Source, err)
	}
	text := &bytes.Buffer{}
	return events{newHandler(text, f, true), text, log}, log, nil
}

// events writes to the Event Log, where each entry has its time and its level
// already.
type events struct {
	slog.Handler // into text
	text         *bytes.Buffer
	log          *eventlog.Log
}

// Event ids, which rules that watch the Event Log can name.
const (
	eventInfo    = 1
	eventWarning = 2
	eventError   = 3
)

// Handle writes one entry, of at most the size that the Event Log takes. Log.mu is
// held.
func (e events) Handle(ctx context.Context, r slog.Record) error {
	e.text.Reset()
	if err := e.Handler.Handle(ctx, r); err != nil {
		return err
	}
	const longest = 31_000 // UTF-16 characters, ReportEvent
	text := strings.ReplaceAll(e.text.String(), "\x00", "")
	if len(text) > longest {
		n := longest
		for !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	switch {
	case r.Level >= slog.LevelError:
		return e.log.Error(eventError, text)
	case r.Level >= slog.LevelWarn:
		return e.log.Warning(eventWarning, text)
	}
	return e.log.Info(eventInfo, text)
}
