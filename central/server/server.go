// Package server answers the agents and the local authorities' systems over
// gRPC: who may ask, what is answered, what is recorded, who is told. No log
// line and no status message of it holds a person's data.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	overview "github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// Limits of what a caller may ask of the server.
const (
	maxMessage  = 1 << 20          // bytes of one message
	maxStreams  = 128              // calls at the same time on one connection
	unaryTime   = 10 * time.Second // for a call of one message, at most
	handshake   = 10 * time.Second
	stopTime    = 10 * time.Second // for calls in progress when the server stops
	uploadPause = 30 * time.Second // between two messages of an upload
	maxAcks     = 10_000           // ids of one acknowledgement

	// streamWorkers answer calls one after the other, so that the stack of each need
	// grow once only. When all are busy, calls have a goroutine of their own.
	streamWorkers = 64
)

// Policy is what central operations decide.
type Policy struct {
	// ProductionChecks refuses test numbers (999) where they would be recorded:
	// in unscheduled lookups and in uploads. Off only for demonstrations and
	// tests.
	ProductionChecks bool
	Tails            safeguard.Tails // how long ended plans are shown

	Cache        safeguard.CachePolicy // of sites for which nothing else is decided
	DataAge      time.Duration         // after which an authority's data are overdue
	Late         time.Duration         // after the attendance; then its notification says that it is late
	AgentVersion string                // that agents are to have; empty for any

	OwedRate    int // lookups per second that all agents together may add while they pay what they owe since an outage
	RefreshRate int // lookups per second that all agents together may add to keep their caches fresh

	// SnapshotShare is how much of its current flags an authority's snapshot may
	// end or withdraw without a person, from 0 to 1.
	SnapshotShare float64

	CertificateLife time.Duration // of those that are issued
	RenewLapsed     time.Duration // after a certificate has expired; from then on its holder is to enrol again
}

// DefaultPolicy is that of a live centre.
func DefaultPolicy() Policy {
	return Policy{
		ProductionChecks: true,
		Tails:            safeguard.DefaultTails,
		Cache:            safeguard.DefaultCachePolicy,
		DataAge:          7 * 24 * time.Hour,
		Late:             time.Hour,
		OwedRate:         200,
		RefreshRate:      1000,
		SnapshotShare:    upload.DefaultShare,
		CertificateLife:  90 * 24 * time.Hour,
		RenewLapsed:      30 * 24 * time.Hour,
	}
}

// Server is the flag service on one address.
type Server struct {
	store     store.Store
	directory *Directory
	policy    Policy
	log       *slog.Logger
	counts    counts
	quiet     quiet
	owing     shared // the rate of owed lookups
	caching   shared // the rate of refreshes
	follows   *follows
	turns     *turns
	beats     *beats
	intake    *upload.Intake
	entrance  *identity.Entrance
	standings *standings
	enrolling pace
	overviews *overview.Overviews
	visits    quiet // of operators, for the audit

	listener net.Listener
	grpc     *grpc.Server
	bounded  map[string]bool // methods with one message each way
	stopping chan struct{}   // closed when Run begins to stop: streams that are kept open end
}

// Listen takes the address (host:port; port 0 is any free one) for a server
// whose callers come through the entrance. It serves once Run is called.
func Listen(address string, entrance *identity.Entrance, s store.Store, d *Directory, p Policy, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	server := &Server{
		store:     s,
		directory: d,
		policy:    p,
		log:       log,
		listener:  listener,
		stopping:  make(chan struct{}),
		entrance:  entrance,
		standings: &standings{store: s, entrance: entrance, lapse: p.RenewLapsed, log: log, live: map[*connection]bool{}},
		intake: &upload.Intake{
			Store:        s,
			Demographics: upload.List{Store: s},
			Policy:       upload.Policy{RefuseTest: p.ProductionChecks, Share: p.SnapshotShare, Adult: p.Tails.Adult},
			Log:          log,
			Admit:        d.AdmitUpload,
			Testing:      d.testing,
		},
	}
	entrance.Lapse(p.RenewLapsed)
	if err := server.standings.read(context.Background()); err != nil {
		_ = listener.Close()
		return nil, err
	}
	server.intake.Applied = func() {
		server.counts.uploads.Add(1)
		server.follows.changed()
	}
	server.visits.every = visitEvery
	server.beats = newBeats(s)
	server.overviews = overview.NewOverviews(s)
	server.follows = newFollows(s, d, p.Cache, &server.counts, log)
	server.turns = &turns{store: s, policy: p, changed: server.follows.changed, log: log}
	server.grpc = grpc.NewServer(
		grpc.Creds(handshakes{credentials.NewTLS(entrance.Config()), server}),
		grpc.ConnectionTimeout(handshake),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    30 * time.Second,
			Timeout: 10 * time.Second,
			// A certificate is asked for at each connection, so none lasts for ever.
			MaxConnectionAge:      30 * time.Minute,
			MaxConnectionAgeGrace: 5 * time.Minute,
		}),
		grpc.InTapHandle(server.bound),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ChainUnaryInterceptor(server.guardUnary),
		grpc.ChainStreamInterceptor(server.guardStream),
	)
	flagpb.RegisterFlagsServer(server.grpc, flags{Server: server})
	flagpb.RegisterUploadsServer(server.grpc, uploads{Server: server})
	flagpb.RegisterNotificationsServer(server.grpc, notifications{Server: server})
	flagpb.RegisterChangesServer(server.grpc, changes{Server: server})
	flagpb.RegisterFleetServer(server.grpc, fleet{Server: server})
	flagpb.RegisterOperationsServer(server.grpc, operations{Server: server})
	flagpb.RegisterEnrolmentServer(server.grpc, enrolment{Server: server})
	server.bounded = map[string]bool{}
	for service, info := range server.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			server.bounded["/"+service+"/"+m.Name] = !m.IsClientStream && !m.IsServerStream
		}
	}
	return server, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Intake is what takes the uploads, for whichever other way they come.
func (s *Server) Intake() *upload.Intake { return s.intake }

// Run serves until ctx ends, lets the calls in progress finish, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	go s.beats.run(ctx)
	var following sync.WaitGroup
	following.Go(func() { s.follows.run(ctx) })
	following.Go(func() { s.store.Wake(ctx, s.follows.changed) })
	following.Go(func() { s.turns.run(ctx) })
	following.Go(func() { s.standings.run(ctx) })
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	following.Wait()
	<-s.beats.ended
	close(s.stopping)
	impatient := time.AfterFunc(stopTime, s.grpc.Stop)
	defer impatient.Stop()
	s.grpc.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", s.Addr(), err)
	}
	return nil
}
