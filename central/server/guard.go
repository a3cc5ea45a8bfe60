package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard/central/identity"
)

// guardUnary stands before every call: nothing is done without a deadline, no
// panic ends the program, and what is refused or fails is logged without what
// was asked.
func (s *Server) guardUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	defer func() { err = s.outcome(ctx, info.FullMethod, recover(), err) }()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, unaryTime)
		defer cancel()
	}
	return handler(ctx, request)
}

func (s *Server) guardStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() { err = s.outcome(stream.Context(), info.FullMethod, recover(), err) }()
	return handler(server, stream)
}

// outcome turns how a call ended into a status, and logs it where operations
// should know.
func (s *Server) outcome(ctx context.Context, method string, panicked any, err error) error {
	who := "unknown"
	if id, err := peerIdentity(ctx); err == nil {
		who = id.String()
	}
	if panicked != nil {
		s.counts.failed.Add(1)
		s.log.Error("call panicked", "method", method, "caller", who, "panic", describe(panicked), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the centre has a fault; it is logged there")
	}
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		switch st.Code() {
		case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition:
			s.counts.refused.Add(1)
			if n := s.quiet.due(who + method + st.Message()); n > 0 {
				s.log.Warn("call refused", "method", method, "caller", who, "reason", st.Message(), "times", n)
			}
		}
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "not done in time; ask again")
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller ended the call")
	}
	s.counts.failed.Add(1)
	s.log.Error("call failed", "method", method, "caller", who, "err", err)
	return status.Error(codes.Unavailable, "the centre can not do this now; ask again")
}

// describe gives what a panic was about without the values it may carry.
func describe(panicked any) string {
	if err, ok := panicked.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", panicked)
}

// caller is who speaks, who must be of the given kind.
func caller(ctx context.Context, kind identity.Kind) (identity.Identity, error) {
	id, err := peerIdentity(ctx)
	if err != nil {
		return identity.Identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if id.Kind != kind {
		return identity.Identity{}, status.Errorf(codes.PermissionDenied, "this is for certificates of kind %s, and the caller's is of kind %s", kind, id.Kind)
	}
	return id, nil
}

func peerIdentity(ctx context.Context) (identity.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return identity.Identity{}, errors.New("no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return identity.Identity{}, errors.New("no verified certificate")
	}
	return identity.Of(info.State.VerifiedChains[0][0])
}

// handshakes says in the log whose certificate was refused. The caller often
// learns no more than that the connection broke.
type handshakes struct {
	credentials.TransportCredentials
	server *Server
}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ServerHandshake(conn)
	var network net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.As(err, &network) && network.Timeout():
		// Load balancers and port scans connect, and say nothing.
	default:
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		if n := h.server.quiet.due(host + err.Error()); n > 0 {
			h.server.log.Warn("connection refused", "from", host, "err", err, "times", n)
		}
	}
	return secured, info, err
}

// Clone implements credentials.TransportCredentials.
func (h handshakes) Clone() credentials.TransportCredentials {
	return handshakes{h.TransportCredentials.Clone(), h.server}
}

// quiet lets the same line be logged once a minute, with how often it was due.
type quiet struct {
	mu   sync.Mutex // guards seen
	seen map[string]*said
}

type said struct {
	at    time.Time
	since int
}

// due counts, and gives how often it was asked since it last gave more than 0.
func (q *quiet) due(line string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen == nil || len(q.seen) > 1000 {
		q.seen = map[string]*said{}
	}
	s := q.seen[line]
	if s == nil {
		s = &said{}
		q.seen[line] = s
	}
	s.since++
	if time.Since(s.at) < time.Minute {
		return 0
	}
	n := s.since
	s.at, s.since = time.Now(), 0
	return n
}
