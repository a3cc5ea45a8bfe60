package server

import (
	"context"
	"maps"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/store"
)

const (
	page      = 200         // notifications that are read from the store at a time
	pullEvery = time.Second // how often the store is asked for those that have come since

	// unsettled is how long a notification with a lower position than one that was
	// read may still come: positions are given when it is written, and seen when
	// the transaction ends.
	unsettled = 2 * time.Minute
)

// reading is how far one stream has come with an authority's notifications: it
// gives each once, in the order of positions as far as that is known.
type reading struct {
	store     store.Store
	authority safeguard.ODSCode
	after     int64               // all up to here were given
	given     map[int64]time.Time // those after it that were given, and when they were recorded
}

// next gives what has not been given, at most limit; nothing when there is no
// more for now.
func (r *reading) next(ctx context.Context, limit int) ([]store.Waiting, error) {
	var list []store.Waiting
	settled := time.Now().Add(-unsettled)
	for from := r.after; len(list) < limit; {
		rows, err := r.store.Waiting(ctx, r.authority, from, page)
		if err != nil {
			return nil, err
		}
		for _, w := range rows {
			if len(list) == limit {
				break
			}
			from = w.Position
			if _, was := r.given[w.Position]; !was {
				list = append(list, w)
			}
			r.give(w.Position, w.Notification.Recorded, settled)
		}
		if len(rows) < page {
			// Those acknowledged meanwhile are not read any more.
			for position, recorded := range r.given {
				r.give(position, recorded, settled)
			}
			break
		}
	}
	maps.DeleteFunc(r.given, func(position int64, _ time.Time) bool { return position <= r.after })
	return list, nil
}

// give notes what was given. Nothing that comes before a settled one is missing.
func (r *reading) give(position int64, recorded, settled time.Time) {
	if recorded.Before(settled) {
		r.after = max(r.after, position)
		return
	}
	if r.given == nil {
		r.given = map[int64]time.Time{}
	}
	r.given[position] = recorded
}

// Accesses gives the authority's own notifications again.
func (s notifications) Accesses(request *flagpb.AccessesRequest, stream grpc.ServerStreamingServer[flagpb.NotifiedAccess]) error {
	ctx := stream.Context()
	id, err := s.authorityOf(ctx)
	if err != nil {
		return err
	}
	which := store.Which{Authority: id.Code}
	if request.GetNhsNumber() != "" {
		if which.Number, err = safeguard.ParseNHSNumber(request.GetNhsNumber()); err != nil {
			return status.Errorf(codes.InvalidArgument, "nhs_number: %v", err)
		}
	}
	for _, t := range []struct {
		name string
		at   *timestamppb.Timestamp
		into *time.Time
	}{{"from", request.GetFrom(), &which.From}, {"until", request.GetUntil(), &which.Until}} {
		if t.at == nil {
			continue
		}
		if t.at.CheckValid() != nil {
			return status.Errorf(codes.InvalidArgument, "%s: no valid time, want one or none", t.name)
		}
		*t.into = t.at.AsTime()
	}
	return s.store.Notified(ctx, which, id.String(), func(n store.Notified) error {
		out := &flagpb.NotifiedAccess{Notification: wireNotification(n.Notification), AcknowledgedBy: n.AcknowledgedBy, CorrectedBy: n.CorrectedBy}
		if !n.Acknowledged.IsZero() {
			out.AcknowledgedAt = timestamppb.New(n.Acknowledged)
		}
		return stream.Send(out)
	})
}
