package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

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
