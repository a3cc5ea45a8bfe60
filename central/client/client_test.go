package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/test/loopback"
)

// centre answers every lookup as it is told to, also as no centre should.
type centre struct {
	flagpb.UnimplementedFlagsServer
	flagpb.UnimplementedNotificationsServer
	answer       func(context.Context) (*flagpb.LookupResponse, error)
	notification *flagpb.Notification
}

func (c *centre) Lookup(ctx context.Context, _ *flagpb.LookupRequest) (*flagpb.LookupResponse, error) {
	return c.answer(ctx)
}

func (c *centre) Pull(_ *flagpb.PullRequest, stream grpc.ServerStreamingServer[flagpb.Notification]) error {
	return stream.Send(c.notification)
}

// start runs c and gives a client of it.
func start(t *testing.T, c *centre, options ...client.Option) *client.Client {
	t.Helper()
	address, config := serve(t, c)
	conn, err := client.Dial(address, config, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// serve runs c, and gives what an agent needs to call it.
func serve(t *testing.T, c *centre) (address string, config *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	trust, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.WriteDevelopment(dir, identity.Development{Agents: []safeguard.ODSCode{trust}}); err != nil {
		t.Fatal(err)
	}
	files := func(name string) identity.Files {
		return identity.Files{Certificate: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+"-key.pem"), CA: filepath.Join(dir, "ca.pem")}
	}
	serverTLS, err := identity.ServerTLS(files("centre"))
	if err != nil {
		t.Fatal(err)
	}
	clientTLS, err := identity.ClientTLS(files("agent-RX1"), identity.Agent)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS.Config())))
	flagpb.RegisterFlagsServer(s, c)
	flagpb.RegisterNotificationsServer(s, c)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	return listener.Addr().String(), clientTLS
}

// An answer that can not be understood in full is no answer: never none, never
// fewer flags.
func TestAnswers(t *testing.T) {
	now := timestamppb.Now()
	flag := func(change func(*flagpb.Flag)) *flagpb.LookupResponse {
		f := &flagpb.Flag{Plan: flagpb.Plan_PLAN_LOOKED_AFTER, Start: "2025-01-02", Authority: &flagpb.Authority{Code: "806"}}
		change(f)
		good := &flagpb.Flag{Plan: flagpb.Plan_PLAN_CHILD_PROTECTION, Start: "2025-01-02", Authority: &flagpb.Authority{Code: "373"}}
		return &flagpb.LookupResponse{AsOf: now, Answer: &flagpb.LookupResponse_Held{Held: &flagpb.Held{Flags: []*flagpb.Flag{good, f}}}}
	}
	unknown := func(r flagpb.UnknownReason) *flagpb.LookupResponse {
		return &flagpb.LookupResponse{AsOf: now, Answer: &flagpb.LookupResponse_Unknown{Unknown: &flagpb.UnknownAnswer{Reason: r}}}
	}
	none := &flagpb.LookupResponse_NoneHeld{NoneHeld: &flagpb.NoneHeld{}}
	tests := []struct {
		name     string
		response *flagpb.LookupResponse
		status   safeguard.Status
		reason   safeguard.Reason
		flags    int
		err      string // what the error says; empty for none
	}{
		{"none held", &flagpb.LookupResponse{AsOf: now, Answer: none}, safeguard.NoneHeld, 0, 0, ""},
		{"two flags", flag(func(*flagpb.Flag) {}), safeguard.Held, 0, 2, ""},
		{"a plan of a later version", flag(func(f *flagpb.Flag) { f.Plan = 99 }), safeguard.Held, 0, 2, ""},
		{"identity not confirmed", unknown(flagpb.UnknownReason_UNKNOWN_REASON_IDENTITY_NOT_CONFIRMED), safeguard.Unknown, safeguard.IdentityNotConfirmed, 0, ""},
		{"a reason of a later version", unknown(99), safeguard.Unknown, safeguard.CentreRefused, 0, ""},
		{"nothing said", &flagpb.LookupResponse{AsOf: now}, 0, 0, 0, "neither unknown, none nor held"},
		{"no time", &flagpb.LookupResponse{Answer: none}, 0, 0, 0, "no as-of time"},
		{"impossible time", &flagpb.LookupResponse{AsOf: &timestamppb.Timestamp{Nanos: -1}, Answer: none}, 0, 0, 0, "no as-of time"},
		{"held, without flags", &flagpb.LookupResponse{AsOf: now, Answer: &flagpb.LookupResponse_Held{Held: &flagpb.Held{}}}, 0, 0, 0, "without a flag"},
		{"no start", flag(func(f *flagpb.Flag) { f.Start = "" }), 0, 0, 0, "flag 2: start"},
		{"bad end", flag(func(f *flagpb.Flag) { f.End = "soon" }), 0, 0, 0, "flag 2: end"},
		{"no authority", flag(func(f *flagpb.Flag) { f.Authority = nil }), 0, 0, 0, "flag 2: local authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := start(t, &centre{answer: func(context.Context) (*flagpb.LookupResponse, error) { return tt.response, nil }})
			answer, err := conn.Lookup(t.Context(), safeguard.Query{})
			if tt.err != "" {
				if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), tt.err) || answer.Status != safeguard.Unknown {
					t.Errorf("answer %+v, %v, want an error that says %q", answer, err, tt.err)
				}
				return
			}
			if err != nil || answer.Status != tt.status || answer.Reason != tt.reason || len(answer.Flags) != tt.flags || !answer.AsOf.Equal(now.AsTime()) {
				t.Errorf("answer %+v, %v", answer, err)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for code, refused := range map[codes.Code]bool{
		codes.InvalidArgument: true, codes.PermissionDenied: true, codes.FailedPrecondition: true, codes.Unimplemented: true,
		codes.Unavailable: false, codes.Internal: false, codes.Unknown: false, codes.Aborted: false, codes.ResourceExhausted: false, codes.DeadlineExceeded: false, codes.Canceled: false,
	} {
		t.Run(code.String(), func(t *testing.T) {
			conn := start(t, &centre{answer: func(context.Context) (*flagpb.LookupResponse, error) { return nil, status.Error(code, "the reason") }})
			_, err := conn.Lookup(t.Context(), safeguard.Query{})
			var r *client.Refused
			if errors.As(err, &r) != refused || errors.Is(err, client.ErrUnreachable) == refused {
				t.Errorf("error %v, refused must be %v", err, refused)
			}
			if refused && (r.Reason != "the reason" || r.Code != code.String()) {
				t.Errorf("refused %+v", r)
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	slow := &centre{answer: func(ctx context.Context) (*flagpb.LookupResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	conn := start(t, slow, client.Deadline(50*time.Millisecond))
	_, err := conn.Lookup(t.Context(), safeguard.Query{})
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no deadline of the caller's: %v, want the client's own", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = start(t, slow, client.Deadline(time.Hour)).Lookup(ctx, safeguard.Query{})
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's deadline: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Dial(address, &tls.Config{MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Lookup(t.Context(), safeguard.Query{})
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v, want unreachable, and where", err)
	}
}

// A connection is to the first address where the centre answers.
func TestOthers(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	none := &centre{answer: func(context.Context) (*flagpb.LookupResponse, error) {
		return &flagpb.LookupResponse{AsOf: timestamppb.Now(), Answer: &flagpb.LookupResponse_NoneHeld{NoneHeld: &flagpb.NoneHeld{}}}, nil
	}}
	address, config := serve(t, none)
	for name, first := range map[string]string{"nobody listens at the first": nobody.Addr().String(), "the first says nothing": silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			conn, err := client.Dial(first, config, client.Others(address), client.Deadline(30*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for {
				answer, err := conn.Lookup(t.Context(), safeguard.Query{})
				if err == nil && answer.Status == safeguard.NoneHeld {
					return
				}
				if !errors.Is(err, client.ErrUnreachable) || t.Context().Err() != nil {
					t.Fatalf("%v, %v, want the answer of the second", answer, err)
				}
			}
		})
	}
}

func TestNotificationsThatCanNotBeRead(t *testing.T) {
	good := func() *flagpb.Notification {
		return &flagpb.Notification{Id: "n1", NhsNumber: "9990000107", Organisation: "RX1", Site: "RX1RA", AttendanceId: "1b4e28ba-2fa1-81d2-883f-0016d3cca427"}
	}
	for name, change := range map[string]func(*flagpb.Notification){
		"number":        func(n *flagpb.Notification) { n.NhsNumber = "9990000108" },
		"date of birth": func(n *flagpb.Notification) { n.DateOfBirth = "x" },
		"organisation":  func(n *flagpb.Notification) { n.Organisation = "" },
		"site":          func(n *flagpb.Notification) { n.Site = "" },
		"attendance":    func(n *flagpb.Notification) { n.AttendanceId = "" },
	} {
		t.Run(name, func(t *testing.T) {
			n := good()
			change(n)
			for _, err := range start(t, &centre{notification: n}).Waiting(t.Context(), 0) {
				if err == nil || strings.Contains(err.Error(), "9990000") {
					t.Errorf("error %v", err)
				}
			}
		})
	}
	for n, err := range start(t, &centre{notification: good()}).Waiting(t.Context(), 0) {
		if err != nil || n.ID != "n1" {
			t.Errorf("%+v, %v", n, err)
		}
	}
}
