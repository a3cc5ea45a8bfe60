// Package upload turns what a local authority sends into changes of the flags
// it holds, and gives a verdict on every row.
//
// No verdict and no error repeats what a field holds: a shifted column would
// put an NHS number into any of them.
package upload

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Report is what became of an upload.
type Report struct {
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	Verdict  string    `json:"verdict"`
	Sentence string    `json:"sentence"`
	Notices  []string  `json:"notices,omitempty"` // what a person should know of the whole
	Rows     int       `json:"rows"`
	Loaded   int       `json:"loaded"`
	Rejected int       `json:"rejected"`
	Verdicts []Verdict `json:"verdicts"` // one for each row, in their order
}

// Batch is an upload on its way in. It keeps the changes, and of what is
// rejected only where it stood.
type Batch struct {
	rules    Rules
	upload   store.Upload
	verdicts []Verdict
	changes  []pending // of the rows that are good so far
	american int       // rows with a date that can only be month/day
	notices  []string
}

// pending is a change that may yet be rejected.
type pending struct {
	store.Change
	row       int    // index in verdicts
	ambiguous string // column whose date could be month/day
}

// New begins an upload by the authority, sent by the identity named.
func New(authority safeguard.ODSCode, by string, received time.Time, rules Rules) *Batch {
	return &Batch{rules: rules, upload: store.Upload{ID: rand.Text(), Authority: authority, By: by, Received: received}}
}

// Len is the number of rows so far.
func (b *Batch) Len() int { return len(b.verdicts) }

// Add takes the next row.
func (b *Batch) Add(row Row) {
	r := b.rules.read(row)
	v := Verdict{Line: row.Line, Code: r.code, Column: r.column, Sentence: r.sentence}
	if r.american {
		b.american++
	}
	if r.code == Loaded {
		// Until its effect is known, the sentence holds how it was read.
		v.Sentence = strings.Join(r.notes, ", ")
		b.changes = append(b.changes, pending{r.change, len(b.verdicts), r.ambiguous})
	}
	b.verdicts = append(b.verdicts, v)
}

// Applier is what a batch needs of a store.
type Applier interface {
	Apply(ctx context.Context, upload store.Upload) ([]store.Effect, error)
}

// Apply puts the good rows into s, in one transaction. After an error nothing
// was applied.
func (b *Batch) Apply(ctx context.Context, s Applier) (Report, error) {
	b.rejectAmbiguous()
	b.upload.Rows = len(b.verdicts)
	b.upload.Changes = make([]store.Change, len(b.changes))
	for i, c := range b.changes {
		b.upload.Changes[i] = c.Change
	}
	effects, err := s.Apply(ctx, b.upload)
	if err != nil {
		return Report{}, err
	}
	return b.report(effects), nil
}

// rejectAmbiguous rejects the rows with a date that could be day/month or
// month/day when others of the upload show that it is month/day that is meant.
func (b *Batch) rejectAmbiguous() {
	if b.american == 0 {
		return
	}
	kept := b.changes[:0]
	for _, c := range b.changes {
		if c.ambiguous == "" {
			kept = append(kept, c)
			continue
		}
		v := &b.verdicts[c.row]
		v.Code, v.Column, v.Sentence = Rejected, c.ambiguous,
			"could be day/month or month/day, and other rows have month/day; want YYYY-MM-DD"
	}
	b.changes = kept
}

func (b *Batch) report(effects []store.Effect) Report {
	loaded, changed := 0, 0
	for i, effect := range effects {
		v := &b.verdicts[b.changes[i].row]
		how := v.Sentence
		switch effect {
		case store.Added:
			v.Sentence = "loaded"
		case store.Replaced:
			v.Sentence = "loaded, in the place of what was held"
		case store.Unchanged:
			v.Sentence = "loaded, nothing was to be changed"
		case store.Withdrawn:
			v.Sentence = "loaded, the flag is withdrawn"
		default:
			v.Code, v.Column, v.Sentence = Rejected, columnDelete, "no flag with this plan and start is held, so none can be withdrawn"
			continue
		}
		if how != "" {
			v.Sentence += "; " + how
			changed++
		}
		loaded++
	}
	r := Report{
		ID:       b.upload.ID,
		Received: b.upload.Received,
		Rows:     len(b.verdicts),
		Loaded:   loaded,
		Rejected: len(b.verdicts) - loaded,
		Notices:  b.notices,
		Verdicts: b.verdicts,
	}
	if changed > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%d loaded rows were not written as documented; each says how it was read", changed))
	}
	switch {
	case r.Rejected == 0:
		r.Verdict, r.Sentence = AllLoaded, fmt.Sprintf("all %d rows loaded", r.Rows)
	case r.Loaded == 0:
		r.Verdict, r.Sentence = NoneLoaded, fmt.Sprintf("none of %d rows loaded", r.Rows)
	default:
		r.Verdict, r.Sentence = SomeLoaded, fmt.Sprintf("%d of %d rows loaded, %d rejected", r.Loaded, r.Rows, r.Rejected)
	}
	return r
}
