// Package mllp carries HL7 v2 over TCP in MLLP frames: a listener and a
// dial-out client that are feeds, and a sender that delivers messages and
// waits for their acknowledgements.
//
// # Frames
//
// A frame is VT, the message, FS CR. What real senders do otherwise is taken:
//
//   - Between frames, CR, LF, NUL and spaces are skipped. Other bytes are noise,
//     skipped too and counted.
//   - FS ends a frame at once when the message before it ends with CR or LF, as
//     messages do. Otherwise it ends the frame when CR, LF, NUL or VT follows,
//     or nothing for a moment; followed by anything else it is a byte of the
//     message. So a sender that leaves out the last CR of either is understood.
//   - VT and MSH inside a frame begin a new one: the sender gave up the frame
//     before it. That one is counted, and never acknowledged.
package mllp

import (
	"errors"
	"slices"
)

const (
	startBlock = 0x0b // VT
	endBlock   = 0x1c // FS
	carriage   = '\r'

	commitAck = 0x06 // of MLLP release 2
	commitNak = 0x15
)

// AppendFrame appends body in a frame to dst.
func AppendFrame(dst, body []byte) []byte {
	dst = append(slices.Grow(dst, len(body)+3), startBlock)
	dst = append(dst, body...)
	return append(dst, endBlock, carriage)
}

// Frame is what Reader.Next returns.
type Frame struct {
	Body   []byte // the caller's to keep
	Long   bool   // Body is only the beginning of a message over the limit
	Commit byte   // not 0 for a commit block of release 2: ACK or NAK
}

// Why a connection ends. Reader.Next returns them, and io.EOF for an end
// between frames.
var (
	ErrIdle    = errors.New("idle for too long")
	ErrUnended = errors.New("ended inside a frame")
	ErrNoise   = errors.New("nothing but noise")
)
