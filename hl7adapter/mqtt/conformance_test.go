package mqtt

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

func TestFeedConforms(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply string
	}{{"silent", ""}, {"replying", "ack/{site}"}} {
		t.Run(c.name, func(t *testing.T) {
			broker := startBroker(t)
			feedtest.Run(t, feedtest.Subject{Answers: c.reply != "", Open: func(t testing.TB, p feed.Policy) feedtest.Site {
				s := &site{t: t, broker: broker, proxy: startProxy(t, broker.address)}
				s.config = testConfig(s.proxy.address())
				s.config.Policy, s.config.Reply, s.config.MaxMessage = p, c.reply, 256<<10
				s.tag = strings.ToUpper(strings.ReplaceAll(s.config.Broker.ClientID[len("test-feed-"):], "-", ""))
				s.config.Topics = []string{"adt" + s.tag + "/{site}"}
				if c.reply != "" {
					s.config.Reply = "ack" + s.tag + "/{site}"
				}
				session(t, s.config)
				return s
			}})
		})
	}
}

// site is some topics at a broker.
type site struct {
	t      testing.TB
	broker *mosquitto
	proxy  *proxy
	config Config
	tag    string
	next   atomic.Int64
}

func (s *site) Feed() (feedtest.Feed, error) { return New(s.config, quiet) }

func (s *site) Peer() feedtest.Peer {
	code := fmt.Sprintf("RZZ%02d", s.next.Add(1))
	p := &publisher{site: s, code: code}
	if s.config.Reply == "" {
		p.sender = newSender(s.t, testBroker(s.broker.address))
	} else {
		p.sender = newSender(s.t, testBroker(s.broker.address), "ack"+s.tag+"/"+code)
	}
	return p
}

// publisher is a sender with a site, and so with replies, of its own.
type publisher struct {
	*sender
	site *site
	code string
}

func (p *publisher) Close() error { return nil }

func (p *publisher) Send(ctx context.Context, body []byte) ([]byte, error) {
	for len(p.heard) > 0 {
		<-p.heard // of what was sent again
	}
	before := p.site.proxy.acknowledged(body)
	if err := p.link.wait(p.link.publish("adt"+p.site.tag+"/"+p.code, body)); err != nil {
		return nil, err
	}
	answered := p.heard
	if p.site.config.Reply == "" || silent(body) {
		answered = nil
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case m := <-answered:
			return m.Payload(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
			if answered == nil && p.site.proxy.acknowledged(body) > before {
				return p.unexpected(), nil
			}
		}
	}
}

// unexpected returns a reply where there should be none.
func (p *publisher) unexpected() []byte {
	select {
	case m := <-p.heard:
		return m.Payload()
	default:
		return nil
	}
}

// silent says whether body asks for no acknowledgement.
func silent(body []byte) bool {
	m, err := hl7.Parse(body)
	return err == nil && (m.Get("MSH-9.1").Is("ACK") || m.Get("MSH-15").Is("NE") && m.Get("MSH-16").Is("NE"))
}

func (s *site) Misbehaviour() map[string]func(context.Context) error {
	odd := newSender(s.t, testBroker(s.broker.address))
	publish := func(payload string) func(context.Context) error {
		return func(context.Context) error {
			return odd.link.wait(odd.link.publish("adt"+s.tag+"/ODD", []byte(payload)))
		}
	}
	good := string(feedtest.ADT("odd"))
	spoil := func(packet string) func(context.Context) error {
		return func(ctx context.Context) error {
			s.proxy.mu.Lock()
			s.proxy.spoil = func() []byte { return []byte(packet) }
			s.proxy.mu.Unlock()
			return publish(good)(ctx)
		}
	}
	return map[string]func(context.Context) error{
		"nothing in it":            publish(""),
		"noise":                    publish("noise\x00\xff"),
		"an MLLP frame":            publish("\v" + good + "\x1c\r"),
		"a message over the limit": publish(good + strings.Repeat("x", 300<<10)),
		"noise over the limit":     publish(strings.Repeat("x", 300<<10)),
		"a topic without a site":   func(context.Context) error { return odd.link.wait(odd.link.publish("adt"+s.tag+"/-", []byte(good))) },
		"a topic of another script": func(context.Context) error {
			return odd.link.wait(odd.link.publish("adt"+s.tag+"/ż ó", []byte(good)))
		},
		"QoS 0": func(context.Context) error {
			return odd.link.wait(odd.link.client.Publish("adt"+s.tag+"/ODD", 0, false, good))
		},
		"QoS 2": func(context.Context) error {
			return odd.link.wait(odd.link.client.Publish("adt"+s.tag+"/ODD", 2, false, good))
		},
		"a retained message": func(context.Context) error {
			return odd.link.wait(odd.link.client.Publish("adt"+s.tag+"/ODD", 1, true, good))
		},
		"very many at once": func(context.Context) error {
			var sent []paho.Token
			for i := range 200 {
				sent = append(sent, odd.link.publish("adt"+s.tag+"/ODD", feedtest.ADT(fmt.Sprint("flood", i))))
			}
			for _, t := range sent {
				if err := odd.link.wait(t); err != nil {
					return err
				}
			}
			return nil
		},
		"a line that is cut": func(context.Context) error {
			s.proxy.cut()
			return nil
		},
		"a packet that is none":       spoil("\xff\xff\xff\xff\xff\xff"),
		"a packet of another kind":    spoil("\x10\x02\x00\x00"),
		"half a packet":               spoil("\x32\x40\x00\x03adt"),
		"a topic longer than it is":   spoil("\x32\x05\xff\xffadt"),
		"an answer to no question":    spoil("\x90\x03\x12\x34\x01"),
		"an answer longer than it is": spoil("\x90\xff\xff\xff\x7f"),
		"a client of the same name": func(ctx context.Context) error {
			other := s.config.Broker
			other.Address = s.broker.address
			l, err := other.connect(ctx, longestPacket, func(paho.Message) {})
			if err == nil {
				l.close()
			}
			return err
		},
	}
}
