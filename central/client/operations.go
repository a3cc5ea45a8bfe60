package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard/central/flagpb"
)

// Overview shows an operator how the fleet is: one of kind overview, then one of
// kind agent, site or authority for each, as JSON.
func (c *Client) Overview(ctx context.Context, each func(kind string, json []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, operationsTime)
	defer cancel()
	stream, err := c.operations.Overview(ctx, &flagpb.OverviewRequest{})
	return showEach(ctx, "overview of the fleet", stream, err, each)
}

// Warnings shows an operator the warnings that are open or have closed since, the
// latest first: about one agent, such as RX1/a1, or where that is empty about
// everybody; and no more than limit, or where that is 0 all.
func (c *Client) Warnings(ctx context.Context, since time.Time, agent string, limit int, each func(kind string, json []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, operationsTime)
	defer cancel()
	stream, err := c.operations.Warnings(ctx, &flagpb.WarningsRequest{Since: timestamppb.New(since), Agent: agent, Limit: uint32(limit)})
	return showEach(ctx, "warnings of the fleet", stream, err, each)
}

// operationsTime is for all of what is shown.
const operationsTime = 30 * time.Second

func showEach(ctx context.Context, what string, stream grpc.ServerStreamingClient[flagpb.Shown], err error, each func(kind string, json []byte) error) error {
	for err == nil {
		var shown *flagpb.Shown
		if shown, err = stream.Recv(); err != nil {
			break
		}
		if err := each(shown.GetKind(), shown.GetJson()); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, problem(ctx, err))
}
