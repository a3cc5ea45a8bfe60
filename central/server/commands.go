package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Commands gives an agent its own, and no other's.
func (s fleet) Commands(ctx context.Context, _ *flagpb.CommandsRequest) (*flagpb.CommandsResponse, error) {
	who, err := caller(ctx, identity.Agent)
	if err != nil {
		return nil, err
	}
	open, err := s.beats.store.OpenCommands(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	response := &flagpb.CommandsResponse{}
	for _, c := range open {
		if c.Agent == (store.AgentKey{Organisation: who.Code, ID: who.ID}).String() {
			response.Commands = append(response.Commands, &flagpb.Command{
				Id: c.ID, Agent: c.Agent, Do: string(c.Do), By: c.By, Ordered: timestamppb.New(c.Ordered), Expires: timestamppb.New(c.Expires),
			})
		}
	}
	return response, nil
}

// Answer keeps what became of one.
func (s fleet) Answer(ctx context.Context, r *flagpb.AnswerRequest) (*flagpb.AnswerResponse, error) {
	who, err := caller(ctx, identity.Agent)
	if err != nil {
		return nil, err
	}
	outcome := safeguard.RemoteOutcome(r.GetOutcome())
	switch {
	case !slices.Contains([]safeguard.RemoteOutcome{safeguard.CommandDone, safeguard.CommandRefused, safeguard.CommandFailed}, outcome):
		return nil, status.Error(codes.InvalidArgument, "outcome: want done, refused or failed")
	case len(r.GetText()) > safeguard.MostRemoteText || len(r.GetBundle()) > safeguard.MostRemoteBundle:
		return nil, status.Error(codes.InvalidArgument, "text or bundle is too long: want at most 64 and 900 KiB")
	}
	answer := safeguard.RemoteAnswer{Outcome: outcome, Text: r.GetText(), Bundle: r.GetBundle()}
	err = s.beats.store.AnswerCommand(ctx, store.AgentKey{Organisation: who.Code, ID: who.ID}, r.GetId(), answer, time.Now())
	switch {
	case errors.Is(err, store.ErrUnknown):
		return nil, status.Error(codes.NotFound, "this agent has no such command")
	case errors.Is(err, safeguard.ErrAnswered):
		return nil, status.Error(codes.FailedPrecondition, safeguard.ErrAnswered.Error())
	case err != nil:
		return nil, err
	}
	return &flagpb.AnswerResponse{}, nil
}
