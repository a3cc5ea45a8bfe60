package server

import (
	"context"

	"github.com/safeguard-edge/safeguard"
)

// TurnTo has a day begin, for tests.
func (s *Server) TurnTo(ctx context.Context, day safeguard.Date) error { return s.turns.turn(ctx, day) }

// SendingOf is for tests.
var SendingOf = sendingOf

// ReportOf and PeriodOf are for tests.
var (
	ReportOf = reportOf
	PeriodOf = periodOf
)
