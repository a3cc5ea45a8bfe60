package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// uploads is the service by which local authorities send their flags.
type uploads struct {
	flagpb.UnimplementedUploadsServer
	*Server
}

// Upload takes rows as they come, and applies the good ones when all are there.
func (s uploads) Upload(stream grpc.BidiStreamingServer[flagpb.UploadRequest, flagpb.UploadReport]) error {
	id, err := s.authorityOf(stream.Context())
	if err != nil {
		return err
	}
	batch, done, err := s.receive(stream, id)
	defer done()
	if err != nil {
		return refusal(err)
	}
	report, err := s.apply(stream, batch)
	var unavailable *upload.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		s.log.Error("demographic service not asked", "authority", id.Code, "err", err)
		return stream.Send(&flagpb.UploadReport{Verdict: upload.Unavailable, State: flagpb.UploadState_UPLOAD_STATE_REFUSED,
			Sentence: "nothing is changed: the demographic service can not be asked; send the upload again", Rows: int64(batch.Len())})
	case err != nil:
		return refusal(err)
	}
	s.intake.Note(report)
	return sendReport(stream, report)
}

// progressEvery is how often a sender learns how far its upload is.
const progressEvery = 500 * time.Millisecond

// apply applies the batch, and meanwhile tells the sender how far it is.
func (s uploads) apply(stream grpc.BidiStreamingServer[flagpb.UploadRequest, flagpb.UploadReport], batch *upload.Batch) (upload.Report, error) {
	var applied atomic.Int64
	var telling sync.WaitGroup
	ended := make(chan struct{})
	telling.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				// One that fails is a sender who has gone, which ends the stream's context too.
				_ = stream.Send(&flagpb.UploadReport{State: flagpb.UploadState_UPLOAD_STATE_APPLYING, Rows: int64(batch.Len()), Loaded: applied.Load()})
			}
		}
	})
	defer telling.Wait() // two must not send at a time
	defer close(ended)
	return batch.Apply(stream.Context(), func(rows int) { applied.Store(int64(rows)) })
}

// Report gives the report of an earlier upload again.
func (s uploads) Report(request *flagpb.ReportRequest, stream grpc.ServerStreamingServer[flagpb.UploadReport]) error {
	id, err := s.authorityOf(stream.Context())
	if err != nil {
		return err
	}
	if (request.GetId() == "") == (request.GetSequence() <= 0) {
		return status.Error(codes.InvalidArgument, "report: want either the id or the sequence number of an upload")
	}
	kept, err := s.store.Upload(stream.Context(), id.Code, request.GetId(), request.GetSequence())
	if errors.Is(err, store.ErrNoUpload) {
		return status.Errorf(codes.NotFound, "local authority %s has no such upload", id.Code)
	} else if err != nil {
		return err
	}
	report, err := upload.ReportOf(kept)
	if err != nil {
		return err
	}
	return sendReport(stream, report)
}

// refusal is why an upload was not taken, as a status.
func refusal(err error) error {
	var refused *upload.Refused
	if !errors.As(err, &refused) {
		return err
	}
	code := codes.InvalidArgument
	switch refused.Why {
	case upload.NotAsked:
		code = codes.PermissionDenied
	case upload.Busy:
		code = codes.FailedPrecondition
	}
	return status.Error(code, "upload: "+refused.Reason)
}

// receive reads header and rows into a batch. done ends the upload, also after an
// error.
func (s uploads) receive(stream grpc.BidiStreamingServer[flagpb.UploadRequest, flagpb.UploadReport], id identity.Identity) (batch *upload.Batch, done func(), err error) {
	done = func() {}
	begun := false
	for part, err := range patiently(stream.Recv) {
		switch {
		case errors.Is(err, io.EOF) && begun:
			return batch, done, nil
		case errors.Is(err, io.EOF):
			return nil, done, status.Error(codes.InvalidArgument, "upload: nothing in it, want a header and rows")
		case err != nil:
			return nil, done, err
		}
		switch p := part.GetPart().(type) {
		case *flagpb.UploadRequest_Header:
			if begun {
				return nil, done, status.Error(codes.InvalidArgument, "upload: a second header, want one, and then rows")
			}
			sending, err := sendingOf(p.Header)
			if err != nil {
				return nil, done, err
			}
			sending.By = id.String()
			b, end, err := s.intake.Begin(id.Code, sending)
			if err != nil {
				return nil, done, err
			}
			batch, done, begun = b, end, true
		case *flagpb.UploadRequest_Rows:
			if !begun {
				return nil, done, status.Error(codes.InvalidArgument, "upload: rows before the header, want the header first")
			}
			for _, row := range p.Rows.GetRows() {
				if err := batch.Add(rowOf(row)); err != nil {
					return nil, done, err
				}
			}
		default:
			return nil, done, status.Error(codes.InvalidArgument, "upload: a part that is neither header nor rows")
		}
	}
	return nil, done, status.Errorf(codes.DeadlineExceeded, "upload: nothing came for %v; send it again", uploadPause)
}

func sendingOf(h *flagpb.UploadHeader) (upload.Sending, error) {
	s := upload.Sending{Sequence: h.GetSequence(), File: h.GetFileSha256()}
	switch h.GetKind() {
	case flagpb.UploadKind_UPLOAD_KIND_CHANGES:
	case flagpb.UploadKind_UPLOAD_KIND_SNAPSHOT:
		s.Snapshot = true
	default:
		return s, status.Error(codes.InvalidArgument, "upload: header.kind is none that is known, want changes or snapshot")
	}
	if h.GetSender() != "" {
		var err error
		if s.Sender, err = safeguard.ParseODSCode(h.GetSender()); err != nil {
			return s, status.Error(codes.InvalidArgument, "upload: header.sender: want an ODS code of three to six letters and digits")
		}
	}
	return s, nil
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

var wireStates = map[store.UploadState]flagpb.UploadState{
	store.Applied:   flagpb.UploadState_UPLOAD_STATE_APPLIED,
	store.Waits:     flagpb.UploadState_UPLOAD_STATE_WAITING,
	store.Rejected:  flagpb.UploadState_UPLOAD_STATE_REJECTED,
	store.Overtaken: flagpb.UploadState_UPLOAD_STATE_OVERTAKEN,
}

// verdictsTogether is how many verdicts travel in one message: far below its
// limit of 4 MiB.
const verdictsTogether = 1000

// sendReport sends a report in parts, so that neither side needs all of it in
// one message.
func sendReport(stream interface {
	Send(*flagpb.UploadReport) error
}, r upload.Report) error {
	kind := flagpb.UploadKind_UPLOAD_KIND_CHANGES
	if r.Snapshot {
		kind = flagpb.UploadKind_UPLOAD_KIND_SNAPSHOT
	}
	err := stream.Send(&flagpb.UploadReport{
		Id:         r.ID,
		ReceivedAt: timestamppb.New(r.Received),
		Verdict:    r.Verdict,
		Sentence:   r.Sentence,
		Rows:       int64(r.Rows),
		Loaded:     int64(r.Loaded),
		Rejected:   int64(r.Rejected),
		State:      wireStates[r.State],
		Kind:       kind,
		Sequence:   r.Sequence,
		Repeated:   r.Repeated,
		GapFrom:    r.GapFrom,
		GapTo:      r.GapTo,
		Notices:    r.Notices,
		Ended:      int64(r.Ended),
		Withdrawn:  int64(r.Withdrawn),
		FileSha256: r.File,
	})
	if err != nil {
		return err
	}
	var some []*flagpb.RowVerdict
	flush := func() error {
		if len(some) == 0 {
			return nil
		}
		err := stream.Send(&flagpb.UploadReport{Verdicts: some})
		some = nil
		return err
	}
	for v, err := range r.Each {
		if err != nil {
			return err
		}
		some = append(some, &flagpb.RowVerdict{Line: int64(v.Line), Code: v.Code, Column: v.Column, Sentence: v.Sentence})
		if len(some) == verdictsTogether {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// InactiveNumbers gives the authority's own notices, oldest first.
func (s uploads) InactiveNumbers(request *flagpb.InactiveNumbersRequest, stream grpc.ServerStreamingServer[flagpb.InactiveNumber]) error {
	ctx := stream.Context()
	id, err := s.authorityOf(ctx)
	if err != nil {
		return err
	}
	return pages(int(request.GetLimit()), func(after int64, most int) (int64, int, error) {
		list, err := s.store.InactiveNumbers(ctx, id.Code, after, most)
		for _, n := range list {
			if err := stream.Send(wireInactive(n)); err != nil {
				return 0, 0, err
			}
			after = n.Position
		}
		return after, len(list), err
	})
}

// AcknowledgeInactiveNumbers marks the authority's own notices as taken over.
func (s uploads) AcknowledgeInactiveNumbers(ctx context.Context, request *flagpb.AcknowledgeRequest) (*flagpb.AcknowledgeResponse, error) {
	return s.acknowledge(ctx, request, s.store.AcknowledgeInactive)
}
