package server

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	overview "github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// operations is the service of that name.
type operations struct {
	flagpb.UnimplementedOperationsServer
	*Server
}

const (
	longestPast = 31 * 24 * time.Hour // of warnings that are asked for
	visitEvery  = time.Hour           // how often it is audited that the same one looks
)

// Overview implements flagpb.OperationsServer.
func (s operations) Overview(_ *flagpb.OverviewRequest, stream grpc.ServerStreamingServer[flagpb.Shown]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), unaryTime)
	defer cancel()
	if err := s.visit(ctx); err != nil {
		return err
	}
	seen, err := s.overviews.Look(ctx, time.Now())
	if err != nil {
		return err
	}
	if err := show(stream, "overview", overview.Overview{At: seen.At}); err != nil {
		return err
	}
	for _, a := range seen.Agents {
		if err := show(stream, "agent", a); err != nil {
			return err
		}
	}
	for _, site := range seen.Sites {
		if err := show(stream, "site", site); err != nil {
			return err
		}
	}
	for _, a := range seen.Authorities {
		if err := show(stream, "authority", a); err != nil {
			return err
		}
	}
	return nil
}

// Warnings implements flagpb.OperationsServer.
func (s operations) Warnings(r *flagpb.WarningsRequest, stream grpc.ServerStreamingServer[flagpb.Shown]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), unaryTime)
	defer cancel()
	if err := s.visit(ctx); err != nil {
		return err
	}
	which := store.WarningFilter{Since: moment(r.GetSince()), Limit: int(r.GetLimit())}
	if time.Since(which.Since) > longestPast+time.Hour {
		return status.Errorf(codes.InvalidArgument, "since: want a moment at most %d days ago", longestPast/(24*time.Hour))
	}
	if r.GetAgent() != "" {
		key, err := store.ParseAgentKey(r.GetAgent())
		if err != nil {
			return status.Error(codes.InvalidArgument, "agent: "+err.Error())
		}
		which.Subject = store.Subject{Kind: store.AboutAgent, Name: key.String()}
	}
	list, err := s.store.FleetWarnings(ctx, which)
	if err != nil {
		return err
	}
	for _, w := range list {
		if err := show(stream, "warning", w); err != nil {
			return err
		}
	}
	return nil
}

func show(stream grpc.ServerStreamingServer[flagpb.Shown], kind string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return stream.Send(&flagpb.Shown{Kind: kind, Json: text})
}

// visit lets operators in alone, and has it in the audit who looks from where: once
// an hour for the same one, who may look every few seconds.
func (s operations) visit(ctx context.Context) error {
	who, err := caller(ctx, identity.Operator)
	if err != nil {
		return err
	}
	c, err := peerConnection(ctx)
	if err != nil {
		return err
	}
	host := peerHost(ctx)
	if s.visits.due(who.String()+" "+c.name.Serial+" "+host) == 0 {
		return nil
	}
	by := audit.Who{Caller: who.String(), Device: host, Role: store.Viewer.String()}
	return s.store.Audit(ctx, audit.Entry{At: time.Now(), Act: audit.SignedIn, Who: by, Details: map[string]string{"source": "certificate", "serial": c.name.Serial}})
}
