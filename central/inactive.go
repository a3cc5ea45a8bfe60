package central

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
)

// ExportFormat is how an export is written.
type ExportFormat string

// The formats.
const (
	AsCSV  ExportFormat = "csv"
	AsJSON ExportFormat = "json"
	AsCPIS ExportFormat = "cpis-xml" // as the national service does
)

// shownInactive is an inactive number as JSON shows it.
type shownInactive struct {
	ID        string    `json:"id"`
	NHSNumber string    `json:"nhs_number"`
	Standing  string    `json:"standing"`
	Upload    string    `json:"upload"`
	Recorded  time.Time `json:"recorded_at"`
}

func showInactive(n client.InactiveNumber) shownInactive {
	standing := "inactive"
	if n.Superseded {
		standing = "superseded"
	}
	return shownInactive{n.ID, n.Number.Reveal(), standing, n.Upload, n.Recorded}
}

// ExportInactive writes the NHS numbers under which the caller holds flags and
// which are not in use any more, as far as it has not acknowledged to know, and
// gives their ids. Nothing is written in the national format when there are
// none, for it has no such message. recipient is the caller, for that format.
func ExportInactive(ctx context.Context, by Caller, format ExportFormat, recipient cpisxml.Organisation, out io.Writer) (ids []string, err error) {
	c, err := by.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var list []client.InactiveNumber
	for n, err := range c.InactiveNumbers(ctx, 0) {
		if err != nil {
			return nil, err
		}
		list, ids = append(list, n), append(ids, n.ID)
	}
	switch format {
	case AsJSON:
		shown := []shownInactive{}
		for _, n := range list {
			shown = append(shown, showInactive(n))
		}
		return ids, writeJSON(out, shown)
	case AsCPIS:
		if len(list) == 0 {
			return nil, nil
		}
		return ids, writeInactiveXML(out, recipient, list, time.Now())
	}
	w := csv.NewWriter(out)
	_ = w.Write([]string{"id", "nhs_number", "standing", "upload", "recorded_at"}) // Error says what went wrong
	for _, n := range list {
		s := showInactive(n)
		_ = w.Write([]string{s.ID, s.NHSNumber, s.Standing, s.Upload, s.Recorded.Format(time.RFC3339)})
	}
	w.Flush()
	return ids, w.Error()
}

// writeInactiveXML writes REPC_MT000005GB01. It never says which number has taken
// another's place.
func writeInactiveXML(out io.Writer, recipient cpisxml.Organisation, list []client.InactiveNumber, at time.Time) error {
	n := cpisxml.InactiveNotification{At: at, ID: cpisxml.NewUUID(), Recipient: recipient}
	for _, i := range list {
		n.Numbers = append(n.Numbers, cpisxml.Inactive{Number: i.Number, Upload: i.Upload})
	}
	return cpisxml.WriteInactive(out, n)
}

// AcknowledgeInactive takes over the notices with the ids.
func AcknowledgeInactive(ctx context.Context, by Caller, ids []string, out io.Writer) error {
	if len(ids) == 0 {
		return errors.New("acknowledge inactive numbers: want ids")
	}
	c, err := by.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	missing, err := c.AcknowledgeInactive(ctx, ids...)
	if err != nil {
		return err
	}
	if missing > 0 {
		return fmt.Errorf("acknowledge inactive numbers: %d of %d ids are none of this authority's", missing, len(ids))
	}
	_, err = fmt.Fprintf(out, "%d acknowledged\n", len(ids))
	return err
}

// AccessExport is what the national format wants to be told and Safeguard does
// not know.
type AccessExport struct {
	Recipient cpisxml.Organisation
	ASID      string // the accredited system id that stands for the centre, twelve digits
	RoleCode  string // job role (such as NR0050) of whoever answers for a lookup; empty leaves the person out
	Upload    string // what stands for the upload that a record came from in a notification that was owed before the centre kept that
}

// WriteAccessXML writes notifications as the national service does
// (REPC_MT000004GB01): one access each, at the site where the person attended,
// by its own id.
func WriteAccessXML(out io.Writer, how AccessExport, list []safeguard.Notification, at time.Time) error {
	n := cpisxml.AccessNotification{At: at, ID: cpisxml.NewUUID(), Recipient: how.Recipient}
	for _, a := range list {
		system := &cpisxml.System{ASID: how.ASID, Organisation: cpisxml.Organisation{Code: a.Site, Site: true, Name: a.SiteName}}
		if how.RoleCode != "" && a.Accountable.Name != "" {
			system.Answerable = []cpisxml.Answerable{{Role: cpisxml.Role{Code: how.RoleCode, Title: a.Accountable.Role}, Name: cpisxml.Name{Family: a.Accountable.Name}}}
		}
		n.Accesses = append(n.Accesses, cpisxml.Access{
			At: a.At, Query: cpisxml.UUID(strings.ToUpper(a.ID)), Author: cpisxml.Author{System: system}, Number: a.Number, Upload: cmp.Or(a.Upload, how.Upload),
		})
	}
	return cpisxml.WriteAccess(out, n)
}
