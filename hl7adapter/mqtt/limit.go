package mqtt

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// What MQTT 3.1.1 allows.
const (
	longestTopic  = 1<<16 - 1
	longestPacket = 1<<28 - 1
	longestHead   = 2 + longestTopic + 2 // of a PUBLISH: topic and packet id
	longestOther  = 1 << 20              // of a packet that is no PUBLISH; far more than any needs
)

// limited is a connection to a broker on which nothing is unbounded. paho has no
// limit for what it reads, 256 MB that it reserves at once, and gives no deadline to
// most of what it writes. So the connection cuts a longer PUBLISH: the part that is
// left is still longer than a message may be, and is refused as such, by which it
// leaves the broker; without that it would come again for ever.
type limited struct {
	net.Conn
	max    int           // longest PUBLISH that is passed on whole
	write  time.Duration // for one write
	silent time.Duration // longest silence, once connected
	up     atomic.Bool   // connected: before that paho sets the deadlines
	ended  func(error)   // is told why the connection ended, as soon as it has
	polite atomic.Bool   // at its end the broker is to read all that was written

	head []byte // of the packet being read, not yet passed on
	pass int    // bytes of it to pass on
	drop int    // bytes of it to drop behind those
}

var errPacket = errors.New("not a packet of MQTT")

func (l *limited) Read(b []byte) (int, error) {
	for {
		switch {
		case len(b) == 0:
			return 0, nil
		case len(l.head) > 0:
			n := copy(b, l.head)
			l.head = l.head[n:]
			return n, nil
		case l.pass > 0:
			n, err := l.some(b[:min(len(b), l.pass)])
			l.pass -= n
			return n, err
		case l.drop > 0:
			n, err := l.some(b[:min(len(b), l.drop)])
			l.drop -= n
			if err != nil {
				return 0, err
			}
		default:
			if err := l.next(); err != nil {
				return 0, err
			}
		}
	}
}

// next reads the head of a packet: its type and how long it is.
func (l *limited) next() error {
	var b [5]byte
	n, size := 1, 0
	if err := l.full(b[:1]); err != nil {
		return err
	}
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return errPacket
		}
		if err := l.full(b[n : n+1]); err != nil {
			return err
		}
		size |= int(b[n]&0x7f) << shift
		n++
		if b[n-1]&0x80 == 0 {
			break
		}
	}
	const publish = 3
	switch {
	case b[0]>>4 != publish && size > longestOther:
		return errPacket
	case b[0]>>4 == publish && size > l.max:
		l.pass, l.drop = l.max, size-l.max
		l.head = appendSize(append(make([]byte, 0, 5), b[0]), l.max)
	default:
		l.pass = size
		l.head = append(make([]byte, 0, 5), b[:n]...)
	}
	return nil
}

func appendSize(to []byte, n int) []byte {
	for ; n > 0x7f; n >>= 7 {
		to = append(to, byte(n)|0x80)
	}
	return append(to, byte(n))
}

// full reads all of b. An end in the middle of a packet is still only the end.
func (l *limited) full(b []byte) error {
	for len(b) > 0 {
		n, err := l.some(b)
		if b = b[n:]; err != nil && len(b) > 0 {
			return err
		}
	}
	return nil
}

// some reads once. A broker that is there is never silent for longer than it
// takes to ask it.
func (l *limited) some(b []byte) (int, error) {
	if l.up.Load() && !l.polite.Load() {
		if err := l.SetReadDeadline(time.Now().Add(l.silent)); err != nil {
			return 0, err
		}
	}
	n, err := l.Conn.Read(b)
	if n > 0 && err == io.EOF {
		err = nil // it comes again
	}
	if err != nil {
		l.ended(err)
	}
	return n, err
}

func (l *limited) Write(b []byte) (int, error) {
	if err := l.SetWriteDeadline(time.Now().Add(l.write)); err != nil {
		return 0, err
	}
	n, err := l.Conn.Write(b)
	if err != nil {
		l.ended(err)
	}
	return n, err
}

// Close ends the connection. paho closes it at once when it gives it up, and says
// so only when all that it received has been taken.
func (l *limited) Close() error {
	l.ended(errEnded)
	if l.polite.Load() {
		l.hangUp()
	}
	return l.Conn.Close()
}

// hangUp lets the broker close first. Closed with something unread, as there is
// while it sends, the system resets the connection; and the broker loses what it
// has not read, acknowledgements among it.
func (l *limited) hangUp() {
	half, ok := l.Conn.(interface{ CloseWrite() error })
	if !ok || l.SetReadDeadline(time.Now().Add(goodbye)) != nil || half.CloseWrite() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, l.Conn)
}
