package mllp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// SenderConfig is one receiver of messages.
type SenderConfig struct {
	Address    string        `yaml:"address"`     // host and port
	TLS        *feed.TLS     `yaml:"tls"`         // nil for plain TCP
	AckTimeout time.Duration `yaml:"ack_timeout"` // for one message, from dialling to its acknowledgement
	KeepAlive  time.Duration `yaml:"keep_alive"`  // silence before TCP asks whether the peer lives
	Release2   bool          `yaml:"release2"`    // wait for the receiver's commit block too
}

// DefaultSenderConfig returns a receiver that lacks only its address.
func DefaultSenderConfig() SenderConfig {
	return SenderConfig{AckTimeout: 30 * time.Second, KeepAlive: 30 * time.Second}
}

// Validate names the first setting that is wrong.
func (c SenderConfig) Validate() error {
	if err := validAddress(c.Address); err != nil {
		return err
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if c.AckTimeout <= 0 {
		return fmt.Errorf("ack_timeout: %v, want more than 0", c.AckTimeout)
	}
	if c.KeepAlive <= 0 {
		return fmt.Errorf("keep_alive: %v, want more than 0", c.KeepAlive)
	}
	return nil
}

// Why a message has no acknowledgement. Whether it arrived is then not known;
// it is to be sent again, with the same control id.
var (
	ErrNoReply = errors.New("no acknowledgement")
	ErrForeign = errors.New("acknowledgement of a message that was not sent")
	ErrNak     = errors.New("receiver could not keep the message")
)

// Sender sends messages to one receiver, one at a time, over a connection that
// it keeps while all is well. An acknowledgement counts for the message whose
// control id it bears and for no other; after any doubt the connection is
// dropped, so that a late acknowledgement has nowhere to arrive.
type Sender struct {
	config SenderConfig
	turn   chan struct{} // held by who sends
	link   *link         // nil while there is no connection
}

// NewSender returns a sender that dials when it has something to send.
func NewSender(c SenderConfig) (*Sender, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mllp sender: %w", err)
	}
	return &Sender{config: c, turn: make(chan struct{}, 1)}, nil
}

// Send sends one message and waits for its acknowledgement, whatever that
// says: a reply that is not positive is no error. In enhanced mode the reply is
// the application's where MSH-16 asks for one, else the accept acknowledgement.
func (s *Sender) Send(ctx context.Context, message []byte) (hl7.Reply, error) {
	m, err := hl7.Parse(message)
	if err != nil {
		return hl7.Reply{}, fmt.Errorf("send: %w", err)
	}
	h := m.Header()
	if len(h.ControlID) == 0 {
		return hl7.Reply{}, errors.New("send: no control id in MSH-10 to know the acknowledgement by")
	}
	want, err := expectedOf(h, s.config.Release2)
	if err != nil {
		return hl7.Reply{}, fmt.Errorf("send: %w", err)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return hl7.Reply{}, fmt.Errorf("send to %s: %w", s.config.Address, ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.AckTimeout)
	defer cancel()
	reply, err := s.send(ctx, message, want)
	if err != nil {
		s.drop()
		return hl7.Reply{}, fmt.Errorf("send to %s: %w", s.config.Address, err)
	}
	return reply, nil
}

// send sends over the connection that is there, and once more over a new one
// when the receiver had closed it: many close without a word.
func (s *Sender) send(ctx context.Context, message []byte, want expected) (hl7.Reply, error) {
	kept := s.link != nil && !s.link.stale()
	if !kept {
		if err := s.dial(ctx); err != nil {
			return hl7.Reply{}, err
		}
	}
	reply, err := s.link.exchange(ctx, message, want)
	if kept && closed(err) && ctx.Err() == nil {
		if err := s.dial(ctx); err != nil {
			return hl7.Reply{}, err
		}
		reply, err = s.link.exchange(ctx, message, want)
	}
	if err != nil && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrNak) {
		err = fmt.Errorf("%w: %w", ErrNoReply, err)
	}
	return reply, err
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.Errno(10054)) || errors.Is(err, syscall.Errno(10053))
}

func (s *Sender) dial(ctx context.Context) error {
	s.drop()
	conn, err := dial(ctx, s.config.Address, s.config.TLS, s.config.KeepAlive)
	if err != nil {
		return err
	}
	s.link = newLink(conn)
	return nil
}

func (s *Sender) drop() {
	if s.link != nil {
		s.link.conn.Close()
		s.link = nil
	}
}

// Close waits for a message on its way and ends the connection.
func (s *Sender) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.drop()
	return nil
}

// expected is what must come back for a message.
type expected struct {
	id          []byte
	commit      bool // a commit block of release 2
	application bool // the application's word, after an accept acknowledgement
}

// expectedOf reads what the message asks for. Only AL makes the sender wait for
// the application after CA, since of what may never come nothing can be learnt;
// and a message that asks for no word of its success can not be sent at all.
func expectedOf(h hl7.Header, release2 bool) (expected, error) {
	commit, application := h.AcceptAcknowledgement, h.Acknowledgement
	asks := func(conditions ...string) bool {
		for _, c := range conditions {
			if commit.Is(c) || application.Is(c) {
				return true
			}
		}
		return false
	}
	if asks("NE", "ER") && !asks("AL", "SU") {
		return expected{}, errors.New("MSH-15 and MSH-16 ask for no acknowledgement, want AL in one of them or both absent")
	}
	return expected{id: h.ControlID, commit: release2, application: application.Is("AL")}, nil
}

// link is one connection of a sender.
type link struct {
	conn   net.Conn
	gate   gate
	reader *Reader
	sent   [][]byte // control ids of the last messages, for surplus acknowledgements
	used   time.Time
	spent  bool // its time was over: the gate may yet be shut
	out    []byte
}

const (
	longestReply = 1 << 20
	keptIDs      = 64
	restless     = time.Second // after which an unused connection may have been closed
)

func newLink(conn net.Conn) *link {
	l := &link{gate: gate{conn: conn}, conn: conn, used: time.Now()}
	l.reader = newReader(conn, limits{frame: longestReply, endWait: endWait}, l.gate.expire, nil)
	return l
}

// stale says whether the peer has closed a connection that lay unused.
func (l *link) stale() bool {
	if l.spent {
		return true
	}
	if time.Since(l.used) < restless || l.reader.at < l.reader.end {
		return false
	}
	l.gate.until(time.Time{})
	err := l.reader.fill(time.Now().Add(time.Millisecond))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// exchange writes message and reads until all that is expected is there.
func (l *link) exchange(ctx context.Context, message []byte, want expected) (hl7.Reply, error) {
	end, _ := ctx.Deadline()
	if err := l.conn.SetWriteDeadline(end); err != nil {
		return hl7.Reply{}, err
	}
	l.gate.until(end)
	stop := context.AfterFunc(ctx, func() {
		l.gate.close()
		l.conn.SetWriteDeadline(longAgo)
	})
	defer func() { l.spent = !stop() }()
	l.out = AppendFrame(l.out[:0], message)
	if _, err := l.conn.Write(l.out); err != nil {
		return hl7.Reply{}, err
	}
	l.remember(want.id)
	for {
		f, err := l.reader.Next(ctx)
		if err != nil {
			return hl7.Reply{}, err
		}
		switch {
		case f.Commit == commitNak && want.commit:
			return hl7.Reply{}, ErrNak
		case f.Commit == commitAck:
			want.commit = false
			continue
		case f.Commit != 0 || len(f.Body) == 0 || f.Long:
			continue
		}
		reply, err := hl7.ParseAck(f.Body)
		if err != nil {
			continue // not an acknowledgement, so not ours to judge
		}
		id := bytes.TrimRight(reply.ControlID, " ")
		if !bytes.Equal(id, bytes.TrimRight(want.id, " ")) {
			if l.knows(id) {
				continue // one more for a message that has had its own
			}
			return hl7.Reply{}, ErrForeign
		}
		if reply.Code == hl7.CA && want.application {
			continue
		}
		l.used = time.Now()
		return reply, nil
	}
}

func (l *link) remember(id []byte) {
	if len(l.sent) == keptIDs {
		l.sent = append(l.sent[:0], l.sent[1:]...)
	}
	l.sent = append(l.sent, bytes.Clone(bytes.TrimRight(id, " ")))
}

// knows says whether a message of that id was sent on this connection.
func (l *link) knows(id []byte) bool {
	for _, s := range l.sent {
		if bytes.Equal(s, id) {
			return true
		}
	}
	return false
}
