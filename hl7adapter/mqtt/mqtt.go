// Package mqtt takes HL7 v2 messages from a broker, one in each publication. It
// is the only door to paho.
//
// # What the broker keeps
//
// The feed subscribes with QoS 1 in a session that the broker keeps. A
// publication is acknowledged to the broker when its message is on disk, or
// refused for good, and not before; after a break or a restart the broker sends
// again what was not acknowledged. Before the first connection there is no
// session, and nothing is kept for us. Whether a broker keeps sessions over a
// restart of its own is up to its configuration.
//
// # Back-pressure
//
// MQTT 3.1.1 has no way to say slow down; but a broker may send only so many
// messages ahead of their acknowledgements (mosquitto by max_inflight_messages, 20
// unless set). Where it sends more than the feed takes ahead, nothing more is read
// from the connection.
//
// # Acknowledgement messages
//
// With Reply set, the acknowledgement is published there with QoS 1, over a
// connection of its own, before the broker gets its own. A break between the two
// repeats both: the journal knows the message again and has the same
// acknowledgement for it.
package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/semaphore"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Feed is a subscriber.
type Feed struct {
	config   Config
	filters  []filter
	counters feed.Counters
	log      *slog.Logger

	oddTopics, retained, unsafe, silent feed.Occasional
}

// New returns a feed that connects when it runs. The broker may come and go.
func New(c Config, log *slog.Logger) (*Feed, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mqtt feed: %w", err)
	}
	f := &Feed{config: c, log: log.With("feed", c.Name)}
	for _, t := range c.Topics {
		parsed, err := parseFilter(t)
		if err != nil {
			return nil, fmt.Errorf("mqtt feed: topics: %q: %w", t, err)
		}
		f.filters = append(f.filters, parsed)
	}
	return f, nil
}

// Stats tells what was counted so far.
func (f *Feed) Stats() feed.Stats { return f.counters.Snapshot() }

// Run takes messages until ctx is done, and connects whenever it is not
// connected, after a pause that grows while that is of no use, and with jitter.
// A message that is being accepted at the end is finished.
func (f *Feed) Run(ctx context.Context, accept feed.Accept) error {
	accept, undrain := feed.Drain(ctx, f.config.Drain, accept)
	defer undrain()
	in := feed.NewIntake(f.config.Name, f.config.Policy, accept, &f.counters, f.log)
	b := f.config.Broker
	if b.PasswordFile != "" && b.TLS == nil {
		f.log.Warn("the password crosses the network unprotected, set tls", "broker", b.Address)
	}
	pause := feed.Backoff{Min: b.RetryMin, Max: b.RetryMax}
	first, short, said := true, 0, ""
	for ctx.Err() == nil {
		begun := time.Now()
		connected, err := f.visit(ctx, in, first)
		if ctx.Err() != nil {
			break
		}
		lasted := time.Since(begun)
		if connected {
			first, said = false, ""
		}
		if connected && lasted < b.RetryMax {
			short++
		} else {
			short = 0
		}
		if lasted >= b.RetryMax {
			pause.Reset()
		}
		switch {
		case short == usualSuspicion:
			f.log.Warn("connections end soon after they begin: does another client use our client id?", "broker", b.Address, "client_id", b.ClientID, "err", err)
		case err.Error() != said:
			f.log.Warn("not connected, trying again", "broker", b.Address, "err", err)
		}
		said = err.Error()
		pause.Wait(ctx)
	}
	f.log.Info("left the broker", "broker", b.Address)
	return nil
}

// usualSuspicion is after how many short connections in a row we suspect that two
// clients push each other out.
const usualSuspicion = 4

// visit connects, and serves what comes until the connection ends or ctx does.
// It says whether it was connected.
func (f *Feed) visit(ctx context.Context, in *feed.Intake, first bool) (bool, error) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	q := newQueue(f.config)
	l, err := f.config.Broker.connect(ctx, f.config.MaxMessage+1+longestHead, func(m paho.Message) { q.put(ctx, m) })
	if err != nil {
		return false, err
	}
	f.counters.Opened()
	defer f.counters.Closed()
	var asking sync.WaitGroup
	defer asking.Wait()
	defer l.close()
	defer leave() // before close, which waits for put
	if !l.resumed && !first {
		f.log.Warn("the broker has forgotten our session: what was published meanwhile did not reach us", "broker", f.config.Broker.Address)
	}
	replies := l
	if f.config.Reply != "" {
		if replies, err = f.config.Broker.connectReplies(ctx); err != nil {
			return true, fmt.Errorf("for replies: %w", err)
		}
		defer replies.close()
	}
	f.log.Info("connected", "broker", f.config.Broker.Address, "resumed", l.resumed)
	// A broker that kept our session may send more than the queue holds before it
	// answers the subscription, so that is not waited for.
	subscribed := make(chan error, 1)
	if !l.resumed || first {
		asking.Go(func() { subscribed <- l.subscribe(f.filters) })
	}
	return true, f.serve(ctx, in, l, replies, q, subscribed)
}

// serve takes one message after the other. When the connection ends, waiting for
// intake to be durable does too: the message comes again over the next one.
func (f *Feed) serve(ctx context.Context, in *feed.Intake, l, replies *link, q *queue, subscribed <-chan error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, end := range []*link{l, replies} {
		defer context.AfterFunc(end.life, func() { cancel(end.ended()) })()
	}
	kept := make(chan taken, f.config.Ahead)
	var confirming sync.WaitGroup
	defer confirming.Wait()
	defer close(kept)
	confirming.Go(func() { confirm(kept, replies, q, cancel) })
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-subscribed:
			if err != nil {
				return cmp.Or(l.ended(), err)
			}
		case m := <-q.messages:
			sent, err := f.take(ctx, in, replies, m)
			if err != nil {
				return cmp.Or(l.ended(), err)
			}
			kept <- taken{m, sent}
		}
	}
}

// taken is a message that intake has decided on, and the replies that the broker
// has not yet confirmed.
type taken struct {
	message paho.Message
	replies []paho.Token
}

// confirm acknowledges messages to the broker, in order, each when it has the
// replies. The next message does not wait for that: a broker that gathers small
// packets (mosquitto, unless set_tcp_nodelay) takes 40 ms for each word.
func confirm(kept <-chan taken, replies *link, q *queue, cancel context.CancelCauseFunc) {
	var failed error
	for t := range kept {
		for _, reply := range t.replies {
			if failed != nil {
				break
			}
			if err := replies.wait(reply); err != nil {
				failed = fmt.Errorf("%w: %w", errReply, err)
				cancel(failed)
			}
		}
		if failed == nil {
			t.message.Ack()
		}
		q.done(t.message)
	}
}

// take has a message accepted, and replies where that is asked for.
func (f *Feed) take(ctx context.Context, in *feed.Intake, replies *link, m paho.Message) ([]paho.Token, error) {
	if len(m.Payload()) == 0 {
		f.counters.Framing(feed.Empty) // what clears a retained message, too
		return nil, nil
	}
	site := f.remark(m)
	message := feed.Message{Peer: f.config.Broker.Address, Site: site, Received: time.Now(), Body: m.Payload()}
	var r feed.Reply
	if len(message.Body) > f.config.MaxMessage {
		r = in.TooLong(message)
	} else {
		var err error
		if r, err = in.Take(ctx, message); err != nil {
			return nil, err
		}
	}
	return f.reply(replies, site, r)
}

// remark notes what is odd about a publication, and returns its site. A topic may
// name a patient, so it is neither logged nor passed on.
func (f *Feed) remark(m paho.Message) string {
	if m.Qos() == 0 {
		f.unsafe.Warn(f.log, "published with QoS 0: messages are lost while we are not connected", "broker", f.config.Broker.Address)
	}
	if m.Retained() {
		f.retained.Warn(f.log, "published as retained: the broker sends it again with each subscription", "broker", f.config.Broker.Address)
	}
	for _, filter := range f.filters {
		site, ok := filter.match(m.Topic())
		if !ok {
			continue
		}
		if filter.site >= 0 && site == "" {
			f.oddTopics.Warn(f.log, "topic without a site's code where it should be", "filter", filter.String(), "level", filter.site+1)
		}
		return site
	}
	// Taken all the same: it was sent to us, if under an earlier configuration,
	// and what is refused here nobody sends again.
	f.oddTopics.Warn(f.log, "topic that is not subscribed to: the broker remembers a subscription of an earlier configuration",
		"broker", f.config.Broker.Address, "client_id", f.config.Broker.ClientID)
	return ""
}

var errReply = errors.New("reply not published")

// reply publishes the acknowledgements, where there are any and somebody listens.
func (f *Feed) reply(replies *link, site string, r feed.Reply) (sent []paho.Token, err error) {
	if f.config.Reply == "" || len(r.Acks) == 0 {
		return nil, nil
	}
	topic := replyTopic(f.config.Reply, site)
	if topic == "" {
		f.silent.Warn(f.log, "no reply, since the topic of the message names no site")
		if r.Verdict == feed.Postponed { // nobody hears that: the broker is to send it again
			return nil, fmt.Errorf("%w: the topic of the message names no site", errReply)
		}
		return nil, nil
	}
	for _, ack := range r.Acks {
		sent = append(sent, replies.publish(topic, ack))
	}
	return sent, nil
}

// queue is what was taken from the broker and is not yet kept.
type queue struct {
	messages chan paho.Message
	room     *semaphore.Weighted // bytes
	most     int64
}

func newQueue(c Config) *queue {
	most := int64(max(c.AheadBytes, c.MaxMessage))
	return &queue{messages: make(chan paho.Message, c.Ahead), room: semaphore.NewWeighted(most), most: most}
}

// put waits while there is no room: nothing more is read from the broker then.
// If that lasts, the broker's answer to a ping is not read either, and the
// connection is made anew; nothing is lost by that.
func (q *queue) put(ctx context.Context, m paho.Message) {
	if q.room.Acquire(ctx, q.weight(m)) != nil {
		return
	}
	select {
	case q.messages <- m:
	case <-ctx.Done():
	}
}

func (q *queue) done(m paho.Message) { q.room.Release(q.weight(m)) }

func (q *queue) weight(m paho.Message) int64 { return min(int64(len(m.Payload())), q.most) }
