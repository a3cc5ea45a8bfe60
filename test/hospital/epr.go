package hospital

import (
	"bufio"
	"bytes"
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
	behave  func(body []byte) Behaviour
	owed    []byte // a late answer
	closed  bool   // no more connections
}

// Received is one message as it came.
type Received struct {
	ControlID string
	Body      string
	At        time.Time
	Answered  bool // with the word that it is taken, and by its own id
}

// Behaviour is what an EPR does with a message that it has read.
type Behaviour int

// The behaviours.
const (
	Obeys   Behaviour = iota // answers with the code that is set
	Slow                     // the same, byte by byte
	WrongID                  // answers for a message that was never sent
	Late                     // answers when the next message comes, and does not answer that
	Busy                     // answers AE
	Closes                   // closes the connection without an answer
	Twice                    // answers two times
	Silent                   // never answers
)

// Behave has it ask what to do with each message; nil for obeying always.
func (e *EPR) Behave(behave func(body []byte) Behaviour) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.behave = behave
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
		code, does, owed := e.record(body)
		answer := acknowledgement(body, code, Field(body, "MSH", 10))
		switch {
		case owed != nil:
			answer = owed // and no word on this one
		case does == Closes:
			return
		case does == Late:
			e.mu.Lock()
			e.owed = answer
			e.mu.Unlock()
			continue
		case does == Silent:
			continue
		case does == WrongID:
			answer = acknowledgement(body, code, "SOMEBODY-ELSES")
		case does == Busy:
			answer = acknowledgement(body, "AE", Field(body, "MSH", 10))
		case does == Twice:
			answer = append(answer, answer...)
		}
		if err := say(conn, answer, does == Slow); err != nil {
			return
		}
		e.answered()
	}
}

func acknowledgement(body []byte, code, id string) []byte {
	return frame(fmt.Appendf(nil, "MSH|^~\\&|EPR|%s|SAFEGUARD||%s||ACK^R01|E%s|P|2.4\rMSA|%s|%s\r",
		Field(body, "MSH", 6), time.Now().Format("20060102150405"), Field(body, "MSH", 10), code, id))
}

func say(conn net.Conn, answer []byte, slowly bool) error {
	if !slowly {
		_, err := conn.Write(answer)
		return err
	}
	for i := range answer {
		if _, err := conn.Write(answer[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// record writes the ledger, and tells what to do, and which answer is owed for an
// earlier message.
func (e *EPR) record(body []byte) (code string, does Behaviour, owed []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.mute > 0:
		e.mute--
		does = Closes
	case e.behave != nil:
		does = e.behave(body)
	}
	owed, e.owed = e.owed, nil
	id := Field(body, "MSH", 10)
	answered := does == Obeys || does == Slow || does == Twice
	if owed != nil { // it is this message's own where that came again
		answered = bytes.Contains(owed, []byte("|"+id+"\r"))
	}
	e.ledger = append(e.ledger, Received{id, string(body), time.Now(), answered})
	close(e.changed)
	e.changed = make(chan struct{})
	return e.code, does, owed
}
