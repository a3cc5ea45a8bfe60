package feed

import (
	"context"
	"time"
)

// Drain lets what is in hand at a stop be finished: the Accept that it returns
// gives accept a context that ends so long after ctx does, not with it. The
// feed calls stop when it has ended.
func Drain(ctx context.Context, grace time.Duration, accept Accept) (a Accept, stop func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return func(_ context.Context, m Message) (Ack, error) {
			return accept(longer, m)
		}, func() {
			cancel()
			unhook()
		}
}
