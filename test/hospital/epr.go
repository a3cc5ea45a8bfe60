package hospital

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// EPR is an electronic patient record that takes messages over MLLP and keeps a
// ledger of them by control id.
type EPR struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	ledger  []Received
	conns   map[net.Conn]bool
	code    string // MSA-1 of what it answers
	mute    int    // how many messages to take without an answer
	after   func() // to be called when the next message has been answered
	closed  bool   // no more connections
}

// Received is one message as it came.
type Received struct {
	ControlID string
	Body      string
	At        time.Time
	Answered  bool
}

// NewEPR listens on the address, 127.0.0.1:0 for a free port.
func NewEPR(address string) (*EPR, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("epr: %w", err)
	}
	e := &EPR{listener: listener, code: "AA", changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	e.wg.Go(e.accept)
	return e, nil
}

// Addr is where it listens.
func (e *EPR) Addr() string { return e.listener.Addr().String() }

// Close stops it.
func (e *EPR) Close() {
	_ = e.listener.Close()
	e.mu.Lock()
	e.closed = true
	for conn := range e.conns {
		_ = conn.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// Mute makes it take the next n messages and close the connection without an
// answer, as one does that dies in between.
func (e *EPR) Mute(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mute = n
}

// AfterAnswer has do called as soon as the next message has been answered.
func (e *EPR) AfterAnswer(do func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.after = do
}

func (e *EPR) answered() {
	e.mu.Lock()
	do := e.after
	e.after = nil
	e.mu.Unlock()
	if do != nil {
		do()
	}
}

// Answer makes it acknowledge with that code, instead of AA.
func (e *EPR) Answer(code string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.code = code
}

// Ledger is every message that came, repeats included.
func (e *EPR) Ledger() []Received {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Received(nil), e.ledger...)
}

// Wait returns the first message at or behind position from for which ok holds,
// with the position after it.
func (e *EPR) Wait(ctx context.Context, from int, ok func(Received) bool) (Received, int, error) {
	for {
		e.mu.Lock()
		ledger, changed := e.ledger, e.changed
		e.mu.Unlock()
		for ; from < len(ledger); from++ {
			if ok(ledger[from]) {
				return ledger[from], from + 1, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Received{}, from, fmt.Errorf("wait for a message at the EPR: %w", ctx.Err())
		}
	}
}

func (e *EPR) accept() {
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			_ = conn.Close()
			return
		}
		e.conns[conn] = true
		e.wg.Go(func() { e.serve(conn) })
		e.mu.Unlock()
	}
}

func (e *EPR) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		e.mu.Lock()
		delete(e.conns, conn)
		e.mu.Unlock()
	}()
	in := bufio.NewReader(conn)
	for {
		body, err := readFrame(in)
		if err != nil {
			return
		}
		code, answer := e.record(body)
		if !answer {
			return
		}
		now := time.Now().Format("20060102150405")
		ack := fmt.Appendf(nil, "MSH|^~\\&|EPR|%s|SAFEGUARD||%s||ACK^R01|E%s|P|2.4\rMSA|%s|%s\r",
			Field(body, "MSH", 6), now, Field(body, "MSH", 10), code, Field(body, "MSH", 10))
		if _, err := conn.Write(frame(ack)); err != nil {
			return
		}
		e.answered()
	}
}

// record writes the ledger, and tells whether and what to answer.
func (e *EPR) record(body []byte) (code string, answer bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	answer = e.mute == 0
	if !answer {
		e.mute--
	}
	e.ledger = append(e.ledger, Received{Field(body, "MSH", 10), string(body), time.Now(), answer})
	close(e.changed)
	e.changed = make(chan struct{})
	return e.code, answer
}
