package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// Caller is how a local authority's system reaches the centre.
type Caller struct {
	Server      string // host:port
	Certificate string // PEM files, as for identity.Files
	Key         string
	CA          string
}

func (c Caller) dial() (*client.Client, error) {
	config, err := identity.ClientTLS(identity.Files{Certificate: c.Certificate, Key: c.Key, CA: c.CA}, identity.Authority)
	if err != nil {
		return nil, err
	}
	return client.Dial(c.Server, config)
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Listing says how notifications are written.
type Listing struct {
	JSON   bool
	Reveal bool // NHS numbers and dates of birth in full
	Limit  int  // 0 for all
}

// shownNotification is a notification as JSON shows it.
type shownNotification struct {
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
	Sensitive    bool                   `json:"sensitive_location"`
}

func shown(n safeguard.Notification, reveal bool) shownNotification {
	s := shownNotification{
		ID:           n.ID,
		NHSNumber:    n.Number.String(),
		DateOfBirth:  n.Born.String(),
		Plans:        n.Plans,
		Organisation: n.Organisation,
		Site:         n.Site,
		SiteName:     n.SiteName,
		CareSetting:  n.Setting,
		Accountable:  n.Accountable.Name,
		Role:         n.Accountable.Role,
		Attendance:   n.Attendance,
		AttendedAt:   n.At,
		RecordedAt:   n.Recorded,
		Sensitive:    n.Sensitive,
	}
	if reveal {
		s.NHSNumber, s.DateOfBirth = n.Number.Reveal(), n.Born.Reveal().String()
	}
	return s
}

// ListNotifications writes the caller's notifications that it has not
// acknowledged, oldest first.
func ListNotifications(ctx context.Context, by Caller, how Listing, out io.Writer) error {
	c, err := by.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	list := []shownNotification{}
	for n, err := range c.Waiting(ctx, how.Limit) {
		if err != nil {
			return err
		}
		list = append(list, shown(n, how.Reveal))
	}
	if how.JSON {
		return writeJSON(out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no notification is waiting")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNHS NUMBER\tPLANS\tATTENDED\tWHERE\tACCOUNTABLE")
	for _, n := range list {
		var plans []string
		for _, p := range n.Plans {
			plans = append(plans, p.String())
		}
		where := fmt.Sprintf("%s (%s), %s", n.SiteName, n.Site, n.CareSetting)
		if n.Sensitive {
			where += ", SENSITIVE: do not pass on where"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s, %s\n", n.ID, n.NHSNumber, strings.Join(plans, " "),
			n.AttendedAt.Local().Format("2006-01-02 15:04"), where, n.Accountable, n.Role)
	}
	return w.Flush()
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
	missing, err := c.Acknowledge(ctx, ids...)
	if err != nil {
		return err
	}
	if missing > 0 {
		return fmt.Errorf("acknowledge notifications: %d of %d ids are none of this authority's", missing, len(ids))
	}
	_, err = fmt.Fprintf(out, "%d acknowledged\n", len(ids))
	return err
}

// WriteDevelopmentCA makes certificates for development and tests, and writes
// the paths of the files to out.
func WriteDevelopmentCA(dir string, d identity.Development, out io.Writer) error {
	paths, err := identity.WriteDevelopment(dir, d)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, strings.Join(paths, "\n"))
	return err
}
