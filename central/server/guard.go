package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// bound gives each call of one message a deadline from its first byte on, whatever
// the caller's: one that sends no message, or half of one, is not waited for longer.
func (s *Server) bound(ctx context.Context, call *tap.Info) (context.Context, error) {
	if at, ok := ctx.Deadline(); !s.bounded[call.FullMethodName] || ok && time.Until(at) <= unaryTime {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, unaryTime)
	_ = cancel // the call's own end ends it
	return ctx, nil
}

// guardUnary stands before every call: no panic ends the program, and what is
// refused or fails is logged without what was asked.
func (s *Server) guardUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	ctx, span := messageOf(ctx, info.FullMethod)
	defer func() { span.End(err != nil) }()
	defer func() { err = s.outcome(ctx, info.FullMethod, recover(), err) }()
	if err := s.standings.mayCall(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// messageOf has what is logged of a call bear the number of the agent's entry that
// it is made for, and what is traced be of that entry's trace.
func messageOf(ctx context.Context, method string) (context.Context, tracing.Span) {
	for _, entry := range metadata.ValueFromIncomingContext(ctx, client.EntryHeader) {
		ctx = logging.ParseEntry(ctx, entry)
	}
	traced := metadata.ValueFromIncomingContext(ctx, tracing.Header)
	if len(traced) == 0 {
		return ctx, tracing.Span{}
	}
	id, _ := peerIdentity(ctx)
	return tracing.Serve(tracing.Receive(ctx, traced[0]), method, id.String())
}

func (s *Server) guardStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() { err = s.outcome(stream.Context(), info.FullMethod, recover(), err) }()
	if err := s.standings.mayCall(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(server, stream)
}

// outcome turns how a call ended into a status, and logs it where operations
// should know.
func (s *Server) outcome(ctx context.Context, method string, panicked any, err error) error {
	if panicked == nil && err == nil {
		if s.log.Enabled(ctx, slog.LevelDebug) {
			id, _ := peerIdentity(ctx)
			s.log.DebugContext(ctx, "call answered", "method", method, "caller", id.String())
		}
		return nil
	}
	who := "unknown"
	if id, err := peerIdentity(ctx); err == nil {
		who = id.String()
	}
	if panicked != nil {
		s.counts.failed.Add(1)
		s.log.ErrorContext(ctx, "call panicked", "method", method, "caller", who, "panic", describe(panicked), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the centre has a fault; it is logged there")
	}
	if st, ok := status.FromError(err); ok {
		switch st.Code() {
		case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition:
			s.counts.refused.Add(1)
			if n := s.quiet.due(who + method + st.Message()); n > 0 {
				s.log.WarnContext(ctx, "call refused", "method", method, "caller", who, "reason", st.Message(), "times", n)
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
	s.log.ErrorContext(ctx, "call failed", "method", method, "caller", who, "err", err)
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
	c, err := peerConnection(ctx)
	if err != nil {
		return identity.Identity{}, err
	}
	if c.caller.Certificate == nil {
		return identity.Identity{}, errors.New("no verified certificate")
	}
	return c.caller.Identity, nil
}

// handshakes puts who calls into what a connection proves, and says in the log whose
// certificate is not accepted.
type handshakes struct {
	credentials.TransportCredentials
	server *Server
}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.shake(conn)
	var network net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.As(err, &network) && network.Timeout():
		// Load balancers and port scans connect, and say nothing.
	default:
		h.refused(conn, err)
	}
	return secured, info, err
}

func (h handshakes) refused(conn net.Conn, err error) {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	if n := h.server.quiet.due(host + err.Error()); n > 0 {
		h.server.log.Warn("connection refused", "from", host, "err", err, "times", n)
	}
}

func (h handshakes) shake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	proved, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.New("not a TLS connection")
	}
	// One whose certificate is not accepted is told why at their first call. Were the
	// handshake broken off, they would often learn only that the connection was.
	caller, wrong := h.server.entrance.Caller(proved.State)
	if wrong != nil {
		h.refused(conn, wrong)
	}
	c, err := h.server.standings.admit(secured, caller, wrong)
	if err != nil {
		_ = secured.Close()
		return nil, nil, err
	}
	return c, party{proved, c}, nil
}

// Clone implements credentials.TransportCredentials.
func (h handshakes) Clone() credentials.TransportCredentials {
	return handshakes{h.TransportCredentials.Clone(), h.server}
}

// quiet lets the same be said once in a while, with how often it was due.
type quiet struct {
	every time.Duration // 0 for once a minute
	mu    sync.Mutex    // guards seen
	seen  map[string]*said
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
	if time.Since(s.at) < cmp.Or(q.every, time.Minute) {
		return 0
	}
	n := s.since
	s.at, s.since = time.Now(), 0
	return n
}
