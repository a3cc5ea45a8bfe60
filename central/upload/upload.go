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
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Row is one row, each field as the local authority wrote it.
type Row struct {
	Line        int // in the file, from 1
	NHSNumber   string
	DateOfBirth string
	Plan        string
	Start       string
	End         string
	Delete      string
	Unreadable  string // why the line could not be taken apart, if so; the fields are empty then
}

// Verdicts on a row (CP-ISUploadRecordResponse). The others of that list only a
// demographic service can give, and they are not given here.
const (
	NotANumber = "CPR04" // the NHS number is of an old format, or none
	Loaded     = "CPR06"
	Rejected   = "CPR07"
)

// Verdicts on an upload (CP-ISUploadFileResponse).
const (
	Malformed  = "CPF01"
	AllLoaded  = "CPF02"
	SomeLoaded = "CPF03"
	NoneLoaded = "CPF04"
)

// Verdict is what became of one row.
type Verdict struct {
	Line     int
	Code     string
	Column   string // at fault; empty when it is the whole row, or none
	Sentence string // what is wrong, and what would be right
}

// Report is what became of an upload.
type Report struct {
	ID       string
	Received time.Time
	Verdict  string
	Sentence string
	Rows     int
	Loaded   int
	Rejected int
	Verdicts []Verdict // one for each row, in their order
}

// Rules are what a row is held against.
type Rules struct {
	Today      safeguard.Date
	RefuseTest bool // numbers of the 999 range, in production
}

// Batch is an upload on its way in. It keeps the changes, and of what is
// rejected only where it stood.
type Batch struct {
	rules    Rules
	upload   store.Upload
	verdicts []Verdict
	rows     []int // of each change: its index in verdicts
}

// New begins an upload by the authority, sent by the identity named.
func New(authority safeguard.ODSCode, by string, received time.Time, rules Rules) *Batch {
	return &Batch{rules: rules, upload: store.Upload{ID: rand.Text(), Authority: authority, By: by, Received: received}}
}

// Len is the number of rows so far.
func (b *Batch) Len() int { return len(b.verdicts) }

// Add takes the next row.
func (b *Batch) Add(row Row) {
	change, verdict := b.rules.read(row)
	verdict.Line = row.Line
	b.verdicts = append(b.verdicts, verdict)
	if verdict.Code == Loaded {
		b.upload.Changes = append(b.upload.Changes, change)
		b.rows = append(b.rows, len(b.verdicts)-1)
	}
}

// Applier is what a batch needs of a store.
type Applier interface {
	Apply(ctx context.Context, upload store.Upload) ([]store.Effect, error)
}

// Apply puts the good rows into s, in one transaction. After an error nothing
// was applied.
func (b *Batch) Apply(ctx context.Context, s Applier) (Report, error) {
	b.upload.Rows = len(b.verdicts)
	effects, err := s.Apply(ctx, b.upload)
	if err != nil {
		return Report{}, err
	}
	loaded := 0
	for i, effect := range effects {
		v := &b.verdicts[b.rows[i]]
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
		loaded++
	}
	r := Report{
		ID:       b.upload.ID,
		Received: b.upload.Received,
		Rows:     len(b.verdicts),
		Loaded:   loaded,
		Rejected: len(b.verdicts) - loaded,
		Verdicts: b.verdicts,
	}
	switch {
	case r.Rejected == 0:
		r.Verdict, r.Sentence = AllLoaded, fmt.Sprintf("all %d rows loaded", r.Rows)
	case r.Loaded == 0:
		r.Verdict, r.Sentence = NoneLoaded, fmt.Sprintf("none of %d rows loaded", r.Rows)
	default:
		r.Verdict, r.Sentence = SomeLoaded, fmt.Sprintf("%d of %d rows loaded, %d rejected", r.Loaded, r.Rows, r.Rejected)
	}
	return r, nil
}
