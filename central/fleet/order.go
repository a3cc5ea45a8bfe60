package fleet

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Order has an agent asked to do something until it expires, at most
// safeguard.LongestCommand from now. An agent that was never heard from is
// store.ErrUnknown.
func Order(ctx context.Context, s interface {
	Order(ctx context.Context, c safeguard.RemoteCommand, by audit.Who) error
}, agent store.AgentKey, do safeguard.RemoteDo, expires time.Duration, by audit.Who) (safeguard.RemoteCommand, error) {
	now := time.Now()
	c := safeguard.RemoteCommand{ID: rand.Text(), Agent: agent.String(), Do: do, By: by.Caller, Ordered: now, Expires: now.Add(expires)}
	return c, s.Order(ctx, c, by)
}
