package journal

import (
	"context"
	"fmt"
	"time"
)

// SetSchema makes the file claim another schema.
func SetSchema(j *Journal, version int) error {
	return j.writer.write(context.Background(), func(t *tx) error {
		_, err := t.exec(fmt.Sprintf("PRAGMA user_version = %d", version))
		return err
	})
}

// Next is the first item that is due.
func (j *Journal) Next(ctx context.Context, outbox string, now time.Time) (Item, time.Time, error) {
	items, next, err := j.Due(ctx, outbox, now, 1)
	if len(items) == 0 {
		return Item{}, next, err
	}
	return items[0], time.Time{}, err
}
