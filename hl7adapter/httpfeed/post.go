package httpfeed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// posted is one feed: what is posted to its path.
type posted struct {
	config   Config
	counters feed.Counters
	intake   *feed.Intake
	stopping <-chan struct{}
	large    chan struct{} // has a place for each large message held at once
	log      *slog.Logger
	refusals feed.Occasional
}

func newPosted(c Config, log *slog.Logger) *posted {
	return &posted{config: c, large: make(chan struct{}, c.MaxLarge), log: log.With("feed", c.Name)}
}

// post takes the message of one request and replies.
func (f *posted) post(w http.ResponseWriter, r *http.Request) {
	kind, err := contentType(r.Header)
	if err != nil {
		f.refuse(w, r, http.StatusUnsupportedMediaType, err.Error())
		return
	}
	b := body{feed: f, request: r, control: http.NewResponseController(w)}
	defer b.release()
	if err := b.read(r.Context()); err != nil {
		f.incomplete(w, r, err)
		return
	}
	if len(bytes.Trim(b.bytes, " \r\n\t\x00")) == 0 {
		f.counters.Framing(feed.Empty)
		f.refuse(w, r, http.StatusBadRequest, "empty, want one HL7 v2 message")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), f.config.HoldTimeout)
	defer cancel()
	reply, err := f.intake.Take(ctx, feed.Message{Peer: r.RemoteAddr, Received: time.Now(), Body: b.bytes})
	if err != nil {
		f.retry(w)
		say(w, http.StatusServiceUnavailable, "can not be kept now, send again")
		return
	}
	f.answer(w, kind, reply)
}

// types are the content types of HL7 v2 with delimiters. Those that begin with
// x- are what the HL7 over HTTP draft asks for.
var types = []string{"application/hl7-v2", "application/hl7-v2+er7", "x-application/hl7-v2", "x-application/hl7-v2+er7", "text/plain"}

// contentType returns the type of the request, which is the reply's too.
func contentType(h http.Header) (string, error) {
	if e := h.Get("Content-Encoding"); e != "" && e != "identity" {
		return "", errors.New("a compressed body, want it as it is, without Content-Encoding")
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err == nil || errors.Is(err, mime.ErrInvalidMediaParameter) {
		for _, t := range types {
			if kind == t {
				return t, nil
			}
		}
	}
	return "", errors.New("not a content type of HL7 v2, want Content-Type: application/hl7-v2")
}

// answer sends the acknowledgement.
func (f *posted) answer(w http.ResponseWriter, kind string, r feed.Reply) {
	var ack feed.Ack
	if len(r.Acks) > 0 {
		ack = r.Acks[0]
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(ack)))
	if len(ack) > 0 {
		h.Set("Content-Type", kind)
	}
	if r.Verdict == feed.Postponed {
		f.retry(w)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(ack) // who has gone will send the message again
}

// retry tells when to send again.
func (f *posted) retry(w http.ResponseWriter) {
	seconds := (f.config.RetryAfter + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
}

// refuse replies to what is no message.
func (f *posted) refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	f.refusals.Warn(f.log, "request refused", "peer", r.RemoteAddr, "status", status, "reason", text)
	turnAway(w, status, text)
}

// incomplete replies to a message that was not read to its end.
func (f *posted) incomplete(w http.ResponseWriter, r *http.Request, err error) {
	stopping := false
	select {
	case <-f.stopping:
		stopping = true
	default:
	}
	switch {
	case errors.Is(err, errTooLong):
		f.counters.Framing(feed.TooLong)
		f.refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("longer than %d bytes, the most that this feed takes", f.config.MaxMessage))
	case stopping:
		f.retry(w)
		turnAway(w, http.StatusServiceUnavailable, "stopping, send again")
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.counters.Framing(feed.MissingEnd)
		f.refuse(w, r, http.StatusRequestTimeout, "the message did not arrive in time, send it again")
	default:
		f.counters.Framing(feed.MissingEnd)
		f.refuse(w, r, http.StatusBadRequest, "the message ended before its length, or its chunks are broken")
	}
}

// body is the message of one request.
type body struct {
	feed     *posted
	request  *http.Request
	control  *http.ResponseController
	bytes    []byte
	reserved bool // holds a place among the large messages
}

const (
	firstRead    = 4 << 10
	largeMessage = 1 << 20 // from here on a message needs a place among the large
)

var errTooLong = errors.New("message too long")

// read reads the message. It grows what it keeps with what has come, not with
// what was announced.
func (b *body) read(ctx context.Context) error {
	limit := b.feed.config.MaxMessage
	if b.request.ContentLength > int64(limit) {
		return errTooLong
	}
	// A stop ends the reading: what is not whole is not acknowledged.
	defer context.AfterFunc(ctx, func() { _ = b.control.SetReadDeadline(longAgo) })()
	end := time.Now().Add(b.feed.config.BodyTimeout)
	b.bytes = make([]byte, 0, firstRead)
	for {
		if len(b.bytes) == cap(b.bytes) {
			b.bytes = append(b.bytes, 0)[:len(b.bytes)]
		}
		n, err := b.some(ctx, end)
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case len(b.bytes) > limit:
			return errTooLong
		case err == io.EOF:
			// The server watches from now on whether the peer is still there.
			return b.control.SetReadDeadline(time.Time{})
		case err != nil:
			return err
		}
		if len(b.bytes) >= largeMessage && !b.reserved {
			if err := b.reserve(ctx); err != nil {
				return err
			}
			end = time.Now().Add(b.feed.config.BodyTimeout)
		}
	}
}

// some reads into the room behind what there is.
func (b *body) some(ctx context.Context, end time.Time) (int, error) {
	until := time.Now().Add(b.feed.config.BodyIdle)
	if end.Before(until) {
		until = end
	}
	if err := b.control.SetReadDeadline(until); err != nil {
		return 0, err
	}
	if ctx.Err() != nil { // the deadline may have undone the one of a stop
		return 0, ctx.Err()
	}
	return b.request.Body.Read(b.bytes[len(b.bytes):cap(b.bytes)])
}

// reserve waits for a place among the large messages. Meanwhile nothing is
// read, so the sender waits too.
func (b *body) reserve(ctx context.Context) error {
	select {
	case b.feed.large <- struct{}{}:
		b.reserved = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release gives the place back.
func (b *body) release() {
	if b.reserved {
		<-b.feed.large
	}
}
