package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// Certificate is one that the centre has issued, or one of another authority that
// it has revoked.
type Certificate struct {
	CertificateName
	Identity  identity.Identity
	Site      safeguard.ODSCode // that it was enrolled for; zero where there was none
	Key       []byte            // identity.KeyID of its public key
	DER       []byte            // empty for one of another authority
	NotBefore time.Time
	NotAfter  time.Time
	Issued    time.Time
	How       string    // how it came about
	Replaces  string    // serial of the one that asked for it
	Confirmed time.Time // since when it is known to be in use; zero until then
	Trust     []byte    // identity.TrustDigest that its holder was last heard to have
	Revocation
}

// Revocation is the end of a certificate before its time. The zero value is none.
type Revocation struct {
	At         time.Time
	By         string
	Reason     string
	Superseded bool // its holder has a newer one, and may be talking with this one still
}

// CertificateName tells certificates apart by what a holder can not change: a
// fingerprint of the whole would not do, for an ECDSA signature can be altered
// and still verifies.
type CertificateName struct {
	Issuer [sha256.Size]byte // of the issuer's name, DER
	Serial string            // hexadecimal
}

// NameOf is a certificate's.
func NameOf(c *x509.Certificate) CertificateName {
	return CertificateName{sha256.Sum256(c.RawIssuer), hex.EncodeToString(c.SerialNumber.Bytes())}
}

// How a certificate came about.
const (
	HowEnrolled = "enrolled"
	HowRenewed  = "renewed"
	HowLapsed   = "renewed after it had expired"
	HowCentre   = "for the centre itself"
	HowForeign  = "issued by another authority"
)

// Refusal says in a sentence why no certificate is given.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// EnrolToken is what is kept of an identity.Token.
type EnrolToken struct {
	Hash      []byte // identity.SecretHash
	Identity  identity.Identity
	Site      safeguard.ODSCode
	Made      time.Time
	By        string
	Expires   time.Time
	Withdrawn time.Time
	Used      time.Time
	Key       []byte // identity.KeyID of the key that redeemed it
	Serial    string // of the certificate that was given for it
}

// Redemption is what redeems a token.
type Redemption struct {
	Hash         []byte // of the secret
	Key          []byte // identity.KeyID of the request's key
	Organisation string // what the caller says that it is; empty for what it does not say
	Sites        []string
	At           time.Time
}

// CertificateFilter says which certificates.
type CertificateFilter struct {
	Identity string // empty for all
	Current  bool   // only those that are neither revoked nor have expired
}

// CertificateStandings is what a server has to know of all certificates.
type CertificateStandings struct {
	Version     int64
	Issuers     []Issuer
	Revoked     map[CertificateName]Revocation
	Unconfirmed map[CertificateName]bool // which replace another once they are used
}

// PutToken implements Store.
func (s *DB) PutToken(ctx context.Context, t EnrolToken, by audit.Who) error {
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		return []statement{stmt(`INSERT INTO enrol_tokens (hash, identity, site, made_at, made_by, expires_at) VALUES (?, ?, ?, ?, ?, ?)`,
				t.Hash, t.Identity.String(), t.Site.String(), millis(t.Made), by.Caller, millis(t.Expires))},
			[]audit.Entry{{At: t.Made, Act: audit.TokenMade, Who: by, Details: map[string]string{
				"token": identity.TokenID(t.Hash), "identity": t.Identity.String(), "site": t.Site.String(), "expires": t.Expires.UTC().Format(time.RFC3339),
			}}}, nil
	})
	if err != nil {
		return fmt.Errorf("keep enrolment token: %w", err)
	}
	return nil
}

const tokenColumns = `SELECT hash, identity, site, made_at, made_by, expires_at, withdrawn_at, used_at, key, serial FROM enrol_tokens`

// Tokens implements Store.
func (s *DB) Tokens(ctx context.Context) ([]EnrolToken, error) {
	var all []EnrolToken
	err := s.engine.query(ctx, func(row scanner) error {
		t, err := scanToken(row)
		all = append(all, t)
		return err
	}, stmt(tokenColumns+` ORDER BY made_at DESC, hash`))
	if err != nil {
		return nil, fmt.Errorf("read enrolment tokens: %w", err)
	}
	return all, nil
}

func scanToken(row scanner) (t EnrolToken, err error) {
	var id, site string
	var made, expires int64
	var withdrawn, used *int64
	if err := row.Scan(&t.Hash, &id, &site, &made, &t.By, &expires, &withdrawn, &used, &t.Key, &t.Serial); err != nil {
		return t, err
	}
	t.Made, t.Expires, t.Withdrawn, t.Used = fromMillis(made), fromMillis(expires), orZero(withdrawn), orZero(used)
	if t.Identity, err = identity.Parse(id); err != nil {
		return t, err
	}
	if site != "" {
		t.Site, err = safeguard.ParseODSCode(site)
	}
	return t, err
}

// orZero reads a moment that may be none.
func orZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return fromMillis(*ms)
}

// orNull writes it.
func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return millis(t)
}

// WithdrawToken implements Store.
func (s *DB) WithdrawToken(ctx context.Context, id string, by audit.Who) error {
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		var found []EnrolToken
		err := tx.query(ctx, func(row scanner) error {
			t, err := scanToken(row)
			if identity.TokenID(t.Hash) == id {
				found = append(found, t)
			}
			return err
		}, stmt(tokenColumns))
		switch {
		case err != nil:
			return nil, nil, err
		case len(found) == 0:
			return nil, nil, &Refusal{"no token " + id}
		case !found[0].Used.IsZero():
			return nil, nil, &Refusal{"token " + id + " is used already: revoke certificate " + found[0].Serial}
		}
		now := time.Now()
		return []statement{stmt(`UPDATE enrol_tokens SET withdrawn_at = ? WHERE hash = ? AND withdrawn_at IS NULL`, millis(now), found[0].Hash)},
			[]audit.Entry{{At: now, Act: audit.TokenWithdrawn, Who: by, Details: map[string]string{"token": id, "identity": found[0].Identity.String()}}}, nil
	})
	if err != nil {
		return fmt.Errorf("withdraw enrolment token: %w", err)
	}
	return nil
}

// Redeem implements Store.
func (s *DB) Redeem(ctx context.Context, r Redemption, issue func(EnrolToken) (Certificate, error)) (Certificate, error) {
	var given Certificate
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		var t EnrolToken
		err := tx.query(ctx, func(row scanner) (err error) {
			t, err = scanToken(row)
			return err
		}, stmt(tokenColumns+` WHERE hash = ?`, r.Hash))
		if err != nil {
			return nil, nil, err
		}
		if given, err = r.again(ctx, tx, t); err != nil || given.Serial != "" {
			return nil, nil, err
		}
		if err := freshKey(ctx, tx, r.Key); err != nil {
			return nil, nil, err
		}
		if given, err = issue(t); err != nil {
			return nil, nil, err
		}
		// Enrolled anew, whoever holds the old ones is not the one who is meant.
		who := audit.Who{Caller: t.Identity.String()}
		statements, entries, err := revokeAll(ctx, tx, t.Identity.String(), Revocation{At: r.At, By: who.Caller, Reason: "enrolled anew with token " + identity.TokenID(t.Hash)})
		if err != nil {
			return nil, nil, err
		}
		insert, entry := given.put(audit.Enrolled, who)
		entry.Details["token"] = identity.TokenID(t.Hash)
		return append(statements, insert, stmt(`UPDATE enrol_tokens SET used_at = ?, key = ?, serial = ? WHERE hash = ?`, millis(r.At), r.Key, given.Serial, r.Hash)),
			append(entries, entry), nil
	})
	return given, wrapRefusal("enrol", err)
}

// again says why the token is not to be redeemed, or gives the certificate where
// the same key has redeemed it before.
func (r Redemption) again(ctx context.Context, tx transaction, t EnrolToken) (Certificate, error) {
	switch {
	case t.Hash == nil:
		return Certificate{}, &Refusal{"the token is not known here: ask central operations for another"}
	case !t.Withdrawn.IsZero():
		return Certificate{}, &Refusal{"the token was withdrawn: ask central operations for another"}
	case !t.Used.IsZero() && !bytes.Equal(t.Key, r.Key):
		return Certificate{}, &Refusal{"the token was used already, for another key: ask central operations for another, and tell them if nobody here did so"}
	case !r.At.Before(t.Expires):
		return Certificate{}, &Refusal{"the token expired at " + t.Expires.Format(time.RFC3339) + ": ask central operations for another"}
	case r.Organisation != "" && r.Organisation != t.Identity.Code.String():
		return Certificate{}, &Refusal{fmt.Sprintf("the token is for %s, and the caller is configured as %s", t.Identity.Code, r.Organisation)}
	case len(r.Sites) > 0 && !t.Site.IsZero() && !slices.Contains(r.Sites, t.Site.String()):
		return Certificate{}, &Refusal{fmt.Sprintf("the token is for site %s, and the caller is not configured to serve it", t.Site)}
	}
	if t.Used.IsZero() {
		return Certificate{}, nil
	}
	c, err := oneCertificate(ctx, tx, stmt(certificateColumns+` WHERE serial = ? AND key = ?`, t.Serial, r.Key))
	if err == nil && !c.At.IsZero() {
		return Certificate{}, &Refusal{"the certificate that was given for this token is revoked: ask central operations for another token"}
	}
	return c, err
}

// freshKey refuses a key that has, or had, a certificate.
func freshKey(ctx context.Context, tx transaction, key []byte) error {
	c, err := oneCertificate(ctx, tx, stmt(certificateColumns+` WHERE key = ? ORDER BY issued_at LIMIT 1`, key))
	if err == nil && c.Serial != "" {
		err = &Refusal{"the key in the request has a certificate already, want a new key"}
	}
	return err
}

// Renew implements Store.
func (s *DB) Renew(ctx context.Context, old CertificateName, who identity.Identity, key []byte, at time.Time, issue func(old Certificate) (Certificate, error)) (Certificate, error) {
	var given Certificate
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		have, err := oneCertificate(ctx, tx, stmt(certificateColumns+` WHERE issuer = ? AND serial = ?`, old.Issuer[:], old.Serial))
		if err != nil {
			return nil, nil, err
		}
		if have.Serial == "" {
			// Of another authority, as before the centre issued its own.
			have = Certificate{CertificateName: old, Identity: who}
		}
		if !have.At.IsZero() {
			return nil, nil, &Refusal{"the certificate is revoked: " + have.Reason}
		}
		next, err := certificates(ctx, tx, stmt(certificateColumns+` WHERE identity = ? AND replaces = ? AND revoked_at IS NULL`, who.String(), old.Serial))
		if err != nil {
			return nil, nil, err
		}
		for _, c := range next {
			if bytes.Equal(c.Key, key) {
				given = c
				return nil, nil, nil
			}
		}
		if err := freshKey(ctx, tx, key); err != nil {
			return nil, nil, err
		}
		if given, err = issue(have); err != nil {
			return nil, nil, err
		}
		by := audit.Who{Caller: who.String()}
		var statements []statement
		var entries []audit.Entry
		for _, c := range next { // nobody will use it: its key was lost before its certificate came
			update, entry := c.revoke(Revocation{At: at, By: by.Caller, Reason: "renewed again before it was used"})
			statements, entries = append(statements, update), append(entries, entry)
		}
		insert, entry := given.put(audit.Renewed, by)
		return append(statements, insert), append(entries, entry), nil
	})
	return given, wrapRefusal("renew certificate", err)
}

// Confirm implements Store.
func (s *DB) Confirm(ctx context.Context, name CertificateName, at time.Time) error {
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		c, err := oneCertificate(ctx, tx, stmt(certificateColumns+` WHERE issuer = ? AND serial = ?`, name.Issuer[:], name.Serial))
		if err != nil || c.Serial == "" || !c.Confirmed.IsZero() {
			return nil, nil, err
		}
		statements := []statement{stmt(`UPDATE certificates SET confirmed_at = ? WHERE issuer = ? AND serial = ?`, millis(at), name.Issuer[:], name.Serial)}
		var entries []audit.Entry
		replaced, err := certificates(ctx, tx, stmt(certificateColumns+` WHERE identity = ? AND serial = ? AND revoked_at IS NULL`, c.Identity.String(), c.Replaces))
		for _, old := range replaced {
			update, entry := old.revoke(Revocation{At: at, By: c.Identity.String(), Reason: "replaced by " + c.Serial, Superseded: true})
			statements, entries = append(statements, update), append(entries, entry)
		}
		return statements, entries, err
	})
	if err != nil {
		return fmt.Errorf("confirm certificate: %w", err)
	}
	return nil
}

// NoteTrust implements Store.
func (s *DB) NoteTrust(ctx context.Context, name CertificateName, digest []byte) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		_, err := tx.exec(ctx, stmt(`UPDATE certificates SET trust = ? WHERE issuer = ? AND serial = ? AND (trust IS NULL OR trust <> ?)`, digest, name.Issuer[:], name.Serial, digest))
		return nil, err
	})
	if err != nil {
		return fmt.Errorf("note trust: %w", err)
	}
	return nil
}

// KeepCertificate implements Store.
func (s *DB) KeepCertificate(ctx context.Context, c Certificate, by audit.Who) error {
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		insert, entry := c.put(audit.Enrolled, by)
		return []statement{insert}, []audit.Entry{entry}, nil
	})
	if err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	return nil
}

// RevokeCertificates implements Store.
func (s *DB) RevokeCertificates(ctx context.Context, serial, of string, r Revocation) ([]Certificate, error) {
	var revoked []Certificate
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		var err error
		revoked, err = certificates(ctx, tx, stmt(certificateColumns+` WHERE (serial = ? OR identity = ?) AND (revoked_at IS NULL OR superseded = 1)`, serial, of))
		var statements []statement
		var entries []audit.Entry
		for i, c := range revoked {
			update, entry := c.revoke(r)
			revoked[i].Revocation = r
			statements, entries = append(statements, update), append(entries, entry)
		}
		return statements, entries, err
	})
	if err != nil {
		return nil, fmt.Errorf("revoke certificate: %w", err)
	}
	return revoked, nil
}

// Certificates implements Store.
func (s *DB) Certificates(ctx context.Context, which CertificateFilter) ([]Certificate, error) {
	text, args := certificateColumns+` WHERE 1 = 1`, []any{}
	if which.Identity != "" {
		text, args = text+` AND identity = ?`, append(args, which.Identity)
	}
	if which.Current {
		text, args = text+` AND revoked_at IS NULL AND not_after > ?`, append(args, millis(time.Now()))
	}
	all, err := certificates(ctx, s.engine, stmt(text+` ORDER BY identity, issued_at`, args...))
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	return all, nil
}

// CertificateStandings implements Store.
func (s *DB) CertificateStandings(ctx context.Context, known int64, since time.Time) (CertificateStandings, error) {
	var out CertificateStandings
	err := s.engine.snapshot(ctx, func(tx transaction) error {
		out = CertificateStandings{Revoked: map[CertificateName]Revocation{}, Unconfirmed: map[CertificateName]bool{}}
		err := tx.query(ctx, func(row scanner) error { return row.Scan(&out.Version) },
			stmt(`SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'certificates'`))
		if err != nil || out.Version == known {
			return err
		}
		if out.Issuers, err = s.issuers(ctx, tx); err != nil {
			return err
		}
		notable, err := certificates(ctx, tx, stmt(certificateColumns+` WHERE (revoked_at IS NOT NULL OR confirmed_at IS NULL) AND not_after > ?`, millis(since)))
		for _, c := range notable {
			if !c.At.IsZero() {
				out.Revoked[c.CertificateName] = c.Revocation
			} else {
				out.Unconfirmed[c.CertificateName] = true
			}
		}
		return err
	})
	if err != nil {
		return CertificateStandings{}, fmt.Errorf("read certificates: %w", err)
	}
	return out, nil
}

// Note implements Store.
func (s *DB) Note(ctx context.Context, e audit.Entry) error {
	w := newWork(ctx)
	w.entry = &e
	if err := s.commit(ctx, w); err != nil {
		return fmt.Errorf("note in the audit: %w", err)
	}
	return nil
}

// changeCertificates has do change tokens, certificates or issuers, and moves
// their version when it did.
func (s *DB) changeCertificates(ctx context.Context, do func(tx transaction) ([]statement, []audit.Entry, error)) error {
	return s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		if err := s.engine.lock(ctx, tx, "certificates"); err != nil {
			return nil, err
		}
		statements, entries, err := do(tx)
		if err != nil || len(statements) == 0 {
			return nil, err
		}
		_, err = tx.exec(ctx, append(statements, stmt(`INSERT INTO meta (name, value) VALUES ('certificates', '1')
			ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS INTEGER) + 1 AS TEXT)`))...)
		return entries, err
	})
}

func wrapRefusal(what string, err error) error {
	var refused *Refusal
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// put gives what writes the certificate, and what the audit says of it.
func (c Certificate) put(act audit.Act, by audit.Who) (statement, audit.Entry) {
	return stmt(`INSERT INTO certificates (serial, issuer, identity, site, key, certificate, not_before, not_after, issued_at, how, replaces, confirmed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			c.Serial, c.Issuer[:], c.Identity.String(), c.Site.String(), c.Key, append([]byte{}, c.DER...), millis(c.NotBefore), millis(c.NotAfter),
			millis(c.Issued), c.How, c.Replaces, orNull(c.Confirmed)),
		audit.Entry{At: c.Issued, Act: act, Who: by, Details: map[string]string{
			"serial": c.Serial, "identity": c.Identity.String(), "site": c.Site.String(), "how": c.How, "replaces": c.Replaces,
			"key": hex.EncodeToString(c.Key), "until": c.NotAfter.UTC().Format(time.RFC3339),
		}}
}

// revoke gives what writes the end of the certificate, and what the audit says of
// it.
func (c Certificate) revoke(r Revocation) (statement, audit.Entry) {
	superseded := int64(0)
	if r.Superseded {
		superseded = 1
	}
	return stmt(`UPDATE certificates SET revoked_at = ?, revoked_by = ?, reason = ?, superseded = ? WHERE issuer = ? AND serial = ?`,
			millis(r.At), r.By, r.Reason, superseded, c.Issuer[:], c.Serial),
		audit.Entry{At: r.At, Act: audit.CertificateRevoked, Who: audit.Who{Caller: r.By}, Reason: r.Reason, Details: map[string]string{
			"serial": c.Serial, "identity": c.Identity.String(),
		}}
}

// revokeAll ends all certificates of an identity that are not revoked for good.
func revokeAll(ctx context.Context, tx transaction, of string, r Revocation) ([]statement, []audit.Entry, error) {
	all, err := certificates(ctx, tx, stmt(certificateColumns+` WHERE identity = ? AND (revoked_at IS NULL OR superseded = 1) AND not_after > ?`, of, millis(r.At)))
	var statements []statement
	var entries []audit.Entry
	for _, c := range all {
		update, entry := c.revoke(r)
		statements, entries = append(statements, update), append(entries, entry)
	}
	return statements, entries, err
}

const certificateColumns = `SELECT serial, issuer, identity, site, key, certificate, not_before, not_after, issued_at, how, replaces, confirmed_at, trust,
	revoked_at, revoked_by, reason, superseded FROM certificates`

// querier reads, in a transaction or beside any.
type querier interface {
	query(ctx context.Context, each func(row scanner) error, statements ...statement) error
}

func certificates(ctx context.Context, from querier, which statement) ([]Certificate, error) {
	var all []Certificate
	err := from.query(ctx, func(row scanner) error {
		c, err := scanCertificate(row)
		all = append(all, c)
		return err
	}, which)
	return all, err
}

// oneCertificate gives the first, or the zero value.
func oneCertificate(ctx context.Context, from querier, which statement) (Certificate, error) {
	all, err := certificates(ctx, from, which)
	if err != nil || len(all) == 0 {
		return Certificate{}, err
	}
	return all[0], nil
}

func scanCertificate(row scanner) (c Certificate, err error) {
	var issuer []byte
	var id, site string
	var before, after, issued, superseded int64
	var confirmed, revoked *int64
	if err := row.Scan(&c.Serial, &issuer, &id, &site, &c.Key, &c.DER, &before, &after, &issued, &c.How, &c.Replaces, &confirmed, &c.Trust,
		&revoked, &c.By, &c.Reason, &superseded); err != nil {
		return c, err
	}
	copy(c.Issuer[:], issuer)
	c.NotBefore, c.NotAfter, c.Issued = fromMillis(before), fromMillis(after), fromMillis(issued)
	c.Confirmed, c.At, c.Superseded = orZero(confirmed), orZero(revoked), superseded == 1
	if c.Identity, err = identity.Parse(id); err != nil {
		return c, err
	}
	if site != "" {
		c.Site, err = safeguard.ParseODSCode(site)
	}
	return c, err
}
