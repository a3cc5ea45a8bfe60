// Package client is everything that an agent, or a local authority's system,
// says to the centre. What goes in and comes out are the types of the domain.
package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/logging"
	"github.com/safeguard-edge/safeguard/tracing"
)

// Client is a connection to the centre. It connects by itself, and again after
// the centre was away. Its methods may be called concurrently.
type Client struct {
	conn          *grpc.ClientConn
	flags         flagpb.FlagsClient
	uploads       flagpb.UploadsClient
	notifications flagpb.NotificationsClient
	changes       flagpb.ChangesClient
	fleet         flagpb.FleetClient
	operations    flagpb.OperationsClient
	enrolment     flagpb.EnrolmentClient
	deadline      time.Duration
	renewed       func() *tls.Config
	others        []string
}

var _ safeguard.FlagSource = (*Client)(nil)

// Option changes what Dial makes.
type Option func(*Client)

// Deadline limits a lookup or correction whose context has no deadline of its own. The
// default is 5 seconds.
func Deadline(d time.Duration) Option { return func(c *Client) { c.deadline = d } }

// Renewed takes the configuration anew for each connection, so that a changed
// certificate or authority is used from the next connection on.
func Renewed(config func() *tls.Config) Option { return func(c *Client) { c.renewed = config } }

// Others are further addresses (host:port) of the same centre. A connection is to
// the first that answers, in the order in which they are given: one that does not
// has a quarter of a second before the next is tried beside it.
func Others(addresses ...string) Option {
	return func(c *Client) { c.others = append(c.others, addresses...) }
}

// Dial makes a client of the centre at address (host:port). It does not wait
// for the connection, nor fail without one; the certificates in config are the
// caller's (see identity.ClientTLS).
func Dial(address string, config *tls.Config, options ...Option) (*Client, error) {
	c := &Client{deadline: 5 * time.Second}
	for _, option := range options {
		option(c)
	}
	if c.renewed != nil {
		config = c.renewed()
	}
	security := credentials.NewTLS(config)
	if c.renewed != nil {
		security = renewing{security, c.renewed}
	}
	// Names are resolved at each attempt to connect: the resolver of grpc would wait
	// up to two minutes between its own.
	listed := manual.NewBuilderWithScheme("centre")
	var all []resolver.Address
	for _, a := range append([]string{address}, c.others...) {
		all = append(all, resolver.Address{Addr: a, ServerName: a})
	}
	listed.InitialState(resolver.State{Addresses: all})
	conn, err := grpc.NewClient("centre:///"+address,
		grpc.WithResolvers(listed),
		grpc.WithTransportCredentials(security),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Back at work within seconds of the centre's return.
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2500 * time.Millisecond,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithIdleTimeout(0), // the next registration must not wait for a handshake
		grpc.WithUserAgent("safeguard"),
		grpc.WithDisableServiceConfig(),
		// Every call here may be repeated, but when is the caller's to decide.
		grpc.WithDisableRetry(),
		grpc.WithChainUnaryInterceptor(follow),
	)
	if err != nil {
		return nil, fmt.Errorf("dial centre %s: %w", address, err)
	}
	c.conn = conn
	c.flags = flagpb.NewFlagsClient(conn)
	c.uploads = flagpb.NewUploadsClient(conn)
	c.notifications = flagpb.NewNotificationsClient(conn)
	c.changes = flagpb.NewChangesClient(conn)
	c.fleet = flagpb.NewFleetClient(conn)
	c.operations = flagpb.NewOperationsClient(conn)
	c.enrolment = flagpb.NewEnrolmentClient(conn)
	conn.Connect()
	return c, nil
}

// renewing makes each connection with the configuration of its moment.
type renewing struct {
	credentials.TransportCredentials
	config func() *tls.Config
}

// ClientHandshake implements credentials.TransportCredentials.
func (r renewing) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(r.config()).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (r renewing) Clone() credentials.TransportCredentials {
	return renewing{r.TransportCredentials.Clone(), r.config}
}

// EntryHeader carries the number of the entry in the agent's journal that a call
// is made for, so that the centre's log leads to the agent's.
const EntryHeader = "safeguard-entry"

// follow has a call say which message it is about.
func follow(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if entry := logging.Entry(ctx); entry != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, EntryHeader, entry)
	}
	ctx, span := tracing.Call(ctx, method)
	if trace := tracing.Send(ctx); trace != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, tracing.Header, trace)
	}
	err := invoke(ctx, method, request, reply, conn, options...)
	span.End(err != nil)
	return err
}

// Close ends the connection; calls in progress fail.
func (c *Client) Close() error { return c.conn.Close() }

// Lookup asks the centre. A *Refused error is the centre's word that this query
// will not be answered as it is; any other error, which is ErrUnreachable
// unless the caller ended ctx, means that the centre gave no answer and may
// have recorded the lookup, so that the same query is to be asked again.
func (c *Client) Lookup(ctx context.Context, q safeguard.Query) (safeguard.Answer, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
	}
	response, err := c.flags.Lookup(ctx, request(q))
	if err != nil {
		return safeguard.Answer{}, fmt.Errorf("lookup: %w", problem(ctx, err))
	}
	answer, err := answerOf(response)
	if err != nil {
		return safeguard.Answer{}, fmt.Errorf("lookup: %w: %w", ErrUnreachable, err)
	}
	return answer, nil
}

// MaxRefresh is how many queries one Refresh may have.
const MaxRefresh = 100

// Refresh asks many queries of purpose Refresh and of one author, which is the
// first one's, at once. Outcomes are in the order of the queries: each is an
// answer, a *Refused, or ErrUnreachable where the centre could not answer that one
// now. pause is how long to wait before the next. Its error is as that of Lookup,
// and concerns all.
func (c *Client) Refresh(ctx context.Context, queries []safeguard.Query) (all []safeguard.Refreshed, pause time.Duration, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
	}
	response, err := c.flags.Refresh(ctx, refreshRequest(queries))
	if err != nil {
		return nil, 0, fmt.Errorf("refresh: %w", problem(ctx, err))
	}
	if all, err = refreshedOf(response, len(queries)); err != nil {
		return nil, 0, fmt.Errorf("refresh: %w: %w", ErrUnreachable, err)
	}
	return all, max(0, response.GetPause().AsDuration()), nil
}

// Correct takes an unscheduled lookup back. It may be repeated. Its errors are as
// those of Lookup: after any but a *Refused the same correction is to be sent
// again.
func (c *Client) Correct(ctx context.Context, correction safeguard.Correction) (safeguard.Corrected, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
	}
	response, err := c.flags.Correct(ctx, correctRequest(correction))
	if err != nil {
		return safeguard.NotCorrected, fmt.Errorf("correct lookup: %w", problem(ctx, err))
	}
	done, ok := outcomes[response.GetOutcome()]
	if !ok {
		return safeguard.NotCorrected, fmt.Errorf("correct lookup: %w: an outcome that is none", ErrUnreachable)
	}
	return done, nil
}

// batch is how many rows or ids travel in one message: far below its limit of
// 1 MiB.
const batch = 500

// count is n as the wire has it.
func count(n int) int32 { return int32(min(n, math.MaxInt32)) }
