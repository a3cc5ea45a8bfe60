package upload

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/safeguard-edge/safeguard/central/cpisxml"
)

// Answered is what an acknowledgement says of an upload.
type Answered struct {
	At      time.Time
	Verdict string                           // on the whole
	File    func() (io.ReadCloser, error)    // the upload again; it is read twice
	Each    func() iter.Seq2[Verdict, error] // the verdicts on its rows, in their order
	To      cpisxml.Organisation             // whom it is for; zero for whom the file says it is from
}

// WriteAcknowledgement answers a national upload in its own format
// (REPC_MT000003GB01). The records are handed back from the file itself: the
// centre keeps no names to do it from.
func WriteAcknowledgement(w io.Writer, a Answered) error {
	file, err := a.File()
	if err != nil {
		return err
	}
	u, err := cpisxml.ReadUpload(file)
	err = errors.Join(err, file.Close())
	if err != nil {
		return err
	}
	to := u.Header.Sender
	if !a.To.Code.IsZero() {
		to = a.To
	}
	return cpisxml.WriteAcknowledgement(w, cpisxml.Acknowledgement{
		Created:   a.At,
		Sequence:  u.Header.Sequence,
		Quantity:  u.Header.Quantity,
		File:      cpisxml.FileCode(a.Verdict),
		Recipient: to,
	}, a.answers)
}

// WriteUnreadable answers what can not be read as a national upload, in the
// national format.
func WriteUnreadable(w io.Writer, to cpisxml.Organisation, at time.Time) error {
	none := func() iter.Seq2[cpisxml.Answer, error] { return func(func(cpisxml.Answer, error) bool) {} }
	return cpisxml.WriteAcknowledgement(w, cpisxml.Acknowledgement{
		Created: at, Sequence: cpisxml.Unreadable, Quantity: -1, File: cpisxml.FileError, Recipient: to,
	}, none)
}

// answers gives the verdict on each record: that on its first plan which was not
// loaded, or that all were.
func (a Answered) answers() iter.Seq2[cpisxml.Answer, error] {
	return func(yield func(cpisxml.Answer, error) bool) {
		file, err := a.File()
		if err != nil {
			yield(cpisxml.Answer{}, err)
			return
		}
		defer file.Close()
		u, err := cpisxml.ReadUpload(file)
		if err != nil {
			yield(cpisxml.Answer{}, err)
			return
		}
		next, stop := iter.Pull2(a.Each())
		defer stop()
		for record, err := range u.Records() {
			if err != nil {
				yield(cpisxml.Answer{}, err)
				return
			}
			answer := cpisxml.Answer{Code: cpisxml.RecordLoaded, Record: record}
			for range recordRows(record) {
				v, err, ok := next()
				if !ok {
					err = fmt.Errorf("the report ends before record %d", record.Position)
				}
				if err != nil {
					yield(cpisxml.Answer{}, err)
					return
				}
				if v.Code != Loaded && answer.Code == cpisxml.RecordLoaded {
					answer.Code, answer.Text = cpisxml.RecordCode(v.Code), v.Sentence
				}
			}
			if !yield(answer, nil) {
				return
			}
		}
	}
}
