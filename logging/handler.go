package logging

import (
	"context"
	"io"
	"log/slog"
	"slices"
)

// handler hands lines to the log, with what its logger adds to each of them.
type handler struct {
	log   *Log
	added []added
}

// added are attributes, or the name of the group that all further ones are in.
type added struct {
	attrs []slog.Attr
	group string
}

// Enabled implements slog.Handler.
func (h handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.Level(h.log.level.Load())
}

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := make([]slog.Attr, 0, r.NumAttrs()+2)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	for _, a := range slices.Backward(h.added) {
		if a.group != "" {
			attrs = []slog.Attr{{Key: a.group, Value: slog.GroupValue(attrs...)}}
		} else {
			attrs = append(slices.Clone(a.attrs), attrs...)
		}
	}
	if entry := Entry(ctx); entry != "" && !slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == EntryKey }) {
		attrs = append(attrs, slog.String(EntryKey, entry))
	}
	whole := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	whole.AddAttrs(attrs...)
	return h.log.take(whole)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return handler{h.log, append(slices.Clip(h.added), added{attrs: attrs})}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return handler{h.log, append(slices.Clip(h.added), added{group: name})}
}

// newHandler writes lines; stamped ones, which whoever takes them notes the time
// and the level of anyway, without these.
func newHandler(w io.Writer, f Format, stamped bool) slog.Handler {
	options := &slog.HandlerOptions{Level: everything}
	if stamped {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		}
	}
	if f == JSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}
