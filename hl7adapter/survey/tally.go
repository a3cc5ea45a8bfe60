package survey

import (
	"cmp"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard/hl7adapter/explain/mask"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// most is how many values one tally tells apart. What comes after is counted
// together.
const most = 200

// tally counts values.
type tally struct {
	counts map[string]int64
}

func newTally() *tally { return &tally{map[string]int64{}} }

// add counts one, and returns its row: empty where there is no room for it.
func (t *tally) add(value string) string {
	if _, ok := t.counts[value]; !ok && len(t.counts) >= most {
		t.counts[others]++
		return ""
	}
	t.counts[value]++
	return value
}

// rows are the values, the most frequent first.
func (t *tally) rows() []Row {
	var rows []Row
	for value, n := range t.counts {
		value, note, _ := strings.Cut(value, sep)
		rows = append(rows, Row{value, n, note})
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Note, b.Note))
	})
	return rows
}

// place is what is known of one location.
type place struct {
	classes *tally
}

// identifier is what is known of the identifiers of one field, authority and
// type.
type identifier struct {
	field          int
	authority, typ string
	count          int64
	valid          int64 // pass the check of an NHS number
	issued         int64 // and begin as those of England and Wales, or of tests, do
	taken, alike   int64
	unmarked       bool
}

// identifier counts one repetition of a field of PID.
func (s *Survey) identifier(k *mask.Mask, n int, v hl7.Repetition) {
	id := s.parser.Site.Identify(v, n)
	if !id.Present {
		return
	}
	named := v.Component(4).Sub(1)
	if named.IsAbsent() {
		named = v.Component(4).Sub(2)
	}
	authority, typ := safe(k, "PID", 3, 4, named.Value), safe(k, "PID", 3, 5, v.Component(5).Value)
	row := s.identifiers.add(strings.Join([]string{fieldName(n), authority, typ}, "|"))
	if row == "" {
		return
	}
	d := s.details[row]
	if d == nil {
		d = &identifier{field: n, authority: authority, typ: typ, unmarked: id.Authority == "" && id.Type == ""}
		s.details[row] = d
	}
	d.count++
	if id.Valid {
		d.valid++
		switch v.Component(1).Text()[0] {
		case '4', '6', '7', '9':
			d.issued++
		}
	}
	if id.Taken {
		d.taken++
	}
	if id.Alike {
		d.alike++
	}
}

// enough tells whether nearly all are NHS numbers, and so many that chance, which
// passes one in eleven, is ruled out.
func (d *identifier) enough() bool { return d.issued >= 3 && d.issued*10 >= d.count*9 }

// note says in words what the identifiers are taken as.
func (d *identifier) note() string {
	switch {
	case d.alike > 0:
		return "of Scotland or Northern Ireland, not NHS numbers"
	case d.taken > 0 && d.valid < d.taken:
		return "taken as NHS numbers; " + share(d.taken-d.valid, d.count) + " not valid"
	case d.taken > 0:
		return "taken as NHS numbers"
	case d.enough():
		return "LOOK LIKE NHS NUMBERS, but are not taken as such: see the suggested configuration"
	case d.issued > 0 && d.issued*10 >= d.count*9:
		return "look like NHS numbers, but are too few to say"
	case d.valid > 0 && d.valid*10 >= d.count*9:
		return "pass the check of an NHS number, in ranges of Scotland or Northern Ireland"
	}
	return ""
}
