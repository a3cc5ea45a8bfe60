package central

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// ownCertificate renews the certificate that the centre listens with, where one of
// its own authorities has issued it.
type ownCertificate struct {
	store    store.Store
	entrance *identity.Entrance
	place    identity.Place
	life     time.Duration
	log      *slog.Logger
}

// Run looks after it until ctx ends. What can not be done now is tried again.
func (o ownCertificate) Run(ctx context.Context) error {
	every := min(time.Hour, max(time.Second, o.life/50))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := o.look(ctx); err != nil && ctx.Err() == nil {
			o.log.Error("own certificate not renewed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// authorityEndsSoon leaves the time to have a next one issued, to let everybody
// learn of it, and to renew all certificates from it.
const authorityEndsSoon = 180 * 24 * time.Hour

func (o ownCertificate) look(ctx context.Context) error {
	leaf, err := o.entrance.Leaf()
	if err != nil {
		return err
	}
	all, err := o.store.Issuers(ctx)
	if err != nil {
		return err
	}
	ours, issuing := false, store.Issuer{}
	due := time.Now().After(identity.Due(leaf))
	for _, i := range all {
		chain, err := identity.DecodeCertificates(i.Chain)
		if err != nil || len(chain) == 0 {
			continue
		}
		mine := leaf.CheckSignatureFrom(chain[0]) == nil
		ours = ours || mine
		if i.State == store.IssuerIssuing {
			issuing, due = i, due || !mine
			if time.Until(chain[0].NotAfter) < authorityEndsSoon {
				o.log.Warn("issuing authority ends soon, and nothing that it issues is good for longer", "issuer", i.ID, "until", chain[0].NotAfter)
			}
		}
	}
	if !ours || !due || issuing.ID == "" {
		if !ours && time.Until(leaf.NotAfter) < 14*24*time.Hour {
			o.log.Warn("own certificate ends soon, and is not the centre's own to renew", "until", leaf.NotAfter)
		}
		return nil
	}
	hosts := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	c, err := certifyCentre(ctx, o.store, issuing, o.place, hosts, o.life, audit.Who{Caller: "centre"})
	if err != nil {
		return err
	}
	o.entrance.Again()
	o.log.Info("own certificate renewed", "until", c.NotAfter)
	return nil
}

// certifyCentre makes the key and certificate that a centre listens with.
func certifyCentre(ctx context.Context, s store.Store, i store.Issuer, place identity.Place, hosts []string, life time.Duration, by audit.Who) (*x509.Certificate, error) {
	chain, err := identity.DecodeCertificates(i.Chain)
	if err != nil || len(chain) == 0 {
		return nil, fmt.Errorf("issuer %s: its chain can not be read", i.ID)
	}
	ca, err := identity.OpenCA(chain[0], i.Key)
	if err != nil {
		return nil, err
	}
	key, err := place.Pending()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	code, err := safeguard.ParseODSCode("CENTRE")
	if err != nil {
		return nil, err
	}
	id := identity.Identity{Kind: identity.Centre, Code: code, ID: i.ID}
	c, err := ca.Certify(id, key.Public(), hosts, now.Add(-min(5*time.Minute, life/10)), now.Add(life))
	if err != nil {
		return nil, err
	}
	if err := keepCentre(ctx, s, c, id, key, by); err != nil {
		return nil, err
	}
	der := [][]byte{c.Raw}
	for _, above := range chain {
		der = append(der, above.Raw)
	}
	return c, place.InstallPair(key, der)
}

func keepCentre(ctx context.Context, s store.Store, c *x509.Certificate, id identity.Identity, key *ecdsa.PrivateKey, by audit.Who) error {
	keyID, err := identity.KeyID(key.Public())
	if err != nil {
		return err
	}
	now := time.Now()
	return s.KeepCertificate(ctx, store.Certificate{
		CertificateName: store.NameOf(c), Identity: id, Key: keyID, DER: c.Raw,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Issued: now, Confirmed: now, How: store.HowCentre,
	}, by)
}
