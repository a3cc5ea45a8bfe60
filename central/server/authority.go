package server

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// authorityOf is the local authority that calls, which must be in the directory.
func (s *Server) authorityOf(ctx context.Context) (identity.Identity, error) {
	id, err := caller(ctx, identity.Authority)
	if err != nil {
		return id, err
	}
	if !s.directory.Known(id.Code) {
		return id, status.Errorf(codes.PermissionDenied, "local authority %s is not registered at the centre", id.Code)
	}
	return id, nil
}

// notifications is the service by which local authorities learn who attended.
type notifications struct {
	flagpb.UnimplementedNotificationsServer
	*Server
}

// Pull gives the authority's own notifications, oldest first.
func (s notifications) Pull(request *flagpb.PullRequest, stream grpc.ServerStreamingServer[flagpb.Notification]) error {
	ctx := stream.Context()
	id, err := s.authorityOf(ctx)
	if err != nil {
		return err
	}
	limit := int(request.GetLimit())
	unread := reading{store: s.store, authority: id.Code}
	for sent := 0; ; {
		err := pages(limit-sent, func(_ int64, most int) (int64, int, error) {
			list, err := unread.next(ctx, most)
			for _, w := range list {
				if err := stream.Send(wireNotification(w.Notification)); err != nil {
					return 0, 0, err
				}
			}
			if limit > 0 {
				sent += len(list)
			}
			return 0, len(list), err
		})
		if err != nil || !request.GetFollow() || limit > 0 && sent == limit {
			return err
		}
		select {
		case <-time.After(pullEvery):
		case <-s.stopping:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pages has each give what is behind a position, at most so many, until there is
// no more or the limit is reached; 0 is none.
func pages(limit int, each func(after int64, most int) (last int64, n int, err error)) error {
	switch {
	case limit < 0:
		return status.Errorf(codes.InvalidArgument, "limit: %d, want 0 for all, or more", limit)
	case limit == 0:
		limit = math.MaxInt
	}
	var after int64
	for limit > 0 {
		last, n, err := each(after, min(limit, page))
		if err != nil || n == 0 {
			return err
		}
		after, limit = last, limit-n
	}
	return nil
}

// Acknowledge marks the authority's own notifications as taken over.
func (s notifications) Acknowledge(ctx context.Context, request *flagpb.AcknowledgeRequest) (*flagpb.AcknowledgeResponse, error) {
	return s.acknowledge(ctx, request, s.store.Acknowledge)
}

func (s *Server) acknowledge(ctx context.Context, request *flagpb.AcknowledgeRequest,
	take func(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error)) (*flagpb.AcknowledgeResponse, error) {
	id, err := s.authorityOf(ctx)
	if err != nil {
		return nil, err
	}
	ids := request.GetIds()
	if len(ids) > maxAcks {
		return nil, status.Errorf(codes.InvalidArgument, "ids: %d, want at most %d in one call", len(ids), maxAcks)
	}
	found, err := take(ctx, id.Code, ids, id.String(), time.Now())
	if err != nil {
		return nil, err
	}
	return &flagpb.AcknowledgeResponse{Acknowledged: int32(found), NotFound: int32(len(ids) - found)}, nil
}
