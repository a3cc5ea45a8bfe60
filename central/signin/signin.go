// Package signin tells who an operator at the centre's pages is: by an account of
// the centre's own with a second factor, or by a provider of OpenID Connect. Who
// is signed in is kept in the store, so that it holds at every process of the
// centre.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// ErrRefused is all that whoever tries is told.
var ErrRefused = errors.New("name, password or code is wrong")

// ErrTooMany says that too much was tried.
var ErrTooMany = errors.New("too many attempts to sign in: try again in a quarter of an hour")

// ErrSignedOut says that nobody is signed in by that token, or not any more.
var ErrSignedOut = errors.New("not signed in")

// Limits are how long a session may last.
type Limits struct {
	Idle     time.Duration // unused
	Absolute time.Duration // from when it was opened
}

// Over tells whether a session has ended by now.
func (l Limits) Over(opened, seen, now time.Time) bool {
	return now.Sub(opened) >= l.Absolute || now.Sub(seen) >= l.Idle
}

// Due tells whether it is to be noted by now that a session is used, which need not
// be with every use.
func (l Limits) Due(seen, now time.Time) bool { return now.Sub(seen) >= min(seenEach, l.Idle/4) }

// NewToken makes what a browser holds of a session, and what is kept of it.
func NewToken() (token string, id []byte) {
	token = rand.Text()
	return token, TokenID(token)
}

// How often may be tried within tryWithin, until one succeeds.
const (
	tryWithin  = 15 * time.Minute
	perAccount = 10
	perAddress = 60 // many may sit behind one
	seenEach   = time.Minute
	tidyEach   = 15 * time.Minute
)

// Desk is where operators sign in. All fields are needed.
type Desk struct {
	Store  store.Operators
	Limits Limits
}

// Operator is who tries to sign in, and from where.
type Operator struct {
	Name    string
	Source  string // store.LocalAccount, or the provider that vouches
	Role    store.Role
	Address string // of the network
}

// Who is the operator as the audit has them.
func (o Operator) Who() audit.Who {
	who := audit.Who{Caller: "operator " + o.Name, Device: o.Address, Role: o.Role.String()}
	if o.Source != store.LocalAccount {
		who.Caller += " by " + o.Source
	}
	return who
}

// Account signs in by an account of the centre's own, and gives the token of the
// session. A failure is ErrRefused, ErrTooMany, or that the store did not answer.
func (d Desk) Account(ctx context.Context, name, password, code, address string, now time.Time) (token string, err error) {
	if err := d.within(ctx, name, address, now); err != nil {
		return "", err
	}
	accounts, err := d.Store.Operators(ctx)
	if err != nil {
		return "", err
	}
	account, known := find(accounts, name)
	operator := Operator{Name: account.Name, Source: store.LocalAccount, Role: account.Role, Address: address}
	right, err := keys.CheckPassword(account.Password, password)
	if err != nil {
		return "", fmt.Errorf("operator %s: %w", name, err)
	}
	step, fits := codeStep(string(account.Factor), code, now)
	if !known || !right || !fits {
		return "", d.Refuse(ctx, operator, "name, password or code")
	}
	if first, err := d.Store.UseCode(ctx, account.Name, step); err != nil {
		return "", err
	} else if !first {
		return "", d.Refuse(ctx, operator, "the code was used before")
	}
	if err := d.Store.Succeeded(ctx, aboutAccount(account.Name)); err != nil {
		return "", err
	}
	return d.Open(ctx, operator, now)
}

// within notes the attempt, and refuses one too many.
func (d Desk) within(ctx context.Context, name, address string, now time.Time) error {
	ok, err := d.Store.Attempt(ctx, []store.AttemptLimit{{Subject: aboutAccount(name), Most: perAccount}, {Subject: "address " + address, Most: perAddress}}, now.Add(-tryWithin))
	if err == nil && !ok {
		err = ErrTooMany
	}
	return err
}

// aboutAccount is what attempts on an account are counted under. What was typed is
// not kept as it is: it may be a password.
func aboutAccount(name string) string { return fmt.Sprintf("account %x", sha256.Sum256([]byte(name))) }

// nobody is verified against where there is no account, so that it takes as long.
var nobody = sync.OnceValue(func() string {
	hash, err := keys.HashPassword(rand.Text())
	if err != nil {
		panic(err) // a password of 26 letters is long enough
	}
	return hash
})

func find(accounts []store.OperatorAccount, name string) (store.OperatorAccount, bool) {
	i := slices.IndexFunc(accounts, func(a store.OperatorAccount) bool { return a.Name == name })
	if i < 0 {
		return store.OperatorAccount{Name: "unknown", Password: nobody(), Factor: []byte("AAAAAAAAAAAAAAAA")}, false
	}
	return accounts[i], true
}

// Refuse writes into the audit that somebody was refused, and why, and gives
// ErrRefused.
func (d Desk) Refuse(ctx context.Context, o Operator, why string) error {
	err := d.Store.Audit(ctx, audit.Entry{At: time.Now(), Act: audit.SignInRefused, Who: o.Who(), Reason: why, Details: map[string]string{"source": o.Source}})
	if err != nil {
		return err
	}
	return ErrRefused
}

// Open opens a session for an operator of whom it is known who they are.
func (d Desk) Open(ctx context.Context, o Operator, now time.Time) (token string, err error) {
	token, id := NewToken()
	return token, d.Store.OpenSession(ctx, store.Session{ID: id, Name: o.Name, Source: o.Source, Role: o.Role, Opened: now, Seen: now}, o.Who())
}

// TokenID is what is kept of a session, which opens none.
func TokenID(token string) []byte {
	id := sha256.Sum256([]byte(token))
	return id[:]
}

// Session gives whose a token is. One that is used by a person, not only by a
// page that keeps itself up to date, goes on from there.
func (d Desk) Session(ctx context.Context, token string, used bool, now time.Time) (store.Session, error) {
	if token == "" {
		return store.Session{}, ErrSignedOut
	}
	found, err := d.Store.Session(ctx, TokenID(token))
	switch {
	case errors.Is(err, store.ErrNoSession):
		return store.Session{}, ErrSignedOut
	case err != nil:
		return store.Session{}, err
	case d.Limits.Over(found.Opened, found.Seen, now):
		return store.Session{}, ErrSignedOut
	}
	if used && d.Limits.Due(found.Seen, now) {
		err = d.Store.SeenSession(ctx, found.ID, now)
	}
	return found, err
}

// Run removes what has ended, until ctx ends.
func (d Desk) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			// What could not be removed now is removed the next time, and lets nobody in.
			_ = d.Store.RetainSessions(ctx, now.Add(-d.Limits.Absolute), now.Add(-d.Limits.Idle), now.Add(-tryWithin))
		}
	}
}
