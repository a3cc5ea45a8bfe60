package hospital

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// PAS is a patient administration system that sends ADT messages over one MLLP
// connection, one after the other, and sends again what is not acknowledged.
type PAS struct {
	Facility string // MSH-4
	address  string

	mu   sync.Mutex // guards the fields below, and what is sent
	line *Line      // nil while there is no connection
	next int
}

// NewPAS makes a PAS that sends to the address.
func NewPAS(address, facility string) *PAS { return &PAS{address: address, Facility: facility} }

// Close closes the connection.
func (p *PAS) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
}

func (p *PAS) drop() {
	if p.line != nil {
		_ = p.line.conn.Close()
		p.line = nil
	}
}

// Send sends the message until it is acknowledged or ctx ends, and returns the
// acknowledgement: whatever comes back with MSA-2 the message's MSH-10.
func (p *PAS) Send(ctx context.Context, message []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		ack, err := p.try(ctx, message)
		if err == nil {
			return ack, nil
		}
		p.drop()
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *PAS) try(ctx context.Context, message []byte) ([]byte, error) {
	if p.line == nil {
		dialer := net.Dialer{Timeout: 2 * time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", p.address)
		if err != nil {
			return nil, err
		}
		p.line = NewLine(conn)
	}
	if err := p.line.Send(message); err != nil {
		return nil, err
	}
	ack, err := p.line.Receive()
	if err != nil {
		return nil, err
	}
	if got, want := Field(ack, "MSA", 2), Field(message, "MSH", 10); got != want {
		return nil, fmt.Errorf("acknowledgement of %s, want of %s", got, want)
	}
	return ack, nil
}

// Message is an ADT message of that trigger event about the person's visit.
func (p *PAS) Message(trigger string, who Person, visit string, begun time.Time) []byte {
	p.mu.Lock()
	p.next++
	control := fmt.Sprintf("PAS%d%04d", begun.UnixMilli(), p.next)
	p.mu.Unlock()
	const ts = "20060102150405-0700"
	now := time.Now().Format(ts)
	ids := who.MRN + "^^^" + p.Facility + "^MR"
	if who.Number != "" {
		ids += "~" + who.Number + "^^^NHS^NH"
	}
	return fmt.Appendf(nil, "MSH|^~\\&|PAS|%s|SAFEGUARD||%s||ADT^%s|%s|P|2.4|||||GBR|UNICODE UTF-8\r"+
		"EVN|%s|%s||||%s\r"+
		"PID|1||%s||%s^%s||%s|%s||||||||||||||||||||||||%s\r"+
		"PV1|1|%s|ED^WAITING^^%s||||||||||||||||%s^^^VISIT|||||||||||||||||||||||||%s\r",
		p.Facility, now, trigger, control,
		trigger, now, now,
		ids, who.Family, who.Given, who.Born.Format("20060102"), who.Sex, who.Status,
		who.Class, p.Facility, visit, begun.Format(ts))
}
