package server

import "sync/atomic"

// Counts is what the server did since it started, for operations.
type Counts struct {
	Held, NoneHeld   int64 // lookups answered so
	IdentityMismatch int64 // lookups answered unknown, because of the date of birth
	TestPatient      int64
	Recorded         int64 // unscheduled lookups, repeats included
	Corrected        int64 // lookups that were taken back
	CorrectedAlready int64
	NeverRecorded    int64 // corrections of what the centre has not recorded
	Refused          int64 // calls
	Failed           int64 // calls
	Uploads          int64
	Told             int64 // changes told to those who follow
	Beats            int64 // heartbeats taken
	Replayed         int64 // heartbeats refused, as they or later ones were taken before
}

type counts struct {
	held, none, mismatch, test, recorded, corrected, already, never, refused, failed, uploads, told, beats, replayed atomic.Int64
}

// Counts gives what the server did so far.
func (s *Server) Counts() Counts {
	c := &s.counts
	return Counts{
		Held:             c.held.Load(),
		NoneHeld:         c.none.Load(),
		IdentityMismatch: c.mismatch.Load(),
		TestPatient:      c.test.Load(),
		Recorded:         c.recorded.Load(),
		Corrected:        c.corrected.Load(),
		CorrectedAlready: c.already.Load(),
		NeverRecorded:    c.never.Load(),
		Refused:          c.refused.Load(),
		Failed:           c.failed.Load(),
		Uploads:          c.uploads.Load(),
		Told:             c.told.Load(),
		Beats:            c.beats.Load(),
		Replayed:         c.replayed.Load(),
	}
}
