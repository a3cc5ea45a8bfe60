package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/safeguard-edge/safeguard/central/store"
)

// Operators says how operators are told by what their provider says of them.
type Operators struct {
	*Provider
	NameClaim string                // whose value is the operator's name
	RoleClaim string                // whose value, or whose values, say the role; with dots for what is within
	Roles     map[string]store.Role // by what the claim has
}

// End takes what the browser brings back, and opens a session for whom the
// provider vouches for, in the highest of the roles that it gives. It gives the
// token of the session, and the provider's.
func (p *Operators) End(ctx context.Context, d Desk, flow string, back url.Values, address string, now time.Time) (token, theirs string, err error) {
	operator := Operator{Name: "unknown"}
	claims, theirs, err := p.Returned(ctx, flow, back)
	if err == nil {
		operator, err = p.operator(claims)
	}
	operator.Address, operator.Source = address, p.Issuer
	if err != nil {
		refused := d.Refuse(ctx, operator, err.Error())
		if errors.Is(refused, ErrRefused) {
			return "", "", err
		}
		return "", "", refused
	}
	token, err = d.Open(ctx, operator, now)
	return token, theirs, err
}

func (p *Operators) operator(claims Claims) (Operator, error) {
	o := Operator{Name: claims.Subject(), Role: p.Role(claims)}
	if name := claims.Text(p.NameClaim); name != "" {
		o.Name = fmt.Sprintf("%s (%s)", name, claims.Subject()) // a name alone may be another's
	}
	if o.Role == store.NoRole {
		return o, fmt.Errorf("%w: claim %s gives none of the roles", ErrProvider, p.RoleClaim)
	}
	return o, nil
}

// Role is the highest that the claims give.
func (p *Operators) Role(claims Claims) (role store.Role) {
	for _, value := range claims.Texts(p.RoleClaim) {
		role = max(role, p.Roles[value])
	}
	return role
}
