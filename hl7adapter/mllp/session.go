package mllp

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// session is one connection on which messages come in and acknowledgements go
// out, in order, one message at a time.
type session struct {
	conn     net.Conn
	reader   *Reader
	intake   *feed.Intake
	counters *feed.Counters
	config   *Config

	gate   gate
	watch  time.Duration // see limits
	frames int           // complete ones read
	out    []byte        // the last frame written
}

func newSession(conn net.Conn, c *Config, l limits, in *feed.Intake, count *feed.Counters) *session {
	s := &session{conn: conn, intake: in, counters: count, config: c, gate: gate{conn: conn}, watch: l.watch}
	s.reader = newReader(conn, l, s.gate.expire, count.Framing)
	return s
}

// run serves the connection until its peer ends it, or ctx does. What was read
// is answered, or it is not acknowledged at all.
func (s *session) run(ctx context.Context) error {
	defer s.reader.release()
	defer context.AfterFunc(ctx, s.gate.close)()
	present, gone := context.WithCancel(ctx)
	defer gone()
	err := s.serve(present, newWatch(s.reader, &s.gate, s.watch, gone))
	s.leave()
	switch {
	case ctx.Err() != nil:
		return nil
	case present.Err() != nil:
		return errGone
	}
	return err
}

var errGone = errors.New("peer left before its message was accepted")

func (s *session) serve(ctx context.Context, w *watch) error {
	for ctx.Err() == nil {
		f, err := s.reader.Next(ctx)
		if err != nil {
			return err
		}
		s.frames++
		if f.Commit != 0 {
			continue // release 2's receipt for one of our acknowledgements
		}
		if len(f.Body) == 0 {
			s.counters.Framing(feed.Empty)
			continue
		}
		reply, err := s.take(ctx, f, w)
		if err != nil {
			return err
		}
		if err := s.answer(reply); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) take(ctx context.Context, f Frame, w *watch) (feed.Reply, error) {
	m := feed.Message{Peer: s.conn.RemoteAddr().String(), Received: time.Now(), Body: f.Body}
	if f.Long {
		return s.intake.TooLong(m), nil
	}
	w.begin()
	defer w.end()
	return s.intake.Take(ctx, m)
}

// answer writes each acknowledgement in one write: there are senders that do
// one read for each.
func (s *session) answer(r feed.Reply) error {
	if s.config.Release2 && r.Verdict != feed.Ignored {
		block := byte(commitNak)
		if r.Verdict == feed.Accepted {
			block = commitAck
		}
		if err := s.write([]byte{block}); err != nil {
			return err
		}
	}
	for _, ack := range r.Acks {
		if err := s.write(ack); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) write(body []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout)); err != nil {
		return err
	}
	s.out = AppendFrame(s.out[:0], body)
	_, err := s.conn.Write(s.out)
	return err
}

// leave closes the connection so that the last acknowledgement arrives. Closed
// with bytes unread, TCP would reset it and might take the acknowledgement
// away from the peer again; so we say that we are done, and read a little on.
func (s *session) leave() {
	defer s.conn.Close()
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	s.conn.SetReadDeadline(time.Now().Add(lingering))
	io.Copy(io.Discard, io.LimitReader(s.conn, mostNoise))
}

const lingering = 500 * time.Millisecond

// harmless says whether the connection ended as connections do. One that never
// carried a frame is a probe or a scanner, whatever it ended with.
func (s *session) harmless(err error) bool {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, ErrIdle) {
		return true
	}
	return s.frames == 0 && !errors.Is(err, ErrUnended)
}
