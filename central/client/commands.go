package client

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

// commandTime is for one call about commands: a bundle may be large, and the line
// slow.
const commandTime = time.Minute

// Commands are what the agent is asked to do and has not answered, the oldest first.
func (c *Client) Commands(ctx context.Context) ([]safeguard.RemoteCommand, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	response, err := c.fleet.Commands(ctx, &flagpb.CommandsRequest{})
	if err != nil {
		return nil, fmt.Errorf("fetch commands: %w", problem(ctx, err))
	}
	var list []safeguard.RemoteCommand
	for _, m := range response.GetCommands() {
		list = append(list, safeguard.RemoteCommand{
			ID: m.GetId(), Agent: m.GetAgent(), Do: safeguard.RemoteDo(m.GetDo()), By: m.GetBy(), Ordered: timeOf(m.GetOrdered()), Expires: timeOf(m.GetExpires()),
		})
	}
	return list, nil
}

// Answer says what became of a command. A *Refused error says that the centre does
// not want the answer.
func (c *Client) Answer(ctx context.Context, id string, a safeguard.RemoteAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	if _, err := c.fleet.Answer(ctx, &flagpb.AnswerRequest{Id: id, Outcome: string(a.Outcome), Text: a.Text, Bundle: a.Bundle}); err != nil {
		return fmt.Errorf("answer command: %w", problem(ctx, err))
	}
	return nil
}
