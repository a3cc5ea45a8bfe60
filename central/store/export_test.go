package store

import (
	"context"
	"fmt"
	"slices"
)

// TablesOfPersons are those that erasure clears.
func TablesOfPersons() []string {
	var tables []string
	for _, t := range ofPersons {
		tables = append(tables, t.table)
	}
	return slices.Sorted(slices.Values(tables))
}

// LimitPages lets the file grow to so many pages, and no less than it has.
func (s *DB) LimitPages(n int) error {
	_, err := s.engine.(*sqlite).conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA max_page_count(%d)", n))
	return err
}
