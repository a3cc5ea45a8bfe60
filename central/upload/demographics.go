package upload

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard/central/store"
)

// ReadDemographics reads what a demographic service says of NHS numbers: CSV with
// the columns nhs_number and standing, which is not-found, inactive, superseded
// or sensitive. The first thing that is wrong ends it, with its line; nothing of
// the file is repeated. There is no column for the number that has taken
// another's place: after an adoption the two must not be linked anywhere.
func ReadDemographics(r io.Reader) iter.Seq2[store.Listed, error] {
	return func(yield func(store.Listed, error) bool) {
		lines := newLines(r)
		first, err := lines.next()
		if err != nil && !errors.Is(err, io.EOF) {
			yield(store.Listed{}, err)
			return
		}
		names, wrong := split(first, ',')
		for i, n := range names {
			names[i] = canonical(n)
		}
		number, standing := slices.Index(names, columnNumber), slices.Index(names, columnStanding)
		if wrong != "" || len(names) != 2 || number < 0 || standing < 0 {
			yield(store.Listed{}, fmt.Errorf("line 1: want the columns %s,%s, and no other: which number has taken another's place has no place here", columnNumber, columnStanding))
			return
		}
		for {
			line, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			var l store.Listed
			if err == nil {
				l, err = readListed(line, number, standing)
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

const columnStanding = "standing"

func readListed(l line, number, standing int) (store.Listed, error) {
	fields, wrong := split(l, ',')
	if wrong == "" && len(fields) != 2 {
		wrong = fmt.Sprintf("%d fields, want 2", len(fields))
	}
	if wrong != "" {
		return store.Listed{}, fmt.Errorf("line %d: %s", l.number, wrong)
	}
	n, _, wrong := readNumber(fields[number])
	if wrong != "" {
		return store.Listed{}, fmt.Errorf("line %d: %s: %s", l.number, columnNumber, wrong)
	}
	out := store.Listed{Number: n}
	if err := out.Standing.UnmarshalText([]byte(strings.ToLower(strings.TrimSpace(fields[standing])))); err != nil {
		return store.Listed{}, fmt.Errorf("line %d: %s: %w", l.number, columnStanding, err)
	}
	return out, nil
}
