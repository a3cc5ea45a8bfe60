package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Correct takes a lookup back. Whoever has made it may correct it, whatever has
// become of its site since.
func (s flags) Correct(ctx context.Context, request *flagpb.CorrectRequest) (*flagpb.CorrectResponse, error) {
	id, err := caller(ctx, identity.Agent)
	if err != nil {
		return nil, err
	}
	c, err := correctionOf(request)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if c.Author.Organisation != id.Code {
		return nil, status.Errorf(codes.PermissionDenied, "the caller's certificate is for organisation %s, and the correction is for %s", id.Code, c.Author.Organisation)
	}
	done, err := s.store.Correct(ctx, store.Correction{Correction: c, Caller: id.String(), Recorded: time.Now()})
	if err != nil {
		return nil, err
	}
	switch done {
	case safeguard.CorrectedNow:
		s.counts.corrected.Add(1)
	case safeguard.CorrectedAlready:
		s.counts.already.Add(1)
	case safeguard.NeverRecorded:
		s.counts.never.Add(1)
	}
	return &flagpb.CorrectResponse{Outcome: outcomes[done]}, nil
}

var corrections = map[flagpb.CorrectionReason]safeguard.CorrectionReason{
	flagpb.CorrectionReason_CORRECTION_REASON_ATTENDANCE_CANCELLED: safeguard.AttendanceCancelled,
	flagpb.CorrectionReason_CORRECTION_REASON_OTHER_PERSON:         safeguard.OtherPerson,
}

var wireCorrections = inverse(corrections)

var outcomes = map[safeguard.Corrected]flagpb.CorrectOutcome{
	safeguard.NeverRecorded:    flagpb.CorrectOutcome_CORRECT_OUTCOME_NEVER_RECORDED,
	safeguard.CorrectedNow:     flagpb.CorrectOutcome_CORRECT_OUTCOME_CORRECTED,
	safeguard.CorrectedAlready: flagpb.CorrectOutcome_CORRECT_OUTCOME_CORRECTED_ALREADY,
}

// correctionOf reads a request as queryOf does.
func correctionOf(r *flagpb.CorrectRequest) (safeguard.Correction, error) {
	c := safeguard.Correction{Reason: corrections[r.GetReason()]}
	switch {
	case c.Reason == safeguard.UnknownCorrection:
		return c, errors.New("reason: none that is known, want attendance cancelled or other person")
	case r.GetCorrectedAt() == nil || r.GetCorrectedAt().CheckValid() != nil:
		return c, errors.New("corrected_at: no valid time, want when the hospital said so")
	}
	c.At = r.GetCorrectedAt().AsTime()
	var err error
	if c.Author, err = authorOf(r.GetAuthor()); err != nil {
		return c, err
	}
	// What the lookup said of its place is known; the correction may say it too.
	if r.GetAuthor().GetSite() != "" {
		if c.Author.Site, err = safeguard.ParseODSCode(r.GetAuthor().GetSite()); err != nil {
			return c, errSite
		}
	}
	if c.Attendance, err = attendanceOf(r.GetAttendanceId()); err != nil {
		return c, err
	}
	if c.Number, err = safeguard.ParseNHSNumber(r.GetNhsNumber()); err != nil {
		return c, fmt.Errorf("nhs_number: %w", err)
	}
	return c, nil
}
