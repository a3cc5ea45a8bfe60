package intake

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
)

// Senders keep an MLLP connection each.
type Senders []*sender

type sender struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

// NewSenders connects so many.
func NewSenders(b testing.TB, address string, connections int) Senders {
	all := make(Senders, connections)
	for i := range all {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		all[i] = &sender{conn: conn, in: bufio.NewReader(conn)}
	}
	return all
}

// Send sends a registration over the caller's connection, and waits for its
// acknowledgement.
func (s Senders) Send(caller int) error {
	const endBlock = 0x1c
	c := s[caller]
	c.out = mllp.AppendFrame(c.out[:0], Next())
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	answer, err := c.in.ReadSlice(endBlock)
	if err != nil {
		return err
	}
	if !bytes.Contains(answer, []byte("\rMSA|CA|")) {
		return fmt.Errorf("answered %q", answer)
	}
	_, err = c.in.Discard(1)
	return err
}
