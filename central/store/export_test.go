package store

import "slices"

// TablesOfPersons are those that erasure clears.
func TablesOfPersons() []string {
	var tables []string
	for _, t := range ofPersons {
		tables = append(tables, t.table)
	}
	return slices.Sorted(slices.Values(tables))
}
