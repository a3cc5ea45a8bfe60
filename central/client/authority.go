package client

import (
	"context"
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

// Report is the centre's verdict on an upload.
type Report struct {
	ID       string    `json:"id"`
	Verdict  string    `json:"verdict"` // CPF01 to CPF04
	Sentence string    `json:"sentence"`
	Received time.Time `json:"received"`
	Rows     int       `json:"rows"`
	Loaded   int       `json:"loaded"`
	Rejected int       `json:"rejected"`
	Verdicts []Verdict `json:"verdicts"`
}

// Verdict is what became of one row.
type Verdict struct {
	Line     int    `json:"line"`
	Code     string `json:"code"` // CPR04, CPR06 or CPR07
	Column   string `json:"column,omitempty"`
	Sentence string `json:"sentence"`
}

// Upload sends rows, and gets a verdict for each. An error from rows ends the
// upload, and nothing of it is applied. It is given as long as ctx allows.
func (c *Client) Upload(ctx context.Context, rows iter.Seq2[Row, error]) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a stream that is given up ends at the centre too
	stream, err := c.uploads.Upload(ctx, maxRecv)
	if err != nil {
		return Report{}, fmt.Errorf("upload: %w", problem(ctx, err))
	}
	// When a send fails, why is in the response.
	send := func(r *flagpb.UploadRequest) error {
		err := stream.Send(r)
		if errors.Is(err, io.EOF) {
			_, err = stream.CloseAndRecv()
		}
		if err != nil {
			return fmt.Errorf("upload: %w", problem(ctx, err))
		}
		return nil
	}
	header := &flagpb.UploadHeader{Kind: flagpb.UploadKind_UPLOAD_KIND_CHANGES}
	if err := send(&flagpb.UploadRequest{Part: &flagpb.UploadRequest_Header{Header: header}}); err != nil {
		return Report{}, err
	}
	var waiting []*flagpb.UploadRow
	flush := func() error {
		if len(waiting) == 0 {
			return nil
		}
		part := &flagpb.UploadRequest_Rows{Rows: &flagpb.UploadRows{Rows: waiting}}
		waiting = nil
		return send(&flagpb.UploadRequest{Part: part})
	}
	for row, err := range rows {
		if err != nil {
			return Report{}, fmt.Errorf("upload: %w", err)
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
				return Report{}, err
			}
		}
	}
	if err := flush(); err != nil {
		return Report{}, err
	}
	report, err := stream.CloseAndRecv()
	if err != nil {
		return Report{}, fmt.Errorf("upload: %w", problem(ctx, err))
	}
	return reportOf(report), nil
}

func reportOf(r *flagpb.UploadReport) Report {
	report := Report{
		ID:       r.GetId(),
		Verdict:  r.GetVerdict(),
		Sentence: r.GetSentence(),
		Received: timeOf(r.GetReceivedAt()),
		Rows:     int(r.GetRows()),
		Loaded:   int(r.GetLoaded()),
		Rejected: int(r.GetRejected()),
		Verdicts: make([]Verdict, 0, len(r.GetVerdicts())),
	}
	for _, v := range r.GetVerdicts() {
		report.Verdicts = append(report.Verdicts, Verdict{int(v.GetLine()), v.GetCode(), v.GetColumn(), v.GetSentence()})
	}
	return report
}

// Waiting gives the caller's notifications that it has not acknowledged, oldest
// first, at most limit of them; 0 is all. After an error there are no more.
func (c *Client) Waiting(ctx context.Context, limit int) iter.Seq2[safeguard.Notification, error] {
	return func(yield func(safeguard.Notification, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.notifications.Pull(ctx, &flagpb.PullRequest{Limit: count(limit)})
		for err == nil {
			var n *flagpb.Notification
			if n, err = stream.Recv(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				break
			}
			out, bad := notificationOf(n)
			if bad != nil {
				yield(safeguard.Notification{}, fmt.Errorf("pull notifications: %w", bad))
				return
			}
			if !yield(out, nil) {
				return
			}
		}
		yield(safeguard.Notification{}, fmt.Errorf("pull notifications: %w", problem(ctx, err)))
	}
}

// Acknowledge takes responsibility for the notifications with these ids: they
// are not given again. It may be repeated. It returns how many of the ids are
// not the caller's.
func (c *Client) Acknowledge(ctx context.Context, ids ...string) (notFound int, err error) {
	for some := range slices.Chunk(ids, batch) {
		response, err := c.notifications.Acknowledge(ctx, &flagpb.AcknowledgeRequest{Ids: some})
		if err != nil {
			return notFound, fmt.Errorf("acknowledge notifications: %w", problem(ctx, err))
		}
		notFound += int(response.GetNotFound())
	}
	return notFound, nil
}

func notificationOf(n *flagpb.Notification) (safeguard.Notification, error) {
	out := safeguard.Notification{
		ID:          n.GetId(),
		SiteName:    n.GetSiteName(),
		Accountable: safeguard.Accountable{Name: n.GetAccountable().GetName(), Role: n.GetAccountable().GetRole()},
		At:          timeOf(n.GetAttendedAt()),
		Recorded:    timeOf(n.GetRecordedAt()),
		Sensitive:   n.GetSensitiveLocation(),
		Late:        n.GetLate(),
	}
	var err error
	if out.Number, err = safeguard.ParseNHSNumber(n.GetNhsNumber()); err != nil {
		return out, fmt.Errorf("notification %s: %w", out.ID, err)
	}
	born, err := optionalDate(n.GetDateOfBirth())
	if err != nil {
		return out, fmt.Errorf("notification %s: date of birth: %w", out.ID, err)
	}
	out.Born = safeguard.Hide(born)
	for _, p := range n.GetPlans() {
		out.Plans = append(out.Plans, plans[p])
	}
	if out.Organisation, err = safeguard.ParseODSCode(n.GetOrganisation()); err != nil {
		return out, fmt.Errorf("notification %s: organisation: %w", out.ID, err)
	}
	if out.Site, err = safeguard.ParseODSCode(n.GetSite()); err != nil {
		return out, fmt.Errorf("notification %s: site: %w", out.ID, err)
	}
	if out.Attendance, err = safeguard.ParseAttendanceID(n.GetAttendanceId()); err != nil {
		return out, fmt.Errorf("notification %s: %w", out.ID, err)
	}
	out.Setting = settingOf(n.GetCareSetting())
	if c := n.GetCorrection(); c != nil {
		if c.GetNotificationId() == "" {
			return out, fmt.Errorf("notification %s: it corrects, and does not say what", out.ID)
		}
		out.Corrects, out.CorrectedAt = c.GetNotificationId(), timeOf(c.GetCorrectedAt())
		for reason, wire := range corrections {
			if wire == c.GetReason() {
				out.Reason = reason
			}
		}
	}
	return out, nil
}
