package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

// Row is one row of an upload, each field as the local authority wrote it; the
// verdict is the centre's.
type Row struct {
	Line        int    // in the authority's file, from 1
	NHSNumber   string // ten digits; spaces and hyphens are accepted
	DateOfBirth string // YYYY-MM-DD; the mother's for UCPP
	Plan        string // CPP, LAC or UCPP
	Start       string // YYYY-MM-DD
	End         string // YYYY-MM-DD, or empty while the plan is active
	Delete      string // YYYY-MM-DD, or empty: the flag should never have been there
	Unreadable  string // why the line could not be taken apart, if so; the fields are empty then
}

// Upload is what is said of an upload as a whole.
type Upload struct {
	Snapshot bool              // the rows are all flags that the authority has
	Sequence int64             // the authority's running number of its uploads, from 1; 0 for none
	File     []byte            // SHA-256 of the file that the rows are from; may be empty
	Sender   safeguard.ODSCode // the authority that the file says it is from; may be zero

	// Progress, if there is one, is told how many rows were sent, and then how
	// many of them the centre has applied.
	Progress func(sent, applied int)
}

// Report is the centre's verdict on an upload.
type Report struct {
	ID        string    `json:"id"`
	State     State     `json:"state"`
	Kind      string    `json:"kind"` // changes or snapshot
	Sequence  int64     `json:"sequence,omitempty"`
	Repeated  bool      `json:"repeated"`
	GapFrom   int64     `json:"gap_from,omitempty"` // first and last of the sequence numbers
	GapTo     int64     `json:"gap_to,omitempty"`   // before this one that never came
	Verdict   string    `json:"verdict"`            // CPF01 to CPF06
	Sentence  string    `json:"sentence"`
	Notices   []string  `json:"notices"`
	Received  time.Time `json:"received"`
	Rows      int       `json:"rows"`
	Loaded    int       `json:"loaded"`
	Rejected  int       `json:"rejected"`
	Ended     int       `json:"ended"`     // flags that are not in the snapshot
	Withdrawn int       `json:"withdrawn"` // the same, that had not begun
	File      string    `json:"file_sha256,omitempty"`
	Verdicts  []Verdict `json:"verdicts"` // one for each row, in their order
}

// State is how far an upload is.
type State string

// The states.
const (
	Applied   State = "applied"
	Waits     State = "waiting"   // for a person at the centre; nothing is changed
	Rejected  State = "rejected"  // by that person; nothing is changed
	Overtaken State = "overtaken" // by a later snapshot, while it waited; nothing is changed
	NotTaken  State = "refused"   // nothing is changed or kept
)

var states = map[flagpb.UploadState]State{
	flagpb.UploadState_UPLOAD_STATE_APPLIED:   Applied,
	flagpb.UploadState_UPLOAD_STATE_WAITING:   Waits,
	flagpb.UploadState_UPLOAD_STATE_REJECTED:  Rejected,
	flagpb.UploadState_UPLOAD_STATE_OVERTAKEN: Overtaken,
	flagpb.UploadState_UPLOAD_STATE_REFUSED:   NotTaken,
}

// Verdict is what became of one row.
type Verdict struct {
	Line     int    `json:"line"`
	Code     string `json:"code"` // CPR01 to CPR07
	Column   string `json:"column,omitempty"`
	Sentence string `json:"sentence"`
}

// Upload sends rows, and gets a verdict for each. An error from rows ends the
// upload, and nothing of it is applied. It is given as long as ctx allows. Where
// the reply is lost, the same upload with the same sequence number may be sent
// again, and gives the same report.
func (c *Client) Upload(ctx context.Context, u Upload, rows iter.Seq2[Row, error]) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a stream that is given up ends at the centre too
	stream, err := c.uploads.Upload(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("upload: %w", problem(ctx, err))
	}
	s := sending{Upload: u, stream: stream}
	err = s.send(rows)
	switch {
	case errors.Is(err, io.EOF): // why is in the response
	case errors.As(err, new(rowsError)):
		return Report{}, fmt.Errorf("upload: %w", err)
	case err != nil:
		return Report{}, fmt.Errorf("upload: %w", problem(ctx, err))
	}
	report, err := receive(stream.Recv, func(applied int) { s.progress(applied) })
	if err != nil {
		return Report{}, fmt.Errorf("upload: %w", problem(ctx, err))
	}
	return report, nil
}

// Report gives the report of an earlier upload again: by its id, or where that
// is empty by its sequence number.
func (c *Client) Report(ctx context.Context, id string, sequence int64) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.uploads.Report(ctx, &flagpb.ReportRequest{Id: id, Sequence: sequence})
	if err != nil {
		return Report{}, fmt.Errorf("report: %w", problem(ctx, err))
	}
	report, err := receive(stream.Recv, func(int) {})
	if err != nil {
		return Report{}, fmt.Errorf("report: %w", problem(ctx, err))
	}
	return report, nil
}

// sending is an upload on its way out.
type sending struct {
	Upload
	stream interface {
		Send(*flagpb.UploadRequest) error
		CloseSend() error
	}
	sent int
}

// rowsError is what the caller's rows ended with.
type rowsError struct{ err error }

func (e rowsError) Error() string { return e.err.Error() }
func (e rowsError) Unwrap() error { return e.err }

func (s *sending) progress(applied int) {
	if s.Progress != nil {
		s.Progress(s.sent, applied)
	}
}

func (s *sending) send(rows iter.Seq2[Row, error]) error {
	header := &flagpb.UploadHeader{Kind: flagpb.UploadKind_UPLOAD_KIND_CHANGES, Sequence: s.Sequence, FileSha256: s.File, Sender: s.Sender.String()}
	if s.Snapshot {
		header.Kind = flagpb.UploadKind_UPLOAD_KIND_SNAPSHOT
	}
	if err := s.stream.Send(&flagpb.UploadRequest{Part: &flagpb.UploadRequest_Header{Header: header}}); err != nil {
		return err
	}
	var waiting []*flagpb.UploadRow
	flush := func() error {
		if len(waiting) == 0 {
			return nil
		}
		err := s.stream.Send(&flagpb.UploadRequest{Part: &flagpb.UploadRequest_Rows{Rows: &flagpb.UploadRows{Rows: waiting}}})
		s.sent += len(waiting)
		waiting = nil
		s.progress(0)
		return err
	}
	for row, err := range rows {
		if err != nil {
			return rowsError{err}
		}
		waiting = append(waiting, &flagpb.UploadRow{
			Line:        int64(row.Line),
			NhsNumber:   row.NHSNumber,
			DateOfBirth: row.DateOfBirth,
			Plan:        row.Plan,
			Start:       row.Start,
			End:         row.End,
			Delete:      row.Delete,
			Unreadable:  row.Unreadable,
		})
		if len(waiting) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return s.stream.CloseSend()
}

// receive puts the parts of a report together. One that is not whole is an
// error.
func receive(recv func() (*flagpb.UploadReport, error), progress func(applied int)) (Report, error) {
	var report Report
	known := map[string]string{} // most verdicts say one of few things
	one := func(s string) string {
		if _, ok := known[s]; !ok {
			known[s] = s
		}
		return known[s]
	}
	for {
		part, err := recv()
		switch {
		case errors.Is(err, io.EOF) && report.State == "":
			return Report{}, errors.New("the report did not come")
		case errors.Is(err, io.EOF) && report.State != NotTaken && len(report.Verdicts) < report.Rows && len(report.Verdicts) > 0:
			return Report{}, fmt.Errorf("%d verdicts came, and there are %d rows", len(report.Verdicts), report.Rows)
		case errors.Is(err, io.EOF):
			return report, nil
		case err != nil:
			return Report{}, err
		}
		switch state := part.GetState(); {
		case state == flagpb.UploadState_UPLOAD_STATE_APPLYING:
			progress(int(part.GetLoaded()))
		case state != flagpb.UploadState_UPLOAD_STATE_UNSPECIFIED:
			report = reportOf(part)
		}
		for _, v := range part.GetVerdicts() {
			report.Verdicts = append(report.Verdicts, Verdict{int(v.GetLine()), one(v.GetCode()), one(v.GetColumn()), one(v.GetSentence())})
		}
	}
}

func reportOf(r *flagpb.UploadReport) Report {
	report := Report{
		ID:        r.GetId(),
		State:     states[r.GetState()],
		Kind:      "changes",
		Sequence:  r.GetSequence(),
		Repeated:  r.GetRepeated(),
		GapFrom:   r.GetGapFrom(),
		GapTo:     r.GetGapTo(),
		Verdict:   r.GetVerdict(),
		Sentence:  r.GetSentence(),
		Notices:   append([]string{}, r.GetNotices()...),
		Received:  timeOf(r.GetReceivedAt()),
		Rows:      int(r.GetRows()),
		Loaded:    int(r.GetLoaded()),
		Rejected:  int(r.GetRejected()),
		Ended:     int(r.GetEnded()),
		Withdrawn: int(r.GetWithdrawn()),
		File:      hex.EncodeToString(r.GetFileSha256()),
		Verdicts:  []Verdict{},
	}
	if r.GetKind() == flagpb.UploadKind_UPLOAD_KIND_SNAPSHOT {
		report.Kind = "snapshot"
	}
	return report
}

// InactiveNumber is an NHS number under which the caller holds a flag, and which
// is not in use any more.
type InactiveNumber struct {
	ID         string
	Number     safeguard.NHSNumber
	Superseded bool      // the person has another number, which a demographic service tells
	Upload     string    // sequence number, or else the id, of the upload that the flag is from
	Recorded   time.Time // when the centre learnt of it
}

// InactiveNumbers gives those that the caller has not acknowledged to know,
// oldest first, at most limit of them; 0 is all. After an error there are no
// more.
func (c *Client) InactiveNumbers(ctx context.Context, limit int) iter.Seq2[InactiveNumber, error] {
	return func(yield func(InactiveNumber, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.uploads.InactiveNumbers(ctx, &flagpb.InactiveNumbersRequest{Limit: count(limit)})
		for err == nil {
			var n *flagpb.InactiveNumber
			if n, err = stream.Recv(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				break
			}
			number, bad := safeguard.ParseNHSNumber(n.GetNhsNumber())
			if bad != nil {
				yield(InactiveNumber{}, fmt.Errorf("inactive number %s: %w", n.GetId(), bad))
				return
			}
			out := InactiveNumber{n.GetId(), number, n.GetStanding() == flagpb.InactiveStanding_INACTIVE_STANDING_SUPERSEDED, n.GetUpload(), timeOf(n.GetRecordedAt())}
			if !yield(out, nil) {
				return
			}
		}
		yield(InactiveNumber{}, fmt.Errorf("inactive numbers: %w", problem(ctx, err)))
	}
}

// AcknowledgeInactive is Acknowledge for inactive numbers.
func (c *Client) AcknowledgeInactive(ctx context.Context, ids ...string) (notFound int, err error) {
	for some := range slices.Chunk(ids, batch) {
		response, err := c.uploads.AcknowledgeInactiveNumbers(ctx, &flagpb.AcknowledgeRequest{Ids: some})
		if err != nil {
			return notFound, fmt.Errorf("acknowledge inactive numbers: %w", problem(ctx, err))
		}
		notFound += int(response.GetNotFound())
	}
	return notFound, nil
}
