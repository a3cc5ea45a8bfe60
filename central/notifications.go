package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/notice"
)

// Listing says how notifications are written.
type Listing struct {
	JSON   bool
	Reveal bool // NHS numbers and dates of birth in full
	Limit  int  // 0 for all
}

// ListNotifications writes the caller's notifications that it has not
// acknowledged, oldest first.
func ListNotifications(ctx context.Context, by Caller, how Listing, out io.Writer) error {
	c, err := by.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	list := []notice.Notification{}
	for n, err := range c.Waiting(ctx, how.Limit) {
		if err != nil {
			return err
		}
		shown := notice.Masked(n)
		if how.Reveal {
			shown = notice.Of(n)
		}
		list = append(list, shown)
	}
	if how.JSON {
		return writeJSON(out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no notification is waiting")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNHS NUMBER\tPLANS\tATTENDED\tWHERE\tACCOUNTABLE\tREMARKS")
	for _, n := range list {
		var plans []string
		for _, p := range n.Plans {
			plans = append(plans, p.String())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s (%s), %s\t%s, %s\t%s\n", n.ID, n.NHSNumber, strings.Join(plans, " "),
			n.AttendedAt.Local().Format("2006-01-02 15:04"), n.SiteName, n.Site, n.CareSetting, n.Accountable, n.Role, remarks(n))
	}
	return w.Flush()
}

// remarks are what a reader must not miss.
func remarks(n notice.Notification) string {
	var list []string
	if n.Corrects != "" {
		list = append(list, fmt.Sprintf("TAKES BACK %s: %s", n.Corrects, n.CorrectionReason))
	}
	if n.Viewed {
		list = append(list, "VIEWED by a member of staff: no arrival")
	}
	if n.Sensitive {
		list = append(list, "SENSITIVE: do not pass on where")
	}
	if n.Late {
		list = append(list, "late: recorded "+n.RecordedAt.Local().Format("2006-01-02 15:04"))
	}
	return strings.Join(list, "; ")
}

// AcknowledgeNotifications takes over the notifications with the given ids, or
// all that wait, and writes how many.
func AcknowledgeNotifications(ctx context.Context, by Caller, ids []string, all bool, out io.Writer) error {
	if all == (len(ids) > 0) {
		return errors.New("acknowledge notifications: want either ids or --all")
	}
	c, err := by.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if all {
		for n, err := range c.Waiting(ctx, 0) {
			if err != nil {
				return err
			}
			ids = append(ids, n.ID)
		}
	}
	if err := acknowledge(ctx, c, ids); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d acknowledged\n", len(ids))
	return err
}

func acknowledge(ctx context.Context, c *client.Client, ids []string) error {
	missing, err := c.Acknowledge(ctx, ids...)
	if err == nil && missing > 0 {
		err = fmt.Errorf("acknowledge notifications: %d of %d ids are none of this authority's", missing, len(ids))
	}
	return err
}

// NotificationFormat is how notifications are written to a file.
type NotificationFormat struct {
	ExportFormat
	National AccessExport // for AsCPIS
}

// write writes the list. The national format knows no corrections: they are left
// out of it, and counted.
func (f NotificationFormat) write(out io.Writer, list []safeguard.Notification) (left int, err error) {
	switch f.ExportFormat {
	case AsJSON:
		shown := make([]notice.Notification, len(list))
		for i, n := range list {
			shown[i] = notice.Of(n)
		}
		return 0, writeJSON(out, shown)
	case AsCPIS:
		var accesses []safeguard.Notification
		for _, n := range list {
			if n.Corrects == "" {
				accesses = append(accesses, n)
			}
		}
		return len(list) - len(accesses), WriteAccessXML(out, f.National, accesses, time.Now())
	}
	w := notice.NewCSV(out)
	for _, n := range list {
		if err := w.Write(notice.Of(n)); err != nil {
			return 0, err
		}
	}
	return 0, w.Flush()
}

// ExportNotifications writes the caller's notifications that wait, with whom they
// are about, and acknowledges nothing. It gives how many it could not write.
func ExportNotifications(ctx context.Context, by Caller, format NotificationFormat, out io.Writer) (left int, err error) {
	c, err := by.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	list, err := some(ctx, c, 0)
	if err != nil {
		return 0, err
	}
	return format.write(out, list)
}

func some(ctx context.Context, c *client.Client, limit int) (list []safeguard.Notification, err error) {
	for n, err := range c.Waiting(ctx, limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// Pull says how notifications are taken over into files.
type Pull struct {
	NotificationFormat
	Into   string        // folder
	Follow time.Duration // how often to look again; 0 to look once
}

// pullTogether is how many notifications one file holds at most.
const pullTogether = 1000

// PullNotifications takes over what waits: each file is written whole, is on disk,
// and only then are the notifications in it acknowledged. One that was written and
// not acknowledged, as when the machine stopped between the two, comes again, in
// another file, with the same id. The path of each file goes to out, a line each.
func PullNotifications(ctx context.Context, by Caller, how Pull, out io.Writer) error {
	if how.ExportFormat == AsCPIS {
		return errors.New("pull notifications: the national format knows no corrections, want csv or json; notifications export writes it")
	}
	info, err := os.Stat(how.Into)
	if err != nil {
		return fmt.Errorf("pull notifications: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("pull notifications: %s is a file, want a folder", how.Into)
	}
	c, err := by.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		err := how.all(ctx, c, out)
		switch {
		case how.Follow == 0:
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, client.ErrUnreachable):
			return err
		}
		select {
		case <-time.After(how.Follow):
		case <-ctx.Done():
			return nil
		}
	}
}

func (p Pull) all(ctx context.Context, c *client.Client, out io.Writer) error {
	for {
		list, err := some(ctx, c, pullTogether)
		if err != nil || len(list) == 0 {
			return err
		}
		path, err := p.file(list)
		if err != nil {
			return fmt.Errorf("pull notifications: %w", err)
		}
		ids := make([]string, len(list))
		for i, n := range list {
			ids[i] = n.ID
		}
		if err := acknowledge(ctx, c, ids); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, path); err != nil {
			return err
		}
	}
}

// file writes a file that is there whole or not at all.
func (p Pull) file(list []safeguard.Notification) (path string, err error) {
	aside, err := os.CreateTemp(p.Into, ".notifications-*") // readable by its owner only
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(aside.Name())
		}
	}()
	_, err = p.write(aside, list)
	if err == nil {
		err = aside.Sync()
	}
	if err = errors.Join(err, aside.Close()); err != nil {
		return "", err
	}
	name := fmt.Sprintf("notifications-%s-%s.%s", time.Now().UTC().Format("20060102T150405.000Z"), list[0].ID[:8], p.ExportFormat)
	path = filepath.Join(p.Into, name)
	if err := os.Rename(aside.Name(), path); err != nil {
		return "", err
	}
	return path, syncFolder(p.Into)
}

// Accesses says which accesses are listed.
type Accesses struct {
	ExportFormat
	Number safeguard.NHSNumber // of one person; zero for all
	From   time.Time
	Until  time.Time
}

// notified is a notification with what has become of it, as JSON shows it.
type notified struct {
	notice.Notification
	AcknowledgedAt time.Time `json:"acknowledged_at,omitzero"`
	AcknowledgedBy string    `json:"acknowledged_by,omitempty"`
	CorrectedBy    string    `json:"corrected_by,omitempty"`
}

// ListAccesses writes who accessed the records of the persons for whom the caller
// holds flags, acknowledged or not, as CSV or as JSON lines.
func ListAccesses(ctx context.Context, by Caller, which Accesses, out io.Writer) error {
	c, err := by.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	write, flush := jsonLines(out)
	if which.ExportFormat == AsCSV {
		w := notice.NewCSV(out, "acknowledged_at", "acknowledged_by", "corrected_by")
		flush = w.Flush
		write = func(n notified) error {
			at := ""
			if !n.AcknowledgedAt.IsZero() {
				at = n.AcknowledgedAt.Format(time.RFC3339)
			}
			return w.Write(n.Notification, at, n.AcknowledgedBy, n.CorrectedBy)
		}
	}
	for n, err := range c.Accesses(ctx, client.Which{Number: which.Number, From: which.From, Until: which.Until}) {
		if err != nil {
			return err
		}
		if err := write(notified{notice.Of(n.Notification), n.Acknowledged, n.AcknowledgedBy, n.CorrectedBy}); err != nil {
			return err
		}
	}
	return flush()
}

func jsonLines(out io.Writer) (write func(notified) error, flush func() error) {
	e := json.NewEncoder(out)
	return func(n notified) error { return e.Encode(n) }, func() error { return nil }
}
