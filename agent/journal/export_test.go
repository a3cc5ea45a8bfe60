package journal

import (
	"context"
	"fmt"
)

// SetSchema makes the file claim another schema.
func SetSchema(j *Journal, version int) error {
	return j.writer.write(context.Background(), func(t *tx) error {
		_, err := t.exec(fmt.Sprintf("PRAGMA user_version = %d", version))
		return err
	})
}
