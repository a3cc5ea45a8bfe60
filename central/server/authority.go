package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// authorityOf is the local authority that calls, which must be in the directory.
func (s *Server) authorityOf(ctx context.Context) (identity.Identity, error) {
	id, err := caller(ctx, identity.Authority)
	if err != nil {
		return id, err
	}
	if !s.directory.known(id.Code) {
		return id, status.Errorf(codes.PermissionDenied, "local authority %s is not registered at the centre", id.Code)
	}
	return id, nil
}

// uploads is the service by which local authorities send their flags.
type uploads struct {
	flagpb.UnimplementedUploadsServer
	*Server
}

// Upload takes rows as they come, and applies the good ones when all are there.
func (s uploads) Upload(stream grpc.ClientStreamingServer[flagpb.UploadRequest, flagpb.UploadReport]) error {
	ctx := stream.Context()
	id, err := s.authorityOf(ctx)
	if err != nil {
		return err
	}
	done, err := s.beginUpload(id.Code)
	if err != nil {
		return err
	}
	defer done()

	now := time.Now()
	batch := upload.New(id.Code, id.String(), now, upload.Rules{Today: safeguard.DateOf(now), RefuseTest: s.policy.ProductionChecks})
	if err := receive(stream, batch); err != nil {
		return err
	}
	report, err := batch.Apply(ctx, s.store)
	if err != nil {
		return err
	}
	s.counts.uploads.Add(1)
	s.follows.changed()
	s.log.Info("upload applied", "authority", id.Code, "upload", report.ID, "verdict", report.Verdict,
		"rows", report.Rows, "loaded", report.Loaded, "rejected", report.Rejected)
	return stream.SendAndClose(wireReport(report))
}

// beginUpload lets each authority have one upload at a time: two would not know
// which is the later.
func (s *Server) beginUpload(authority safeguard.ODSCode) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploading[authority] {
		return nil, status.Errorf(codes.FailedPrecondition, "an upload of local authority %s is in progress; send the next when it has ended", authority)
	}
	s.uploading[authority] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.uploading, authority)
	}, nil
}

// receive reads header and rows into batch.
func receive(stream grpc.ClientStreamingServer[flagpb.UploadRequest, flagpb.UploadReport], batch *upload.Batch) error {
	begun := false
	for part, err := range patiently(stream.Recv) {
		switch {
		case errors.Is(err, io.EOF) && begun:
			return nil
		case errors.Is(err, io.EOF):
			return status.Error(codes.InvalidArgument, "upload: nothing in it, want a header and rows")
		case err != nil:
			return err
		}
		switch p := part.GetPart().(type) {
		case *flagpb.UploadRequest_Header:
			if begun {
				return status.Error(codes.InvalidArgument, "upload: a second header, want one, and then rows")
			}
			if p.Header.GetKind() != flagpb.UploadKind_UPLOAD_KIND_CHANGES {
				return status.Error(codes.InvalidArgument, "upload: header.kind is none that is known, want changes")
			}
			begun = true
		case *flagpb.UploadRequest_Rows:
			if !begun {
				return status.Error(codes.InvalidArgument, "upload: rows before the header, want the header first")
			}
			for _, row := range p.Rows.GetRows() {
				batch.Add(rowOf(row))
			}
			if batch.Len() > maxUpload {
				return status.Errorf(codes.InvalidArgument, "upload: more than %d rows, want several uploads", maxUpload)
			}
		default:
			return status.Error(codes.InvalidArgument, "upload: a part that is neither header nor rows")
		}
	}
	return status.Errorf(codes.DeadlineExceeded, "upload: nothing came for %v; send it again", uploadPause)
}

// patiently gives what recv receives, and ends when nothing comes for
// uploadPause. recv ends with the call that it belongs to.
func patiently[T any](recv func() (T, error)) func(yield func(T, error) bool) {
	type received struct {
		message T
		err     error
	}
	return func(yield func(T, error) bool) {
		came := make(chan received)
		left := make(chan struct{})
		defer close(left)
		go func() {
			for {
				message, err := recv()
				select {
				case came <- received{message, err}:
				case <-left:
					return
				}
				if err != nil {
					return
				}
			}
		}()
		pause := time.NewTimer(uploadPause)
		defer pause.Stop()
		for {
			select {
			case r := <-came:
				if !yield(r.message, r.err) || r.err != nil {
					return
				}
				pause.Reset(uploadPause)
			case <-pause.C:
				return
			}
		}
	}
}

func rowOf(r *flagpb.UploadRow) upload.Row {
	unreadable := r.GetUnreadable()
	if len(unreadable) > maxName {
		unreadable = strings.ToValidUTF8(unreadable[:maxName], "")
	}
	return upload.Row{
		Line:        int(r.GetLine()),
		NHSNumber:   r.GetNhsNumber(),
		DateOfBirth: r.GetDateOfBirth(),
		Plan:        r.GetPlan(),
		Start:       r.GetStart(),
		End:         r.GetEnd(),
		Delete:      r.GetDelete(),
		Unreadable:  unreadable,
	}
}

func wireReport(r upload.Report) *flagpb.UploadReport {
	out := &flagpb.UploadReport{
		Id:         r.ID,
		ReceivedAt: timestamppb.New(r.Received),
		Verdict:    r.Verdict,
		Sentence:   r.Sentence,
		Rows:       int64(r.Rows),
		Loaded:     int64(r.Loaded),
		Rejected:   int64(r.Rejected),
		Verdicts:   make([]*flagpb.RowVerdict, len(r.Verdicts)),
	}
	for i, v := range r.Verdicts {
		out.Verdicts[i] = &flagpb.RowVerdict{Line: int64(v.Line), Code: v.Code, Column: v.Column, Sentence: v.Sentence}
	}
	return out
}

// notifications is the service by which local authorities learn who attended.
type notifications struct {
	flagpb.UnimplementedNotificationsServer
	*Server
}

// page is how many notifications are read from the store at a time.
const page = 200

// Pull gives the authority's own notifications, oldest first.
func (s notifications) Pull(request *flagpb.PullRequest, stream grpc.ServerStreamingServer[flagpb.Notification]) error {
	ctx := stream.Context()
	id, err := s.authorityOf(ctx)
	if err != nil {
		return err
	}
	left := int(request.GetLimit())
	switch {
	case left < 0:
		return status.Errorf(codes.InvalidArgument, "limit: %d, want 0 for all, or more", left)
	case left == 0:
		left = int(^uint(0) >> 1)
	}
	var after int64
	for left > 0 {
		list, err := s.store.Waiting(ctx, id.Code, after, min(left, page))
		if err != nil || len(list) == 0 {
			return err
		}
		for _, w := range list {
			if err := stream.Send(wireNotification(w.Notification)); err != nil {
				return err
			}
			after = w.Position
		}
		left -= len(list)
	}
	return nil
}

// Acknowledge marks the authority's own notifications as taken over.
func (s notifications) Acknowledge(ctx context.Context, request *flagpb.AcknowledgeRequest) (*flagpb.AcknowledgeResponse, error) {
	id, err := s.authorityOf(ctx)
	if err != nil {
		return nil, err
	}
	ids := request.GetIds()
	if len(ids) > maxAcks {
		return nil, status.Errorf(codes.InvalidArgument, "ids: %d, want at most %d in one call", len(ids), maxAcks)
	}
	found, err := s.store.Acknowledge(ctx, id.Code, ids, id.String(), time.Now())
	if err != nil {
		return nil, err
	}
	return &flagpb.AcknowledgeResponse{Acknowledged: int32(found), NotFound: int32(len(ids) - found)}, nil
}
