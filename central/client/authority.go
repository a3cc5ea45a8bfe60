package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

// Waiting gives the caller's notifications that it has not acknowledged, oldest
// first, at most limit of them; 0 is all. After an error there are no more.
func (c *Client) Waiting(ctx context.Context, limit int) iter.Seq2[safeguard.Notification, error] {
	return streamed("pull notifications", ctx, func(ctx context.Context) (grpc.ServerStreamingClient[flagpb.Notification], error) {
		return c.notifications.Pull(ctx, &flagpb.PullRequest{Limit: count(limit)})
	}, notificationOf)
}

// followAgain is how long to wait after a stream that ended, or broke.
const followAgain = time.Second

// Follow gives what Waiting does, and goes on with what comes, until ctx ends:
// then it yields ctx's error. It comes back by itself after the centre was away;
// what it has given once it gives no more, though it was not acknowledged yet.
// After any other error, as when the centre refuses, there are no more.
func (c *Client) Follow(ctx context.Context) iter.Seq2[safeguard.Notification, error] {
	pull := func(ctx context.Context) (grpc.ServerStreamingClient[flagpb.Notification], error) {
		return c.notifications.Pull(ctx, &flagpb.PullRequest{Follow: true})
	}
	return func(yield func(safeguard.Notification, error) bool) {
		var given map[string]bool // by the stream before: what it gave and this one does not was acknowledged
		for {
			own := map[string]bool{}
			for n, err := range streamed("follow notifications", ctx, pull, notificationOf) {
				if errors.Is(err, ErrUnreachable) {
					break
				}
				if err != nil {
					yield(safeguard.Notification{}, err)
					return
				}
				own[n.ID] = true
				if !given[n.ID] && !yield(n, nil) {
					return
				}
			}
			if len(own) > 0 {
				given = own
			}
			select {
			case <-time.After(followAgain):
			case <-ctx.Done():
				yield(safeguard.Notification{}, ctx.Err())
				return
			}
		}
	}
}

// Notified is a notification and what has become of it.
type Notified struct {
	safeguard.Notification
	Acknowledged   time.Time // zero while it waits
	AcknowledgedBy string    // an identity, or a webhook
	CorrectedBy    string    // the notification that takes it back
}

// Which says which of the caller's notifications; the zero value is all.
type Which struct {
	Number      safeguard.NHSNumber // of one person
	From, Until time.Time           // when the centre recorded them
}

// Accesses gives the caller's notifications, acknowledged or not, of persons for
// whom it holds a flag, oldest first. After an error there are no more.
func (c *Client) Accesses(ctx context.Context, which Which) iter.Seq2[Notified, error] {
	return streamed("read access history", ctx, func(ctx context.Context) (grpc.ServerStreamingClient[flagpb.NotifiedAccess], error) {
		return c.notifications.Accesses(ctx, &flagpb.AccessesRequest{
			NhsNumber: which.Number.Reveal(), From: moment(which.From), Until: moment(which.Until),
		})
	}, func(a *flagpb.NotifiedAccess) (Notified, error) {
		n, err := notificationOf(a.GetNotification())
		return Notified{n, timeOf(a.GetAcknowledgedAt()), a.GetAcknowledgedBy(), a.GetCorrectedBy()}, err
	})
}

// streamed gives what a stream of the centre's gives, as read has it.
func streamed[W, T any](doing string, ctx context.Context, open func(context.Context) (grpc.ServerStreamingClient[W], error),
	read func(*W) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := open(ctx)
		for err == nil {
			var w *W
			if w, err = stream.Recv(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				break
			}
			out, bad := read(w)
			if bad != nil {
				yield(none, fmt.Errorf("%s: %w", doing, bad))
				return
			}
			if !yield(out, nil) {
				return
			}
		}
		yield(none, fmt.Errorf("%s: %w", doing, problem(ctx, err)))
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
		Viewed:      n.GetViewed(),
		Upload:      n.GetUpload(),
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
