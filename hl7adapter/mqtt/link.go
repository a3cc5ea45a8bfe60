package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// link is one connection to a broker, from its beginning to its end. It never
// connects again by itself, because of what paho does then:
//
//   - IsConnected stays true while the broker is down; life does not.
//   - What is published during an outage is queued and sent in another order
//     (89 of 100 messages were out of place); here it is an error, at once.
//   - It waits up to ten minutes between attempts, without chance.
//   - An acknowledgement for a connection that has ended is dropped in silence,
//     which is right only if the message comes again; so each connection has a
//     client of its own, and nothing is taken over.
type link struct {
	client  paho.Client
	conn    *limited
	broker  Broker
	resumed bool            // the broker has kept our session
	life    context.Context // ends when the connection does, with the cause
}

// connect opens the link of the session that the broker keeps. What comes in is
// given to receive, one message at a time, also before connect returns: a broker
// that kept our session begins at once. While receive does not return nothing else
// is read, so it must not wait for the broker.
func (b Broker) connect(ctx context.Context, max int, receive func(paho.Message)) (*link, error) {
	return b.open(ctx, b.ClientID, true, max, receive)
}

// connectReplies opens a link for what we publish, of which the broker keeps
// nothing. Over the other one the broker's word would have to wait behind the
// messages that we do not read.
func (b Broker) connectReplies(ctx context.Context) (*link, error) {
	return b.open(ctx, b.ClientID+replySuffix, false, longestOther, func(paho.Message) {})
}

// replySuffix is behind our client id in that of the link for replies.
const replySuffix = "-reply"

func (b Broker) open(ctx context.Context, clientID string, keep bool, max int, receive func(paho.Message)) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, b.ConnectTimeout)
	defer cancel()
	password, err := b.password()
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancelCause(context.Background())
	l := &link{broker: b, life: life}
	var conn *limited
	untie := func() bool { return true } // the connection from ctx
	o := paho.NewClientOptions()
	o.AddBroker("tcp://" + b.Address) // only to have one: we dial ourselves
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		raw, err := b.dial(ctx)
		if err != nil {
			return nil, err
		}
		conn = &limited{Conn: raw, max: max, write: b.WriteTimeout, silent: 2*b.KeepAlive + b.WriteTimeout, ended: end}
		untie = context.AfterFunc(ctx, func() { raw.Close() })
		return conn, nil
	})
	o.SetClientID(clientID)
	o.SetUsername(b.User)
	o.SetPassword(password)
	// 3.1.1 and not, after any refusal, once more with 3.1.
	o.SetProtocolVersion(4)
	// The broker keeps our subscriptions and what we have not acknowledged.
	o.SetCleanSession(!keep)
	o.SetAutoAckDisabled(true)
	// In order, and one at a time.
	o.SetOrderMatters(true)
	// paho's file store does not sync, and panics on any error of the disk. What
	// must not be lost is in the broker until it is in the journal.
	o.SetStore(paho.NewMemoryStore())
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetResumeSubs(false)
	o.SetConnectTimeout(b.ConnectTimeout)
	o.SetWriteTimeout(b.WriteTimeout) // 0, the default, is for ever
	o.SetKeepAlive(b.KeepAlive)
	// The answer to a ping may have to wait behind a large message.
	o.SetPingTimeout(b.KeepAlive)
	// Not the handler of a subscription: those are not there yet when the
	// messages of a kept session come.
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { receive(m) })
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { end(err) })
	l.client = paho.NewClient(o)
	token := l.client.Connect()
	<-token.Done() // when ctx ends at the latest, since all of it does
	if err := token.Error(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", b.Address, err)
	}
	untie()
	conn.up.Store(true)
	l.conn = conn
	l.resumed = token.(*paho.ConnectToken).SessionPresent()
	return l, nil
}

// dial opens the connection below MQTT.
func (b Broker) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: b.KeepAlive, Interval: max(b.KeepAlive/3, time.Second), Count: 3}}
	conn, err := d.DialContext(ctx, "tcp", b.Address)
	if err != nil || b.TLS == nil {
		return conn, err
	}
	host, _, err := net.SplitHostPort(b.Address)
	if err != nil {
		conn.Close()
		return nil, err
	}
	config, err := b.TLS.Dialling(host)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	return secured, nil
}

// Why a broker's word did not come.
var (
	errNoWord = errors.New("no answer from the broker")
	errEnded  = errors.New("connection ended")
)

// wait waits for the broker's word on what was sent.
func (l *link) wait(token paho.Token) error {
	t := time.NewTimer(l.broker.WriteTimeout)
	defer t.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-l.life.Done():
		return errEnded
	case <-t.C:
		return errNoWord
	}
}

// subscribe subscribes to all filters with QoS 1, or fails. The broker may say
// yes to less than was asked.
func (l *link) subscribe(filters []filter) error {
	ask := make(map[string]byte, len(filters))
	for _, f := range filters {
		ask[f.String()] = 1
	}
	token := l.client.SubscribeMultiple(ask, nil)
	if err := l.wait(token); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for topic, qos := range token.(*paho.SubscribeToken).Result() {
		if qos != 1 {
			return fmt.Errorf("subscribe to %q: refused by the broker, want its access rules to let %q read there with QoS 1", topic, l.broker.ClientID)
		}
	}
	return nil
}

// publish publishes with QoS 1. The broker has the message when wait says so of the
// token. Nothing is kept for later: after an error it is not known to have arrived.
func (l *link) publish(topic string, payload []byte) paho.Token {
	return l.client.Publish(topic, 1, false, payload)
}

// ended returns why the connection ended, nil while it goes on.
func (l *link) ended() error { return context.Cause(l.life) }

// goodbye is how long the end of a link may take.
const goodbye = time.Second

// close says goodbye, so that what was acknowledged before is sent, and so that
// the broker knows that we left.
func (l *link) close() {
	l.conn.polite.Store(true)
	l.client.Disconnect(uint(goodbye / time.Millisecond))
}
