package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Trail is what is to be verified.
type Trail struct {
	// Records gives every record, by chain and within it by position. It is
	// asked twice.
	Records func() iter.Seq2[Record, error]

	// Heads are those that are kept beside the chains, or nil where there are
	// none, as in an export.
	Heads []KeptHead

	// Noted are heads that were noted elsewhere, such as those of an earlier
	// report. Nothing else shows that the whole store was put back to an older
	// state.
	Noted []Head

	// Subjects says that records come with what their subjects commit to.
	Subjects bool
}

// KeptHead is a head as a store keeps it.
type KeptHead struct {
	Head
	Forged bool // it was not written under the store's keys
}

// Problem is what does not hold, and where.
type Problem struct {
	Position
	What string `json:"what"`
}

func (p Problem) String() string { return p.Position.String() + ": " + p.What }

// Report is what verification found. Its heads are worth noting elsewhere.
type Report struct {
	Chains   int       `json:"chains"`
	Entries  int       `json:"entries"`
	Problems []Problem `json:"problems"`
	Heads    []Head    `json:"heads"`
}

// Verify holds every entry against its hash, its neighbours, what other chains
// saw of it, and its chain's head.
func Verify(t Trail) (Report, error) {
	v := verifying{trail: t, seen: map[Position][]sighting{}, erased: map[Position]bool{}}
	for _, h := range t.Noted {
		v.seen[Position{h.Chain, h.Seq}] = append(v.seen[Position{h.Chain, h.Seq}], sighting{h.Hash, "the head noted elsewhere"})
	}
	for r, err := range t.Records() {
		if err != nil {
			return Report{}, fmt.Errorf("read audit: %w", err)
		}
		v.collect(r)
	}
	for r, err := range t.Records() {
		if err != nil {
			return Report{}, fmt.Errorf("read audit: %w", err)
		}
		v.check(r)
	}
	v.finish()
	v.report.Problems = append([]Problem{}, v.report.Problems...) // an empty list, not null
	return v.report, nil
}

type verifying struct {
	trail  Trail
	seen   map[Position][]sighting
	erased map[Position]bool
	report Report
}

// sighting is a hash that someone else saw at a position.
type sighting struct{ hash, by string }

// collect takes what a good record says of others.
func (v *verifying) collect(r Record) {
	e, ok := r.read()
	if !ok {
		return
	}
	for _, h := range e.Heads {
		p := Position{h.Chain, h.Seq}
		v.seen[p] = append(v.seen[p], sighting{h.Hash, r.Position.String()})
	}
	for _, p := range e.Erased {
		v.erased[p] = true
	}
}

// read gives the entry of a record whose hash is that of its body.
func (r Record) read() (e Entry, ok bool) {
	sum := sha256.Sum256(r.Body)
	return e, slices.Equal(sum[:], r.Hash) && json.Unmarshal(r.Body, &e) == nil
}

func (v *verifying) check(r Record) {
	v.report.Entries++
	if last := v.last(); last == nil || last.Chain != r.Chain {
		v.report.Chains++
		v.report.Heads = append(v.report.Heads, Head{Chain: r.Chain})
	}
	last := v.last()
	if r.Seq != last.Seq+1 {
		v.fault(Position{r.Chain, last.Seq + 1}, "removed: the next entry there is %d", r.Seq)
	}
	e, ok := r.read()
	switch {
	case !ok:
		v.fault(r.Position, "changed: its hash is not that of its content")
	case e.Chain != r.Chain || e.Seq != r.Seq:
		v.fault(r.Position, "moved: what stands here was written as %s", Position{e.Chain, e.Seq})
	case r.Seq == last.Seq+1 && e.Prev != last.Hash:
		v.fault(r.Position, "does not follow from the entry before it, one of the two was replaced")
	case v.trail.Subjects:
		v.checkSubject(r, e)
	}
	hash := hex.EncodeToString(r.Hash)
	for _, s := range v.seen[r.Position] {
		if s.hash != hash {
			v.fault(r.Position, "replaced: %s saw another", s.by)
		}
	}
	delete(v.seen, r.Position)
	last.Seq, last.Hash = r.Seq, hash
}

func (v *verifying) checkSubject(r Record, e Entry) {
	switch {
	case e.Subject == "" && (r.Token != nil || r.Salt != nil):
		v.fault(r.Position, "changed: names a person, and was written without")
	case e.Subject == "":
	case r.Token == nil && !v.erased[r.Position]:
		v.fault(r.Position, "changed: leads to nobody, and no erasure says so")
	case r.Token != nil && commitment(r.Salt, r.Token) != e.Subject:
		v.fault(r.Position, "changed: leads to another person than it was written for")
	}
}

// last is the head of the chain that is being read.
func (v *verifying) last() *Head {
	if len(v.report.Heads) == 0 {
		return nil
	}
	return &v.report.Heads[len(v.report.Heads)-1]
}

// finish looks for what should have been there.
func (v *verifying) finish() {
	found := map[string]Head{}
	for _, h := range v.report.Heads {
		found[h.Chain] = h
	}
	kept := map[string]bool{}
	for _, h := range v.trail.Heads {
		kept[h.Chain] = true
		own := found[h.Chain]
		switch {
		case h.Forged:
			v.fault(Position{h.Chain, h.Seq}, "the chain's head was not written by this centre")
		case own.Seq < h.Seq:
			v.fault(Position{h.Chain, own.Seq + 1}, "cut off: the chain went on to %d", h.Seq)
		case own.Seq > h.Seq || own.Hash != h.Hash:
			v.fault(Position{h.Chain, own.Seq}, "the chain ends otherwise than its head says, at %d", h.Seq)
		}
	}
	if v.trail.Heads != nil {
		for _, h := range v.report.Heads {
			if !kept[h.Chain] {
				v.fault(Position{h.Chain, h.Seq}, "the chain has no head, which was removed")
			}
		}
	}
	left := slices.SortedFunc(maps.Keys(v.seen), func(a, b Position) int {
		return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Seq, b.Seq))
	})
	for _, p := range left {
		if own, ok := found[p.Chain]; !ok {
			v.fault(p, "removed with its whole chain: %s saw it", v.seen[p][0].by)
		} else {
			v.fault(p, "removed: %s saw it, the chain ends at %d", v.seen[p][0].by, own.Seq)
		}
	}
}

func (v *verifying) fault(at Position, format string, args ...any) {
	v.report.Problems = append(v.report.Problems, Problem{at, fmt.Sprintf(format, args...)})
}
