package client

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard"
)

// ErrUnreachable is in every error that means no answer: no connection, no
// reply in time, or the centre in trouble. It is worth trying again.
var ErrUnreachable = errors.New("centre unreachable")

// ErrCertificate is in the errors, ErrUnreachable too, that mean that the centre
// does not take the caller's certificate: it has expired, is revoked, or is of nobody
// that the centre knows. What was asked was not looked at.
var ErrCertificate = errors.New("certificate not accepted")

// Refused says that the centre understood, and will not do it for this caller
// or as it was asked. Trying again is of use only when something has changed.
type Refused struct {
	Code   string // the gRPC code, such as PermissionDenied
	Reason string // one sentence; never a person's data
}

func (r *Refused) Error() string { return "centre refused: " + r.Reason }

// Is makes every refusal a safeguard.ErrRefused.
func (r *Refused) Is(target error) bool { return target == safeguard.ErrRefused }

// problem tells a refusal from not being answered.
func problem(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition,
		codes.NotFound, codes.AlreadyExists, codes.OutOfRange, codes.Unimplemented:
		return &Refused{s.Code().String(), s.Message()}
	case codes.Unauthenticated:
		return fmt.Errorf("%w: %w: %s", ErrUnreachable, ErrCertificate, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: no answer in time: %w", ErrUnreachable, context.DeadlineExceeded)
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, s.Message())
}
