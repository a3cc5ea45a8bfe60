package journal

import (
	"cmp"
	"database/sql"
	"encoding/binary"
	"slices"
)

// origins is the index by which a repeated message is found. Its keys are
// random, so that writing each as it comes would touch another page of a large
// index every time: half of all that an append writes. So the latest are kept in
// memory, as many as can be read again when the journal is opened, and moved into
// the table in the order of the keys, some with every group.
type origins struct {
	recent  map[origin][]Seq // all that may not be in the table
	filling []originOf
	moving  []originOf // in the order of the keys
	upTo    Seq        // the last of those that are moving
	filter  *filter    // of the table
	next    *filter    // that is being filled; nil for none
}

// origin is the key of what names a message. Two messages may share one by
// chance: their bodies tell.
type origin int64

type originOf struct {
	key origin
	seq Seq
}

// generation is how many origins are moved into the table together.
const generation = 4096

func (j *Journal) origin(s sender, control []byte) origin {
	token := j.ring.Token("journal origin", append([]byte(s.name()+"\x00"), control...))
	return origin(binary.BigEndian.Uint64(token))
}

// load reads what was not moved when the journal was closed.
func (o *origins) load(t *tx) error {
	*o = origins{recent: map[origin][]Seq{}, filter: new(filter)}
	some, err := t.get(`SELECT 1 FROM origins LIMIT 1`, nil, new(int))
	if err != nil {
		return err
	}
	o.filter.whole.Store(!some)
	return t.each(`SELECT seq, origin FROM entries WHERE seq > (SELECT indexed FROM about) AND origin IS NOT NULL`, nil, func(rows *sql.Rows) error {
		var e originOf
		err := rows.Scan(&e.seq, &e.key)
		o.add(e)
		return err
	})
}

func (o *origins) add(e originOf) {
	o.recent[e.key] = append(o.recent[e.key], e.seq)
	o.filling = append(o.filling, e)
}

// cut forgets what was added behind the first n.
func (o *origins) cut(n int) {
	for _, e := range o.filling[n:] {
		o.forget(e)
	}
	o.filling = o.filling[:n]
}

// forget takes e out of memory, and tells whether it was there.
func (o *origins) forget(e originOf) bool {
	list := o.recent[e.key]
	i := slices.Index(list, e.seq)
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(o.recent, e.key)
	} else {
		o.recent[e.key] = list
	}
	return true
}

// move writes some of what is moving into the table, and tells how many.
func (o *origins) move(t *tx, from, most int) (to int, err error) {
	to = min(from+most, len(o.moving))
	for _, e := range o.moving[from:to] {
		if !slices.Contains(o.recent[e.key], e.seq) {
			continue // pruned meanwhile
		}
		o.filter.add(e.key)
		if o.next != nil {
			o.next.add(e.key)
		}
		if _, err := t.exec(`INSERT OR IGNORE INTO origins (origin, seq) VALUES (?, ?)`, e.key, e.seq); err != nil {
			return from, err
		}
	}
	if to == len(o.moving) && from < to {
		_, err = t.exec(`UPDATE about SET indexed = ?`, o.upTo)
	}
	return to, err
}

// moved takes note of what is committed, and begins with the next generation.
func (o *origins) moved(to int) (from int) {
	if to < len(o.moving) {
		return to
	}
	for _, e := range o.moving {
		o.forget(e)
	}
	o.moving = nil
	if len(o.filling) < generation {
		return 0
	}
	o.upTo = o.filling[len(o.filling)-1].seq
	o.moving, o.filling = o.filling, nil
	slices.SortFunc(o.moving, func(a, b originOf) int { return cmp.Compare(a.key, b.key) })
	return 0
}
