package logging

import (
	"context"
	"strconv"
)

// EntryKey is the attribute that follows a message from the feed that took it to
// the receipt of the alert that came of it: the number of its entry in the agent's
// journal, in lines of the agent and, beside the caller, in those of the centre.
// It counts messages and so says nothing about a patient; whoever may read the
// journal finds the message by it.
const EntryKey = "entry"

type entryKey struct{}

// WithEntry has every line that is logged with ctx bear the entry's number. 0 is
// none.
func WithEntry(ctx context.Context, entry int64) context.Context {
	if entry == 0 {
		return ctx
	}
	return context.WithValue(ctx, entryKey{}, strconv.FormatInt(entry, 10))
}

// Entry is the number that ctx bears; empty for none.
func Entry(ctx context.Context) string {
	entry, _ := ctx.Value(entryKey{}).(string)
	return entry
}

// ParseEntry has ctx bear the number as it came over a wire. What is no number of
// an entry is left out.
func ParseEntry(ctx context.Context, text string) context.Context {
	entry, err := strconv.ParseInt(text, 10, 64)
	if err != nil || entry < 0 {
		return ctx
	}
	return WithEntry(ctx, entry)
}
