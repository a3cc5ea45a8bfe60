// Package webhook pushes notifications to the systems of the local authorities
// that want them pushed: one signed request for each (Standard Webhooks,
// HMAC-SHA256), in order, until it is taken, and always with the same id. An
// answer of 2xx takes a notification over, as an acknowledgement does.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	signer "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Queue is what is to be sent. Only who has the lease of an authority sends to it.
type Queue interface {
	Waiting(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]store.Waiting, error)
	Acknowledge(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error)
	Lease(ctx context.Context, name, holder string, d time.Duration) (bool, error)
}

// Target is where an authority wants its notifications.
type Target struct {
	Authority safeguard.ODSCode
	URL       string         // https; http only for this machine
	Secrets   []string       // whsec_ and base64; each signs, so that one can follow another
	CA        *x509.CertPool // who vouches for the receiver; nil for whom the system trusts
}

// Times of sending.
const (
	requestTime = 15 * time.Second // for one request
	leaseTime   = time.Minute      // how long another process waits for one that is gone; half of it is for one request
	lookEvery   = time.Second      // for what has come
	firstPause  = time.Second      // after a failure; doubled by each further one
	longPause   = 5 * time.Minute  // at most
	maxPause    = time.Hour        // that a receiver may ask for
	minSecret   = 24               // bytes (Standard Webhooks: 24 to 64)
	maxSecret   = 64
	together    = 100 // notifications that are read at a time
)

// Sender sends to all targets. Make one with New.
type Sender struct {
	queue   Queue
	holder  string
	may     func(safeguard.ODSCode) bool
	targets []*target
	log     *slog.Logger
}

// New checks the targets. holder names this process among those that share the
// queue, and may tells whether an authority takes part.
func New(queue Queue, holder string, may func(safeguard.ODSCode) bool, targets []Target, log *slog.Logger) (*Sender, error) {
	s := &Sender{queue: queue, holder: holder, may: may, log: log}
	for _, t := range targets {
		made, err := newTarget(t)
		if err != nil {
			return nil, fmt.Errorf("webhook of local authority %s: %w", t.Authority, err)
		}
		s.targets = append(s.targets, made)
	}
	return s, nil
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range s.targets {
		g.Go(func() error { return s.follow(ctx, t) })
	}
	return g.Wait()
}

type target struct {
	Target
	host    string
	signers []*signer.Webhook
	client  *http.Client
}

// Check tells what is wrong with a target, and what would be right.
func (t Target) Check() error {
	_, err := newTarget(t)
	return err
}

func newTarget(t Target) (*target, error) {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return nil, errors.New("url: can not be read, want https://host/path without a user or password")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("url: http, want https: notifications are about persons")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("url: neither http nor https, want https")
	case len(t.Secrets) == 0:
		return nil, errors.New("no secret, want one or more")
	}
	out := &target{Target: t, host: u.Host}
	for i, secret := range t.Secrets {
		raw, err := keyOf(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		s, err := signer.NewWebhookRaw(raw)
		if err != nil {
			return nil, fmt.Errorf("secret %d can not be used", i+1)
		}
		out.signers = append(out.signers, s)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: requestTime}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.CA},
		TLSHandshakeTimeout:   requestTime,
		ResponseHeaderTimeout: requestTime,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   1,
		ForceAttemptHTTP2:     true,
	}
	out.client = &http.Client{
		Transport: transport,
		Timeout:   requestTime,
		// What is sent is for this receiver only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return out, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
