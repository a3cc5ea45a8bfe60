package hospital

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// frame puts a message between MLLP's start and end.
func frame(message []byte) []byte {
	return append(append([]byte{0x0b}, message...), 0x1c, '\r')
}

// readFrame reads one message.
func readFrame(r *bufio.Reader) ([]byte, error) {
	if _, err := r.ReadBytes(0x0b); err != nil {
		return nil, err
	}
	message, err := r.ReadBytes(0x1c)
	if err != nil {
		return nil, err
	}
	if end, err := r.ReadByte(); err != nil || end != '\r' {
		return nil, fmt.Errorf("read frame: no carriage return behind the end: %w", io.ErrUnexpectedEOF)
	}
	return bytes.TrimSuffix(message, []byte{0x1c}), nil
}

// Field reads a field of the first segment of that name, such as MSH, 10.
func Field(message []byte, segment string, n int) string {
	for _, line := range strings.Split(string(message), "\r") {
		fields := strings.Split(line, "|")
		if fields[0] != segment {
			continue
		}
		if segment == "MSH" {
			n-- // MSH-1 is the delimiter itself
		}
		if n < len(fields) {
			return fields[n]
		}
	}
	return ""
}

// Texts reads OBX-5 of every OBX, decoded; not of one that takes away what was there
// (OBX-11 is D, HL7 table 0085), unless all do: then it is what the message withdraws.
func Texts(message []byte) []string {
	var texts, gone []string
	for _, line := range strings.Split(string(message), "\r") {
		fields := strings.Split(line, "|")
		if fields[0] != "OBX" || len(fields) <= 5 {
			continue
		}
		text := strings.NewReplacer(`\F\`, "|", `\S\`, "^", `\T\`, "&", `\R\`, "~", `\E\`, `\`).Replace(fields[5])
		if len(fields) > 11 && fields[11] == "D" {
			gone = append(gone, text)
		} else {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return gone
	}
	return texts
}

// Line sends and receives messages over one connection, in any order.
type Line struct {
	conn net.Conn
	in   *bufio.Reader
}

// NewLine makes a line of a connection.
func NewLine(conn net.Conn) *Line { return &Line{conn, bufio.NewReader(conn)} }

// Send sends one message, and waits for nothing.
func (l *Line) Send(message []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := l.conn.Write(frame(message))
	return err
}

// Receive reads the next message.
func (l *Line) Receive() ([]byte, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	return readFrame(l.in)
}
