package mllp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Reader reads frames. It looks at each byte a bounded number of times, and
// keeps no more than its buffer and one message.
type Reader struct {
	src    io.Reader
	limits limits
	expire func(time.Time) error // sets when src gives up; nil where it never does
	count  func(feed.FramingError)

	buf     []byte
	at, end int   // what was read ahead is buf[at:end]
	fs      int   // the first end block there, end for none; below at when not known
	err     error // from src, for when the buffer is used up
	large   bool  // holds a place in limits.large
	touched bool  // src gave a byte

	searched int // bytes gone through by find; each at most twice
}

// limits are what a Reader keeps to. A time of 0 is no limit.
type limits struct {
	frame        int           // longest message
	idle         time.Duration // longest silence between frames
	frameIdle    time.Duration // longest silence inside a frame
	frameTimeout time.Duration // longest time a frame may take
	endWait      time.Duration // silence after FS that ends a frame
	watch        time.Duration // wait of a message after which its sender is watched
	large        chan struct{} // has a place for each large message held at once
}

const (
	bufferSize = 32 << 10
	largeFrame = 1 << 20  // from here on a message needs a place among the large
	keptOfLong = 64 << 10 // of a message over the limit, to answer it
	mostNoise  = 1 << 20  // between two frames
)

// NewReader returns a reader of the frames in src, which may be a file, with
// messages of up to max bytes. It waits for as long as src does.
func NewReader(src io.Reader, max int, count func(feed.FramingError)) *Reader {
	return newReader(src, limits{frame: max}, nil, count)
}

func newReader(src io.Reader, l limits, expire func(time.Time) error, count func(feed.FramingError)) *Reader {
	if count == nil {
		count = func(feed.FramingError) {}
	}
	return &Reader{src: src, limits: l, expire: expire, count: count, buf: make([]byte, bufferSize)}
}

// Next returns the next frame. What was given up, noise and so on are counted
// and passed over.
func (r *Reader) Next(ctx context.Context) (Frame, error) {
	r.release()
	if err := r.start(); err != nil {
		return Frame{}, err
	}
	f, err := r.frame(ctx)
	if err != nil && ctx.Err() == nil {
		r.count(feed.MissingEnd)
	}
	return f, err
}

// start reads up to and with a start block.
func (r *Reader) start() error {
	var n noise
	defer func() { n.count(r.count) }()
	for {
		chunk := r.buf[r.at:r.end]
		i := bytes.IndexByte(chunk, startBlock)
		if i >= 0 {
			n.add(chunk[:i])
			r.at += i + 1
			return nil
		}
		n.add(chunk)
		r.at = r.end
		if n.bytes > mostNoise {
			return ErrNoise
		}
		err := r.fill(after(r.limits.idle))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrIdle
		}
		if err != nil {
			return err
		}
	}
}

// frame reads from behind a start block to behind the end block. A CR behind
// an end that was found without it is left to be skipped between frames.
func (r *Reader) frame(ctx context.Context) (Frame, error) {
	b := body{limit: r.limits.frame}
	t := timer{limits: r.limits}
	for {
		if r.at == r.end {
			if err := r.fill(t.next()); err != nil {
				return Frame{}, unended(err)
			}
		}
		special := r.special()
		if b.size+special-r.at > largeFrame && !b.long && !r.large && r.limits.large != nil {
			if err := r.reserve(ctx); err != nil {
				return Frame{}, unended(err)
			}
			t = timer{limits: r.limits}
		}
		if b.add(r.buf[r.at:special]); b.long {
			r.release()
		}
		if r.at = special; r.at == r.end {
			continue
		}
		var done bool
		var err error
		if r.buf[r.at] == startBlock {
			err = r.again(&b, &t)
		} else {
			done, err = r.ends(&b)
		}
		if err != nil {
			return Frame{}, unended(err)
		}
		if done {
			return b.frame(), nil
		}
	}
}

// special returns where the next start or end block is in the buffer, end when
// there is none. It remembers the end block, so that many start blocks before
// it do not make it look far again and again.
func (r *Reader) special() int {
	if r.fs < r.at {
		r.fs = r.find(endBlock, r.end)
	}
	return r.find(startBlock, r.fs)
}

// find returns where the next c is in the buffer, to when it is not before there.
func (r *Reader) find(c byte, to int) int {
	at := to
	if i := bytes.IndexByte(r.buf[r.at:to], c); i >= 0 {
		at = r.at + i
	}
	r.searched += at - r.at
	return at
}

// again deals with a start block inside a frame.
func (r *Reader) again(b *body, t *timer) error {
	for r.end-r.at < 4 {
		if err := r.fill(t.next()); err != nil {
			return err
		}
	}
	if !bytes.HasPrefix(r.buf[r.at+1:r.end], []byte("MSH")) {
		b.add(r.buf[r.at : r.at+1])
		r.at++
		return nil
	}
	if b.size == 0 {
		r.count(feed.DoubleStart)
	} else {
		r.count(feed.MissingEnd)
	}
	r.release()
	*b, *t = body{limit: b.limit}, timer{limits: r.limits}
	r.at++
	return nil
}

// ends says whether the end block in the buffer ends the frame, and passes it.
func (r *Reader) ends(b *body) (bool, error) {
	if b.complete() {
		r.at++
		return true, nil
	}
	for r.end-r.at < 2 {
		err := r.fill(after(r.limits.endWait))
		if errors.Is(err, os.ErrDeadlineExceeded) || err == io.EOF {
			r.at++
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	switch r.buf[r.at+1] {
	case carriage, '\n', 0, startBlock:
		r.at++
		return true, nil
	}
	b.add(r.buf[r.at : r.at+1])
	r.at++
	return false, nil
}

// reserve waits for a place among the large messages. Meanwhile nothing is
// read, so the sender waits too, and it may be gone when a place is free: so
// the wait has an end.
func (r *Reader) reserve(ctx context.Context) error {
	if d := r.limits.frameTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, os.ErrDeadlineExceeded)
		defer cancel()
	}
	select {
	case r.limits.large <- struct{}{}:
		r.large = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release gives the place back.
func (r *Reader) release() {
	if r.large {
		<-r.limits.large
		r.large = false
	}
}

// fill reads more into the buffer, once, until a time: the zero time for ever.
func (r *Reader) fill(until time.Time) error {
	if r.err != nil {
		return r.err
	}
	if r.at > 0 {
		r.end, r.at = copy(r.buf, r.buf[r.at:r.end]), 0
	}
	r.fs = -1
	if r.expire != nil {
		if err := r.expire(until); err != nil {
			return err
		}
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.touched = r.touched || n > 0
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			r.err = err
		}
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// after returns the time so long from now, and the zero time for 0.
func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// timer tells how long a frame may still take.
type timer struct {
	limits limits
	end    time.Time // when the frame must be complete
}

func (t *timer) next() time.Time {
	if t.end.IsZero() {
		t.end = after(t.limits.frameTimeout)
	}
	next := after(t.limits.frameIdle)
	if next.IsZero() || !t.end.IsZero() && t.end.Before(next) {
		return t.end
	}
	return next
}

func unended(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || err == io.EOF {
		return ErrUnended
	}
	return fmt.Errorf("%w: %w", ErrUnended, err)
}
