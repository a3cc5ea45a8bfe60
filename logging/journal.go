package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
)

// journal writes to an error stream that is the systemd journal's. The journal
// notes the time, and takes the level from the number before a line
// (sd-daemon(3)); so journalctl -p warning finds what is to be found.
type journal struct {
	slog.Handler // into line
	line         *bytes.Buffer
	out          io.Writer
}

func newJournal(out io.Writer, f Format) journal {
	line := &bytes.Buffer{}
	return journal{newHandler(line, f, true), line, out}
}

// Handle writes one line. Log.mu is held.
func (j journal) Handle(ctx context.Context, r slog.Record) error {
	j.line.Reset()
	j.line.WriteString(priority(r.Level))
	if err := j.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := j.out.Write(j.line.Bytes())
	return err
}

// priority is the level in the numbers of syslog(3).
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
