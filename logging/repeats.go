package logging

import (
	"encoding"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// repeats tells lines that say the same. The first is written; what follows it
// within a minute is counted, and the last of it written at the end of the minute,
// with the count.
type repeats map[string]*repeat

type repeat struct {
	until time.Time
	count int
	last  slog.Record
}

const (
	// repeatFor is how long a line stands for all that say the same.
	repeatFor = time.Minute
	// mostRepeats bounds the memory for them. What comes when there are so many is
	// written: it is not said often yet.
	mostRepeats = 1000
)

// has tells whether the line repeats one, and counts it then.
func (m *repeats) has(r slog.Record, now time.Time) bool {
	if *m == nil {
		*m = repeats{}
	}
	key := sameness(r)
	if before, ok := (*m)[key]; ok {
		before.count++
		before.last = r.Clone()
		return true
	}
	if len(*m) < mostRepeats {
		(*m)[key] = &repeat{until: now.Add(repeatFor)}
	}
	return false
}

// due are the lines whose minute is over and that were repeated in it. They begin
// another minute.
func (m repeats) due(now time.Time) (lines []slog.Record) {
	for key, r := range m {
		switch {
		case now.Before(r.until):
		case r.count == 0:
			delete(m, key)
		default:
			lines = append(lines, r.line())
			*r = repeat{until: now.Add(repeatFor)}
		}
	}
	return lines
}

// all are all that were repeated.
func (m repeats) all() (lines []slog.Record) {
	for key, r := range m {
		if r.count > 0 {
			lines = append(lines, r.line())
		}
		delete(m, key)
	}
	return lines
}

func (r *repeat) line() slog.Record {
	line := r.last.Clone()
	line.AddAttrs(slog.Int("repeats", r.count))
	return line
}

// sameness is what lines have in common that say the same. Those of a failure are
// the same with another error text or another number in them, when they are about
// the same feed, sink or caller: what is a word. Others are the same when all is.
func sameness(r slog.Record) string {
	var key strings.Builder
	key.WriteString(r.Level.String() + "\x00" + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		v := a.Value.Resolve()
		if r.Level < slog.LevelWarn {
			fmt.Fprintf(&key, "\x00%s=%s", a.Key, v)
		} else if word, ok := wordOf(a.Key, v); ok {
			fmt.Fprintf(&key, "\x00%s=%s", a.Key, word)
		}
		return true
	})
	return key.String()
}

// wordOf gives an attribute that names something.
func wordOf(key string, v slog.Value) (word string, ok bool) {
	switch {
	case key == EntryKey || key == "err":
		return "", false
	case v.Kind() == slog.KindString || v.Kind() == slog.KindBool:
		return v.String(), true
	case v.Kind() != slog.KindAny:
		return "", false
	}
	switch x := v.Any().(type) {
	case error:
		return "", false
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		return string(text), err == nil
	}
	if x := reflect.ValueOf(v.Any()); x.IsValid() && x.Kind() == reflect.String {
		return x.String(), true
	}
	return "", false
}
