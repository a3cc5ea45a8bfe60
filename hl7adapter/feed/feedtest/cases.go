package feedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

var cases = []kase{
	{name: "tells what it knows of a message", check: tells},
	{name: "keeps every byte", check: keepsEveryByte},
	{name: "acknowledges only what is kept", check: acknowledgesOnlyKept},
	{name: "sends the acknowledgement that accept returns", answers: true, check: sendsReturned},
	{name: "sends none where none is asked for", answers: true, check: sendsNone},
	{name: "holds while the journal refuses", check: holds},
	{name: "answers AE or CE while the journal refuses", answers: true, policy: feed.Policy{Hold: feed.Nack}, check: nacks},
	{name: "never acknowledges what it held when it stops", check: stopsWhileHolding},
	{name: "rejects what accept will never take", check: refuses},
	{name: "takes again after a restart what was not kept", check: restarts},
	{name: "answers at a stop what is in hand", check: drains},
	{name: "keeps the order of a peer", check: keepsOrder},
	{name: "serves many peers", check: servesMany},
	{name: "survives its peers", check: survives},
	{name: "accepts what it can not read", check: setsAside},
	{name: "rejects what it can not read", policy: feed.Policy{Unreadable: feed.RejectUnreadable}, check: rejectsUnreadable},
	{name: "accepts what is not ADT", check: ignoresOther},
	{name: "rejects what is not ADT", policy: feed.Policy{Other: feed.RejectOther}, check: rejectsOther},
	{name: "never answers an acknowledgement", check: neverAnswersAcks},
}

// tells: feed, peer, time and proposed acknowledgement are all there.
func tells(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	before := time.Now()
	ack, err := s.send(ctx, p, ADT("tells"))
	if err != nil {
		return err
	}
	m, err := take(ctx, "message kept", s.journal.kept)
	if err != nil {
		return err
	}
	if m.Feed == "" || m.Peer == "" {
		return fmt.Errorf("feed %q, peer %q, want both named", m.Feed, m.Peer)
	}
	if m.Received.Before(before) || m.Received.After(time.Now()) {
		return fmt.Errorf("received at %v, want between %v and now", m.Received, before)
	}
	if s.answers {
		if err := errors.Join(wantAck(m.Ack, hl7.AA, "tells"), wantSame(ack, m.Ack)); err != nil {
			return err
		}
	}
	st := s.running.feed.Stats()
	if st.Accepted != 1 || st.Frames != 1 || st.LastMessage.Before(before) {
		return fmt.Errorf("stats say %d accepted of %d, last at %v, want 1 of 1, now", st.Accepted, st.Frames, st.LastMessage)
	}
	return nil
}

func keepsEveryByte(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	for name, body := range Exact() {
		if _, err := s.send(ctx, p, body); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m, err := take(ctx, "message kept", s.journal.kept)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !bytes.Equal(m.Body, body) {
			return fmt.Errorf("%s: kept %d bytes, not the %d that were sent", name, len(m.Body), len(body))
		}
	}
	return nil
}

// acknowledgesOnlyKept: while accept has not returned, the peer hears nothing;
// then it hears what only accept could know.
func acknowledgesOnlyKept(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	s.journal.acknowledge(stamped)
	release := s.journal.block()
	defer release()
	out := later(ctx, s.send, p, ADT("only"))
	if _, err := take(ctx, "message offered", s.journal.offered); err != nil {
		return err
	}
	select {
	case got := <-out:
		return fmt.Errorf("peer got %q, %v before accept had returned", got.ack, got.err)
	case <-time.After(50 * time.Millisecond): // for an answer that must not come
	}
	release()
	got, err := take(ctx, "acknowledgement", out)
	if err != nil || got.err != nil {
		return errors.Join(err, got.err)
	}
	m, err := take(ctx, "message kept", s.journal.kept)
	if err != nil || !s.answers {
		return err
	}
	return wantSame(got.ack, stamped(m))
}

func sendsReturned(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	s.journal.acknowledge(stamped)
	for range 3 {
		ack, err := s.send(ctx, p, ADT("again"))
		if err != nil {
			return err
		}
		m, err := take(ctx, "message kept", s.journal.kept)
		if err != nil {
			return err
		}
		if err := wantSame(ack, stamped(m)); err != nil {
			return err
		}
	}
	return nil
}

// sendsNone: an unasked acknowledgement would be taken for the next message's.
func sendsNone(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	ack, err := s.send(ctx, p, Asking("silent", "NE", "NE"))
	if err != nil {
		return err
	}
	if len(ack) > 0 {
		return fmt.Errorf("peer got %q, want nothing", ack)
	}
	if ack, err = s.send(ctx, p, Asking("loud", "AL", "NE")); err != nil {
		return err
	}
	return wantAck(ack, hl7.CA, "loud")
}

func holds(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	s.journal.acknowledge(stamped)
	s.journal.answer(feed.ErrHold, errDisk, fmt.Errorf("append: %w", feed.ErrHold), nil)
	ack, err := s.send(ctx, p, ADT("held"))
	if err != nil {
		return err
	}
	m, err := take(ctx, "message kept", s.journal.kept)
	if err != nil {
		return err
	}
	if !bytes.Equal(m.Body, ADT("held")) {
		return errors.New("another message was kept")
	}
	if n := len(s.journal.offered); n < 4 {
		return fmt.Errorf("offered %d times, want 4: 3 refusals and the one that counts", n)
	}
	if s.answers {
		if err := wantSame(ack, stamped(m)); err != nil {
			return err
		}
	}
	// What came meanwhile was not lost, and no answer is left over.
	s.journal.acknowledge(nil)
	if ack, err = s.send(ctx, p, ADT("next")); err != nil || !s.answers {
		return err
	}
	return wantAck(ack, hl7.AA, "next")
}

func nacks(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	for _, c := range []struct {
		body []byte
		want hl7.AckCode
		then hl7.AckCode
	}{
		{ADT("nack"), hl7.AE, hl7.AA},
		{Asking("nack", "AL", "NE"), hl7.CE, hl7.CA},
		{Asking("nack", "ER", "AL"), hl7.CE, hl7.AA},
	} {
		for _, refusal := range []error{feed.ErrHold, errDisk} {
			s.journal.answer(refusal)
			ack, err := s.send(ctx, p, c.body)
			if err != nil {
				return err
			}
			if err := wantAck(ack, c.want, "nack"); err != nil {
				return err
			}
		}
		if n := len(s.journal.kept); n != 0 {
			return fmt.Errorf("kept %d messages, want 0", n)
		}
		s.journal.answer()
		ack, err := s.send(ctx, p, c.body)
		if err != nil {
			return err
		}
		if err := wantAck(ack, c.then, "nack"); err != nil {
			return err
		}
		<-s.journal.kept
	}
	return nil
}

// stopsWhileHolding: a stop ends the waiting, and the peer hears nothing.
func stopsWhileHolding(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	s.journal.answer(feed.ErrHold)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := later(ctx, s.send, p, ADT("stopped"))
	for range 2 {
		if _, err := take(ctx, "message offered", s.journal.offered); err != nil {
			return err
		}
	}
	if err := s.stop(); err != nil {
		return err
	}
	cancel()
	if got := <-out; got.err == nil {
		return fmt.Errorf("peer got %q for a message that was never kept", got.ack)
	}
	return nil
}

// refuses: a message that accept will never take does not stop the next.
func refuses(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	s.journal.answer(feed.ErrRefuse, nil)
	ack, err := s.send(ctx, p, ADT("refused"))
	if err != nil {
		return err
	}
	if s.answers {
		if err := wantAck(ack, hl7.AR, "refused"); err != nil {
			return err
		}
	}
	return s.stillServes(ctx, p)
}

// stillServes sends a good message, and wants it kept and acknowledged.
func (s *scene) stillServes(ctx context.Context, p Peer) error {
	ack, err := s.send(ctx, p, ADT("good"))
	if err != nil {
		return err
	}
	for {
		m, err := take(ctx, "good message kept", s.journal.kept)
		if err != nil {
			return err
		}
		if bytes.Equal(m.Body, ADT("good")) {
			break
		}
	}
	if !s.answers {
		return nil
	}
	return wantAck(ack, hl7.AA, "good")
}

func restarts(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	s.journal.answer(feed.ErrHold)
	out := later(ctx, s.send, p, ADT("restart"))
	if _, err := take(ctx, "message offered", s.journal.offered); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	s.journal.answer()
	if err := s.start(); err != nil {
		return err
	}
	got, err := take(ctx, "message taken after the restart", out)
	if err != nil || got.err != nil {
		return errors.Join(err, got.err)
	}
	m, err := take(ctx, "message kept", s.journal.kept)
	if err != nil {
		return err
	}
	if !bytes.Equal(m.Body, ADT("restart")) {
		return errors.New("the message has changed")
	}
	if !s.answers {
		return nil
	}
	return wantAck(got.ack, hl7.AA, "restart")
}

// drains: accept is in the middle of a message when the feed is told to stop.
// The peer hears of it, now or when it sends the message again.
func drains(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	release := s.journal.block()
	defer release()
	send := s.send
	if s.answers {
		send = func(ctx context.Context, p Peer, body []byte) ([]byte, error) { return p.Send(ctx, body) }
	}
	out := later(ctx, send, p, ADT("drained"))
	if _, err := take(ctx, "message offered", s.journal.offered); err != nil {
		return err
	}
	r := s.running
	r.cancel()
	release()
	if err := s.stop(); err != nil {
		return err
	}
	if len(s.journal.kept) == 0 {
		return errors.New("a stop took back what accept was given")
	}
	m := <-s.journal.kept
	if s.answers {
		got, err := take(ctx, "acknowledgement sent at the stop", out)
		if err != nil || got.err != nil {
			return errors.Join(err, got.err)
		}
		return wantSame(got.ack, m.Ack)
	}
	if err := s.start(); err != nil {
		return err
	}
	got, err := take(ctx, "message taken", out)
	return errors.Join(err, got.err)
}

func keepsOrder(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	const count = 50
	for i := range count {
		if _, err := s.send(ctx, p, ADT(fmt.Sprintf("order-%03d", i))); err != nil {
			return err
		}
	}
	for i := range count {
		m, err := take(ctx, "message kept", s.journal.kept)
		if err != nil {
			return err
		}
		if want := ADT(fmt.Sprintf("order-%03d", i)); !bytes.Equal(m.Body, want) {
			return fmt.Errorf("message %d was not the %dth that was sent", i, i)
		}
	}
	return nil
}

func servesMany(ctx context.Context, s *scene) error {
	const peers, each = 8, 10
	errs := make([]error, peers)
	var wg sync.WaitGroup
	for i := range peers {
		wg.Go(func() {
			p := s.site.Peer()
			defer p.Close()
			for n := range each {
				id := fmt.Sprintf("peer%d-%d", i, n)
				ack, err := s.send(ctx, p, ADT(id))
				if err == nil && s.answers {
					err = wantAck(ack, hl7.AA, id)
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if n := len(s.journal.kept); n != peers*each {
		return fmt.Errorf("kept %d messages, want %d", n, peers*each)
	}
	return nil
}

// survives: after each misbehaviour both a peer that was there before and a
// new one are served.
func survives(ctx context.Context, s *scene) error {
	before := s.site.Peer()
	defer before.Close()
	if err := s.stillServes(ctx, before); err != nil {
		return err
	}
	for name, misbehave := range s.site.Misbehaviour() {
		if err := misbehave(ctx); err != nil {
			return fmt.Errorf("%s: could not be done: %w", name, err)
		}
		after := s.site.Peer()
		err := errors.Join(s.stillServes(ctx, before), s.stillServes(ctx, after), after.Close())
		if err != nil {
			return fmt.Errorf("after %s: %w", name, err)
		}
	}
	return nil
}

// unreadableBody is no HL7, but is what someone sent.
var unreadableBody = []byte("this is no message\rat all\r")

func setsAside(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	ack, err := s.send(ctx, p, unreadableBody)
	if err != nil {
		return err
	}
	m, err := take(ctx, "unreadable message kept", s.journal.kept)
	if err != nil {
		return err
	}
	if !bytes.Equal(m.Body, unreadableBody) {
		return errors.New("an unreadable message is not kept as it came")
	}
	if s.answers {
		if err := wantAck(ack, hl7.AA, ""); err != nil {
			return err
		}
	}
	return s.stillServes(ctx, p)
}

func rejectsUnreadable(ctx context.Context, s *scene) error {
	return s.rejects(ctx, unreadableBody, "")
}

func rejectsOther(ctx context.Context, s *scene) error {
	return s.rejects(ctx, bytes.Replace(ADT("result"), []byte("ADT^A04^ADT_A01"), []byte("ORU^R01^ORU_R01"), 1), "result")
}

func (s *scene) rejects(ctx context.Context, body []byte, id string) error {
	p := s.site.Peer()
	defer p.Close()
	ack, err := s.send(ctx, p, body)
	if err != nil {
		return err
	}
	if s.answers {
		if err := wantAck(ack, hl7.AR, id); err != nil {
			return err
		}
	}
	if n := len(s.journal.offered); n != 0 {
		return fmt.Errorf("offered %d messages, want 0", n)
	}
	return s.stillServes(ctx, p)
}

func ignoresOther(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	body := bytes.Replace(ADT("result"), []byte("ADT^A04^ADT_A01"), []byte("ORU^R01^ORU_R01"), 1)
	ack, err := s.send(ctx, p, body)
	if err != nil {
		return err
	}
	if _, err := take(ctx, "message kept", s.journal.kept); err != nil || !s.answers {
		return err
	}
	return wantAck(ack, hl7.AA, "result")
}

// neverAnswersAcks: two systems that acknowledged acknowledgements would not
// stop. The peer does not wait for an answer to one.
func neverAnswersAcks(ctx context.Context, s *scene) error {
	p := s.site.Peer()
	defer p.Close()
	ack := hl7.Ack{Code: hl7.AA, ControlID: "stray", Time: time.Now()}.To(hl7.Message{})
	got, err := s.send(ctx, p, ack)
	if err != nil {
		return err
	}
	if len(got) > 0 {
		return fmt.Errorf("peer got %q for an acknowledgement", got)
	}
	if n := len(s.journal.offered); n != 0 {
		return fmt.Errorf("offered %d messages, want 0", n)
	}
	return s.stillServes(ctx, p)
}
