package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// Issuer is an authority that issues certificates for the centre: its own, or an
// intermediate that an existing public key infrastructure has given it.
type Issuer struct {
	ID    string // hexadecimal
	State IssuerState
	Chain []byte // PEM: its certificate, then those that lead to Root
	Root  []byte // PEM: what others trust
	Key   []byte // PKCS #8
	Made  time.Time
	By    string
}

// IssuerState is where an issuer is on its way.
type IssuerState string

// The states, in their order. At most one issues.
const (
	IssuerNext    IssuerState = "next" // is trusted, so that everybody may learn of it before it issues
	IssuerIssuing IssuerState = "issuing"
	IssuerTrusted IssuerState = "trusted" // has issued what is still valid
	IssuerEnded   IssuerState = "ended"
)

// Issuers implements Store.
func (s *DB) Issuers(ctx context.Context) ([]Issuer, error) {
	all, err := s.issuers(ctx, s.engine)
	if err != nil {
		return nil, fmt.Errorf("read issuers: %w", err)
	}
	return all, nil
}

// PutIssuer implements Store.
func (s *DB) PutIssuer(ctx context.Context, i Issuer, by audit.Who) error {
	sealed, err := s.ring.Seal(i.Key, issuerAD(i.ID))
	if err != nil {
		return fmt.Errorf("keep issuer: %w", err)
	}
	err = s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		all, err := s.issuers(ctx, tx)
		if err != nil {
			return nil, nil, err
		}
		i.State = IssuerIssuing
		for _, have := range all {
			switch have.State {
			case IssuerNext:
				return nil, nil, &Refusal{"issuer " + have.ID + " is waiting to take over already: switch to it, or end it"}
			case IssuerIssuing:
				i.State = IssuerNext
			}
		}
		return []statement{stmt(`INSERT INTO issuers (id, state, chain, root, key, made_at, made_by) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			i.ID, string(i.State), i.Chain, i.Root, sealed, millis(i.Made), by.Caller)}, []audit.Entry{issuerChanged(i.ID, i.State, by)}, nil
	})
	return wrapRefusal("keep issuer", err)
}

// SwitchIssuer implements Store.
func (s *DB) SwitchIssuer(ctx context.Context, by audit.Who) error {
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		all, err := s.issuers(ctx, tx)
		if err != nil {
			return nil, nil, err
		}
		var statements []statement
		var entries []audit.Entry
		// The one that steps back first: at no moment do two issue.
		for _, step := range [][2]IssuerState{{IssuerIssuing, IssuerTrusted}, {IssuerNext, IssuerIssuing}} {
			for _, i := range all {
				if i.State == step[0] {
					statements = append(statements, stmt(`UPDATE issuers SET state = ? WHERE id = ?`, string(step[1]), i.ID))
					entries = append(entries, issuerChanged(i.ID, step[1], by))
				}
			}
		}
		if len(statements) != 2 {
			return nil, nil, &Refusal{"no issuer is waiting to take over"}
		}
		return statements, entries, nil
	})
	return wrapRefusal("switch issuer", err)
}

// EndIssuer implements Store.
func (s *DB) EndIssuer(ctx context.Context, id string, by audit.Who) error {
	err := s.changeCertificates(ctx, func(tx transaction) ([]statement, []audit.Entry, error) {
		all, err := s.issuers(ctx, tx)
		if err != nil {
			return nil, nil, err
		}
		for _, i := range all {
			switch {
			case i.ID != id:
			case i.State == IssuerIssuing:
				return nil, nil, &Refusal{"issuer " + id + " is the one that issues: rotate first"}
			default:
				return []statement{stmt(`UPDATE issuers SET state = ? WHERE id = ?`, string(IssuerEnded), id)},
					[]audit.Entry{issuerChanged(id, IssuerEnded, by)}, nil
			}
		}
		return nil, nil, &Refusal{"no issuer " + id}
	})
	return wrapRefusal("end issuer", err)
}

func issuerChanged(id string, state IssuerState, by audit.Who) audit.Entry {
	return audit.Entry{At: time.Now(), Act: audit.IssuerChanged, Who: by, Details: map[string]string{"issuer": id, "state": string(state)}}
}

func issuerAD(id string) []byte { return key("issuer", id) }

func (s *DB) issuers(ctx context.Context, from querier) ([]Issuer, error) {
	var all []Issuer
	err := from.query(ctx, func(row scanner) error {
		var i Issuer
		var state string
		var sealed []byte
		var made int64
		if err := row.Scan(&i.ID, &state, &i.Chain, &i.Root, &sealed, &made, &i.By); err != nil {
			return err
		}
		i.State, i.Made = IssuerState(state), fromMillis(made)
		var err error
		if i.Key, err = s.ring.Open(sealed, issuerAD(i.ID)); err != nil {
			return fmt.Errorf("key of issuer %s: %w", i.ID, err)
		}
		all = append(all, i)
		return nil
	}, stmt(`SELECT id, state, chain, root, key, made_at, made_by FROM issuers ORDER BY made_at, id`))
	return all, err
}

// IssuerID names an issuer by its key.
func IssuerID(key []byte) string { return hex.EncodeToString(key[:min(8, len(key))]) }
