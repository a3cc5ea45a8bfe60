// Package notice is how notifications are written for the systems of local
// authorities: as JSON, in files and in webhooks, and as CSV. Fields are only
// ever added.
package notice

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Notification is a notification as JSON has it. NHS number and date of birth
// stand in full in what Of gives, and masked in what Masked gives.
type Notification struct {
	ID           string                 `json:"id"`
	NHSNumber    string                 `json:"nhs_number"`
	DateOfBirth  string                 `json:"date_of_birth"`
	Plans        []safeguard.Plan       `json:"plans"`
	Organisation safeguard.ODSCode      `json:"organisation"`
	Site         safeguard.ODSCode      `json:"site"`
	SiteName     string                 `json:"site_name"`
	CareSetting  safeguard.CareSetting  `json:"care_setting"`
	Accountable  string                 `json:"accountable"`
	Role         string                 `json:"role"`
	Attendance   safeguard.AttendanceID `json:"attendance"`
	AttendedAt   time.Time              `json:"attended_at"`
	RecordedAt   time.Time              `json:"recorded_at"`
	Late         bool                   `json:"late"`
	Sensitive    bool                   `json:"sensitive_location"`
	Upload       string                 `json:"upload,omitempty"` // that the flag came from
	Viewed       bool                   `json:"viewed"`           // a member of staff looked, then: it is no arrival

	// Of a correction alone.
	Corrects         string                     `json:"corrects,omitempty"`
	CorrectionReason safeguard.CorrectionReason `json:"correction_reason,omitzero"`
	CorrectedAt      time.Time                  `json:"corrected_at,omitzero"`
}

// Of is n, with whom it is about.
func Of(n safeguard.Notification) Notification {
	out := Masked(n)
	out.NHSNumber, out.DateOfBirth = n.Number.Reveal(), n.Born.Reveal().String()
	return out
}

// Masked is n without saying whom it is about.
func Masked(n safeguard.Notification) Notification {
	return Notification{
		ID:               n.ID,
		NHSNumber:        n.Number.String(),
		DateOfBirth:      n.Born.String(),
		Plans:            n.Plans,
		Organisation:     n.Organisation,
		Site:             n.Site,
		SiteName:         n.SiteName,
		CareSetting:      n.Setting,
		Accountable:      n.Accountable.Name,
		Role:             n.Accountable.Role,
		Attendance:       n.Attendance,
		AttendedAt:       n.At.UTC(),
		RecordedAt:       n.Recorded.UTC(),
		Late:             n.Late,
		Sensitive:        n.Sensitive,
		Upload:           n.Upload,
		Viewed:           n.Viewed,
		Corrects:         n.Corrects,
		CorrectionReason: n.Reason,
		CorrectedAt:      n.CorrectedAt.UTC(),
	}
}

// Columns are those of the CSV, in their order; behind them, and those of the
// caller's own, come added ones. Times are RFC 3339, UTC; plans are
// joined by a space; true and false say what is so.
var Columns = []string{
	"id", "nhs_number", "date_of_birth", "plans", "organisation", "site", "site_name", "care_setting", "accountable", "role",
	"attendance", "attended_at", "recorded_at", "late", "sensitive_location", "corrects", "correction_reason", "corrected_at",
}

// added are the columns that came later: a reader that counts finds the others
// where they were.
var added = []string{"upload", "viewed"}

// CSV writes notifications as CSV (RFC 4180), with a header.
type CSV struct{ w *csv.Writer }

// NewCSV begins with the header, with columns of the caller's own.
func NewCSV(out io.Writer, further ...string) CSV {
	c := CSV{csv.NewWriter(out)}
	_ = c.w.Write(slices.Concat(Columns, further, added)) // Flush says what went wrong
	return c
}

// Write adds a row, with what stands in the further columns.
func (c CSV) Write(n Notification, further ...string) error {
	var plans []string
	for _, p := range n.Plans {
		plans = append(plans, p.String())
	}
	reason := ""
	if n.Corrects != "" {
		reason = n.CorrectionReason.String()
	}
	row := []string{
		n.ID, n.NHSNumber, n.DateOfBirth, strings.Join(plans, " "), n.Organisation.String(), n.Site.String(), n.SiteName, n.CareSetting.String(),
		n.Accountable, n.Role, n.Attendance.String(), moment(n.AttendedAt), moment(n.RecordedAt), strconv.FormatBool(n.Late),
		strconv.FormatBool(n.Sensitive), n.Corrects, reason, moment(n.CorrectedAt),
	}
	row = append(append(row, further...), n.Upload, strconv.FormatBool(n.Viewed))
	for i := range row {
		row[i] = inert(row[i])
	}
	return c.w.Write(row)
}

// Flush ends the writing.
func (c CSV) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// inert keeps a spreadsheet from taking a text that somebody else wrote for a
// formula.
func inert(s string) string {
	if s != "" && strings.ContainsAny(s[:1], "=+-@\t\r") {
		return "'" + s
	}
	return s
}
