package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

var certificateTests = []test{
	{"a token is redeemed once", redeemOnce},
	{"tokens that are of no use", uselessTokens},
	{"of two at a time one redeems a token", redeemAtATime},
	{"a certificate is renewed and confirmed", renewed},
	{"revoked certificates", revoked},
	{"issuers take turns", issuers},
}

func agentOf(id string) identity.Identity {
	return identity.Identity{Kind: identity.Agent, Code: trust, ID: id}
}

func putToken(t *testing.T, s store.Store, name string, of identity.Identity, life time.Duration) []byte {
	t.Helper()
	hash := identity.SecretHash([]byte(name))
	now := time.Now()
	if err := s.PutToken(t.Context(), store.EnrolToken{Hash: hash, Identity: of, Site: code("RX101"), Made: now, Expires: now.Add(life)}, operator); err != nil {
		t.Fatal(err)
	}
	return hash
}

// issue gives a certificate as far as a store looks at it.
func issue(serial string, of identity.Identity, key string) store.Certificate {
	now := time.Now().Truncate(time.Millisecond)
	return store.Certificate{CertificateName: store.CertificateName{Serial: serial}, Identity: of, Key: []byte(key), DER: []byte("der " + serial),
		NotBefore: now, NotAfter: now.Add(time.Hour), Issued: now, How: store.HowRenewed}
}

func redeem(t *testing.T, s store.Store, hash []byte, key, serial string) (store.Certificate, error) {
	t.Helper()
	return s.Redeem(t.Context(), store.Redemption{Hash: hash, Key: []byte(key), At: time.Now()}, func(token store.EnrolToken) (store.Certificate, error) {
		c := issue(serial, token.Identity, key)
		c.Site, c.How, c.Confirmed = token.Site, store.HowEnrolled, c.Issued
		return c, nil
	})
}

func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	var refused *store.Refusal
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, want) {
		t.Errorf("error %v, want a refusal that says %q", err, want)
	}
}

func certificatesOf(t *testing.T, s store.Store, of identity.Identity) map[string]store.Certificate {
	t.Helper()
	all, err := s.Certificates(t.Context(), store.CertificateFilter{Identity: of.String()})
	if err != nil {
		t.Fatal(err)
	}
	bySerial := map[string]store.Certificate{}
	for _, c := range all {
		bySerial[c.Serial] = c
	}
	return bySerial
}

func redeemOnce(t *testing.T, open func() store.Store) {
	s := open()
	hash := putToken(t, s, "one", agentOf("a"), time.Hour)
	first, err := redeem(t, s, hash, "key 1", "01")
	if err != nil || first.Serial != "01" || first.Site != code("RX101") {
		t.Fatalf("redeemed: %+v, %v", first, err)
	}
	again, err := redeem(t, s, hash, "key 1", "02")
	if err != nil || again.Serial != "01" || string(again.DER) != "der 01" {
		t.Errorf("again with the same key: %s, %v, want the same certificate", again.Serial, err)
	}
	_, err = redeem(t, s, hash, "key 2", "03")
	wantRefusal(t, err, "used already")

	// Enrolled anew, what was there before is revoked, and its key is of no use.
	next := putToken(t, s, "two", agentOf("a"), time.Hour)
	_, err = redeem(t, s, next, "key 1", "04")
	wantRefusal(t, err, "has a certificate already")
	if _, err := redeem(t, s, next, "key 4", "04"); err != nil {
		t.Fatal(err)
	}
	have := certificatesOf(t, s, agentOf("a"))
	if len(have) != 2 || have["01"].At.IsZero() || have["01"].Superseded || !have["04"].At.IsZero() {
		t.Errorf("certificates %+v, want the first revoked", have)
	}
	_, err = redeem(t, s, hash, "key 1", "05")
	wantRefusal(t, err, "revoked")
	tokens, err := s.Tokens(t.Context())
	if err != nil || len(tokens) != 2 || tokens[0].Serial == "" || tokens[0].Used.IsZero() {
		t.Errorf("tokens %+v, %v", tokens, err)
	}
}

func uselessTokens(t *testing.T, open func() store.Store) {
	s := open()
	_, err := redeem(t, s, identity.SecretHash([]byte("nobody's")), "key", "01")
	wantRefusal(t, err, "not known")
	_, err = redeem(t, s, putToken(t, s, "old", agentOf("a"), -time.Second), "key", "01")
	wantRefusal(t, err, "expired")
	hash := putToken(t, s, "withdrawn", agentOf("a"), time.Hour)
	if err := s.WithdrawToken(t.Context(), identity.TokenID(hash), operator); err != nil {
		t.Fatal(err)
	}
	_, err = redeem(t, s, hash, "key", "01")
	wantRefusal(t, err, "withdrawn")
	wantRefusal(t, s.WithdrawToken(t.Context(), "0000", operator), "no token")

	hash = putToken(t, s, "good", agentOf("a"), time.Hour)
	for _, r := range []store.Redemption{{Organisation: "RX2"}, {Organisation: "RX1", Sites: []string{"RX102", "RX103"}}} {
		r.Hash, r.Key, r.At = hash, []byte("key"), time.Now()
		_, err := s.Redeem(t.Context(), r, func(store.EnrolToken) (store.Certificate, error) {
			t.Error("issued for another")
			return store.Certificate{}, errors.New("no")
		})
		wantRefusal(t, err, "the token is for")
	}
	// What was not issued has used nothing up.
	_, err = s.Redeem(t.Context(), store.Redemption{Hash: hash, Key: []byte("key"), At: time.Now()}, func(store.EnrolToken) (store.Certificate, error) {
		return store.Certificate{}, &store.Refusal{Reason: "another's name"}
	})
	wantRefusal(t, err, "another's name")
	if _, err := redeem(t, s, hash, "key", "01"); err != nil {
		t.Error(err)
	}
	wantRefusal(t, s.WithdrawToken(t.Context(), identity.TokenID(hash), operator), "used already")
}

func redeemAtATime(t *testing.T, open func() store.Store) {
	s := open()
	hash := putToken(t, s, "one", agentOf("a"), time.Hour)
	var all sync.WaitGroup
	var mu sync.Mutex
	given := 0
	for i := range 8 {
		all.Go(func() {
			_, err := redeem(t, s, hash, fmt.Sprint("key ", i), fmt.Sprint("0", i))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				given++
			} else {
				wantRefusal(t, err, "used already")
			}
		})
	}
	all.Wait()
	if given != 1 || len(certificatesOf(t, s, agentOf("a"))) != 1 {
		t.Errorf("%d certificates for one token", given)
	}
}

func renewed(t *testing.T, open func() store.Store) {
	s := open()
	first, err := redeem(t, s, putToken(t, s, "one", agentOf("a"), time.Hour), "key 1", "01")
	if err != nil {
		t.Fatal(err)
	}
	renew := func(old store.Certificate, key, serial string) (store.Certificate, error) {
		return s.Renew(t.Context(), old.CertificateName, agentOf("a"), []byte(key), time.Now(), func(have store.Certificate) (store.Certificate, error) {
			c := issue(serial, have.Identity, key)
			c.Site, c.Replaces = have.Site, have.Serial
			return c, nil
		})
	}
	lost, err := renew(first, "key 2", "02")
	if err != nil || lost.Site != code("RX101") {
		t.Fatal(lost, err)
	}
	if again, err := renew(first, "key 2", "99"); err != nil || again.Serial != "02" {
		t.Errorf("again for the same key: %s, %v, want the same certificate", again.Serial, err)
	}
	_, err = renew(first, "key 1", "03")
	wantRefusal(t, err, "has a certificate already")
	second, err := renew(first, "key 3", "03") // the second key was lost before its certificate came
	if err != nil {
		t.Fatal(err)
	}
	standings, err := s.CertificateStandings(t.Context(), 0, time.Now())
	if err != nil || !standings.Unconfirmed[second.CertificateName] || standings.Unconfirmed[first.CertificateName] ||
		standings.Revoked[lost.CertificateName].At.IsZero() || len(standings.Revoked) != 1 {
		t.Errorf("standings %+v, %v", standings, err)
	}
	if same, err := s.CertificateStandings(t.Context(), standings.Version, time.Now()); err != nil || same.Version != standings.Version || same.Revoked == nil || len(same.Revoked) != 0 {
		t.Errorf("nothing new: %+v, %v", same, err)
	}
	for range 2 {
		if err := s.Confirm(t.Context(), second.CertificateName, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	have := certificatesOf(t, s, agentOf("a"))
	if !have["01"].Superseded || have["01"].At.IsZero() || have["03"].Confirmed.IsZero() || !have["03"].At.IsZero() || have["02"].Superseded {
		t.Errorf("confirmed: %+v", have)
	}
	_, err = renew(first, "key 4", "04")
	wantRefusal(t, err, "revoked")
	if err := s.NoteTrust(t.Context(), second.CertificateName, []byte("digest")); err != nil {
		t.Fatal(err)
	}
	if got := certificatesOf(t, s, agentOf("a"))["03"].Trust; string(got) != "digest" {
		t.Errorf("trust %q", got)
	}
	// Of another authority, as before the centre issued its own.
	foreign := store.Certificate{CertificateName: store.CertificateName{Issuer: [32]byte{1}, Serial: "ff"}, Identity: agentOf("a")}
	if c, err := renew(foreign, "key 5", "05"); err != nil || c.Replaces != "ff" {
		t.Errorf("renewed %+v, %v", c, err)
	}
}

func revoked(t *testing.T, open func() store.Store) {
	s := open()
	a, err := redeem(t, s, putToken(t, s, "one", agentOf("a"), time.Hour), "key 1", "01")
	if err != nil {
		t.Fatal(err)
	}
	b, err := redeem(t, s, putToken(t, s, "two", agentOf("b"), time.Hour), "key 2", "02")
	if err != nil {
		t.Fatal(err)
	}
	why := store.Revocation{At: time.Now().Truncate(time.Millisecond), By: "operator test", Reason: "stolen"}
	got, err := s.RevokeCertificates(t.Context(), "01", "", why)
	if err != nil || len(got) != 1 || got[0].Serial != "01" {
		t.Fatalf("revoked %+v, %v", got, err)
	}
	if got, err = s.RevokeCertificates(t.Context(), "01", "", why); err != nil || len(got) != 0 {
		t.Errorf("revoked twice: %+v, %v", got, err)
	}
	standings, err := s.CertificateStandings(t.Context(), 0, time.Now())
	if err != nil || standings.Revoked[a.CertificateName].Reason != "stolen" || len(standings.Revoked) != 1 {
		t.Errorf("standings %+v, %v", standings, err)
	}
	if old, err := s.CertificateStandings(t.Context(), 0, a.NotAfter.Add(time.Minute)); err != nil || len(old.Revoked) != 0 {
		t.Errorf("of those that have expired: %+v, %v, want none", old, err)
	}
	if got, err = s.RevokeCertificates(t.Context(), "", b.Identity.String(), why); err != nil || len(got) != 1 {
		t.Errorf("all of an identity: %+v, %v", got, err)
	}
	if good, err := s.Certificates(t.Context(), store.CertificateFilter{Current: true}); err != nil || len(good) != 0 {
		t.Errorf("good ones: %+v, %v, want none", good, err)
	}
	if report, err := s.VerifyAudit(t.Context(), nil); err != nil || len(report.Problems) > 0 {
		t.Errorf("audit: %+v, %v", report, err)
	}
}

func issuers(t *testing.T, open func() store.Store) {
	s := open()
	made := morning
	put := func(id string) error {
		made = made.Add(time.Hour)
		return s.PutIssuer(t.Context(), store.Issuer{ID: id, Chain: []byte("chain " + id), Root: []byte("root " + id), Key: []byte("key " + id), Made: made}, operator)
	}
	states := func() string {
		t.Helper()
		all, err := s.Issuers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, i := range all {
			if string(i.Key) != "key "+i.ID || string(i.Chain) != "chain "+i.ID || string(i.Root) != "root "+i.ID {
				t.Errorf("issuer %+v", i)
			}
			out = append(out, i.ID+" "+string(i.State))
		}
		return strings.Join(out, ", ")
	}
	wantRefusal(t, s.SwitchIssuer(t.Context(), operator), "no issuer is waiting")
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return put("a") }, "a issuing"},
		{func() error { return put("b") }, "a issuing, b next"},
		{func() error { return s.SwitchIssuer(t.Context(), operator) }, "a trusted, b issuing"},
		{func() error { return s.EndIssuer(t.Context(), "a", operator) }, "a ended, b issuing"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := states(); got != step.want {
			t.Errorf("%s, want %s", got, step.want)
		}
	}
	wantRefusal(t, s.EndIssuer(t.Context(), "b", operator), "rotate first")
	wantRefusal(t, s.EndIssuer(t.Context(), "x", operator), "no issuer x")
	if err := put("c"); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, put("d"), "waiting to take over already")
}
