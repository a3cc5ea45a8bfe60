package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// maxRefresh is how many questions one call may ask.
const maxRefresh = 100

// Refresh answers many questions, each for itself. They are looked at side by
// side, so that they share the way to the database and the commit of the audit.
func (s flags) Refresh(ctx context.Context, request *flagpb.RefreshRequest) (*flagpb.RefreshResponse, error) {
	id, err := caller(ctx, identity.Agent)
	if err != nil {
		return nil, err
	}
	author, err := askerOf(request.GetAuthor())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	questions := request.GetQuestions()
	if len(questions) == 0 || len(questions) > maxRefresh {
		return nil, status.Errorf(codes.InvalidArgument, "questions: %d, want 1 to %d", len(questions), maxRefresh)
	}
	site, err := s.admit(id, &author)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	response := &flagpb.RefreshResponse{
		Outcomes: make([]*flagpb.RefreshOutcome, len(questions)),
		Policy:   wireCachePolicy(site.Policy.Cache(s.policy.Cache)),
		Overdue:  s.directory.overdue(s.policy.DataAge, now),
		Pause:    durationpb.New(s.caching.pause(id.String(), true, s.policy.RefreshRate, now) * time.Duration(len(questions))),
	}
	var all sync.WaitGroup
	for i, question := range questions {
		all.Go(func() {
			response.Outcomes[i] = s.refresh(ctx, looking{id: id, q: safeguard.Query{Author: author}, site: site, now: now}, question)
		})
	}
	all.Wait()
	return response, nil
}

// refresh answers one question of many.
func (s *Server) refresh(ctx context.Context, l looking, question *flagpb.RefreshQuestion) (out *flagpb.RefreshOutcome) {
	var err error
	defer func() {
		if err = s.outcome(ctx, flagpb.Flags_Refresh_FullMethodName, recover(), err); err != nil {
			out = unanswered(err)
		}
	}()
	if l.q, err = questionOf(safeguard.Refresh, l.q.Author, question); err != nil {
		err = status.Error(codes.InvalidArgument, err.Error())
		return nil
	}
	answer, err := s.look(ctx, l)
	return &flagpb.RefreshOutcome{Outcome: &flagpb.RefreshOutcome_Answer{Answer: answer}}
}

// unanswered is a refusal, or that it is to be asked again.
func unanswered(err error) *flagpb.RefreshOutcome {
	switch st := status.Convert(err); st.Code() {
	case codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition:
		return &flagpb.RefreshOutcome{Outcome: &flagpb.RefreshOutcome_Refusal{Refusal: &flagpb.Refusal{Reason: st.Message()}}}
	}
	return &flagpb.RefreshOutcome{}
}
