package mllp

import (
	"errors"
	"os"
	"time"
)

// watch sees whether the peer leaves while a message of its waits to be
// accepted. Else, on a full disk, a sender that gives up and calls again every
// half minute would leave a connection behind each time, until none is free.
//
// It reads ahead into the buffer of the reader, which nobody uses meanwhile.
type watch struct {
	reader *Reader
	gate   *gate
	gone   func() // called when the peer has left
	after  time.Duration
	timer  *time.Timer
	ended  chan struct{}
}

func newWatch(r *Reader, g *gate, after time.Duration, gone func()) *watch {
	return &watch{reader: r, gate: g, gone: gone, after: after, ended: make(chan struct{}, 1)}
}

// begin starts to watch, should end not come soon.
func (w *watch) begin() {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.after, w.run)
		return
	}
	w.timer.Reset(w.after)
}

// end gives the reader back.
func (w *watch) end() {
	if w.timer.Stop() {
		return
	}
	w.gate.pause()
	<-w.ended
	w.gate.resume()
}

func (w *watch) run() {
	defer func() { w.ended <- struct{}{} }()
	for w.reader.end-w.reader.at < len(w.reader.buf) {
		err := w.reader.fill(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			w.gone()
			return
		}
	}
}
