package mqtt

import (
	"context"
	"fmt"
	"strings"
)

// Publisher publishes messages, one at a time, each with QoS 1 and done when the
// broker has confirmed it. It connects when there is something to publish, and
// after any doubt anew. What was published during an outage is never queued in the
// client, which would change its order.
type Publisher struct {
	broker Broker
	turn   chan struct{} // held by who publishes
	link   *link         // nil while there is no connection
}

// NewPublisher returns a publisher that dials when it has something to publish.
func NewPublisher(b Broker) (*Publisher, error) {
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return &Publisher{broker: b, turn: make(chan struct{}, 1)}, nil
}

// ValidTopic tells whether one can publish there.
func ValidTopic(topic string) bool {
	return topic != "" && len(topic) <= 65535 && !strings.ContainsAny(topic, "+#\x00") && !strings.HasPrefix(topic, "$")
}

// Publish returns when the broker has the message. After an error it is not known
// whether it arrived. A retained message is kept by the broker for the topic until
// another one replaces it; an empty one clears it.
func (p *Publisher) Publish(ctx context.Context, topic string, payload []byte, retained bool) error {
	if !ValidTopic(topic) {
		return fmt.Errorf("publish: topic %q: want one without wildcards", topic)
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: %w", p.broker.Address, ctx.Err())
	}
	if err := p.publish(ctx, topic, payload, retained); err != nil {
		p.drop()
		return fmt.Errorf("publish to %s: %w", p.broker.Address, err)
	}
	return nil
}

func (p *Publisher) publish(ctx context.Context, topic string, payload []byte, retained bool) error {
	if p.link != nil && p.link.ended() != nil {
		p.drop()
	}
	if p.link == nil {
		l, err := p.broker.connectReplies(ctx)
		if err != nil {
			return err
		}
		p.link = l
	}
	// The wait for the broker's word has a deadline of its own; a caller that
	// goes away ends it by ending the connection.
	conn := p.link.conn.Conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := p.link.wait(p.link.client.Publish(topic, 1, retained, payload)); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

func (p *Publisher) drop() {
	if p.link != nil {
		p.link.close()
		p.link = nil
	}
}

// Close waits for a message on its way and ends the connection.
func (p *Publisher) Close() error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.drop()
	return nil
}
