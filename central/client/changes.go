package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

// Change is what the centre tells of those whom a site asked about.
type Change struct {
	Number safeguard.NHSNumber // whose flags changed; zero for nobody
	Resume string              // to go on from, once this has been dealt with; empty for from where it was
	Missed bool                // changes may have been missed: everybody is to be asked about again
	Lost   time.Time           // with Missed: the centre has lost what it was told since then, which is to be told again; zero for nothing
}

// Changes tells, from the resume point on, of changes to the flags of those whom
// the sites asked about, until ctx ends or the stream breaks. It ends with an
// error, which is a *Refused or ErrUnreachable as those of Lookup, unless ctx
// ended it. An empty resume point begins now, with a change that says so.
func (c *Client) Changes(ctx context.Context, sites []safeguard.ODSCode, resume string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // a stream that is given up ends at the centre too
		request := &flagpb.FollowRequest{Resume: resume}
		for _, site := range sites {
			request.Sites = append(request.Sites, site.String())
		}
		stream, err := c.changes.Follow(ctx, request)
		if err != nil {
			yield(Change{}, fmt.Errorf("follow changes: %w", problem(ctx, err)))
			return
		}
		for {
			response, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: the centre ended the stream", ErrUnreachable)
			} else if err != nil {
				err = problem(ctx, err)
			}
			change := Change{Resume: response.GetResume(), Missed: response.GetMissed()}
			if response.GetLostSince().IsValid() {
				change.Lost = response.GetLostSince().AsTime()
			}
			if err == nil && response.GetNhsNumber() != "" {
				if change.Number, err = safeguard.ParseNHSNumber(response.GetNhsNumber()); err != nil {
					err = fmt.Errorf("%w: read change: %w", ErrUnreachable, err)
				}
			}
			if err != nil {
				if ctx.Err() == nil {
					yield(Change{}, fmt.Errorf("follow changes: %w", err))
				}
				return
			}
			if !yield(change, nil) {
				return
			}
		}
	}
}
