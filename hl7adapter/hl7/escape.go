package hl7

import "bytes"

// appendText appends raw to dst with its escapes decoded, as UTF-8.
func (v Value) appendText(dst, raw []byte) []byte {
	begin := len(dst)
	dst = v.sx.unescape(dst, raw)
	return v.sx.charset().toUTF8(dst, begin)
}

// unescape appends raw to dst with its escapes decoded:
//
//	\F\ \S\ \T\ \R\ \E\ \P\   the delimiter they stand for
//	\Xdd..\                   those bytes
//	\.br\                     a line feed
//	\H\ \N\                   nothing, they only change how text looks
//
// All others are kept as they came: \Z..\ and \C..\ \M..\ and formatting
// commands, which mean something to someone, and an escape character that
// begins none, as in a Windows path.
func (sx syntax) unescape(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, sx.escape())
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		n := bytes.IndexByte(raw[1:], sx.escape()) // the length of the code
		if n < 0 {
			return append(dst, raw...)
		}
		var ok bool
		if dst, ok = sx.decode(dst, raw[1:1+n]); ok {
			raw = raw[n+2:]
			continue
		}
		keep := 1 // an escape character that begins no escape
		if kept(raw[1 : 1+n]) {
			keep = n + 2
		}
		dst = append(dst, raw[:keep]...)
		raw = raw[keep:]
	}
}

// decode appends what code stands for. It is false for a code that is kept.
func (sx syntax) decode(dst, code []byte) ([]byte, bool) {
	switch string(code) {
	case "F":
		return append(dst, sx.field()), true
	case "S":
		return append(dst, sx.component()), true
	case "T":
		return appendUsed(dst, sx.sub())
	case "R":
		return appendUsed(dst, sx.repetition())
	case "E":
		return append(dst, sx.escape()), true
	case "P":
		return appendUsed(dst, sx.truncation())
	case ".br":
		return append(dst, '\n'), true
	case "H", "N":
		return dst, true
	}
	if len(code) > 1 && code[0] == 'X' {
		return appendHex(dst, code[1:])
	}
	return dst, false
}

// appendUsed appends a delimiter, if the message has one.
func appendUsed(dst []byte, c byte) ([]byte, bool) {
	if c == unused {
		return dst, false
	}
	return append(dst, c), true
}

// kept says whether a code that is not decoded is an escape all the same, so
// that its closing character does not open another.
func kept(code []byte) bool {
	if len(code) == 0 {
		return false
	}
	switch code[0] {
	case '.', 'Z':
		return true
	case 'X', 'C', 'M':
		return len(code)%2 == 1 && allHex(code[1:])
	}
	return len(code) == 1 && 'A' <= code[0] && code[0] <= 'Z'
}

// appendHex appends the bytes that pairs of hexadecimal digits stand for.
func appendHex(dst, hex []byte) ([]byte, bool) {
	if len(hex)%2 != 0 || !allHex(hex) {
		return dst, false
	}
	for ; len(hex) > 0; hex = hex[2:] {
		dst = append(dst, nibble(hex[0])<<4|nibble(hex[1]))
	}
	return dst, true
}

func allHex(text []byte) bool {
	for _, c := range text {
		if nibble(c) > 15 {
			return false
		}
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

const hexDigits = "0123456789ABCDEF"

// AppendEscaped appends text to dst so that who reads it with d gets it back:
// delimiters and control characters as escapes, a line feed (or CRLF) as \.br\.
// Where d has no escape character, each becomes a space. It does not transcode.
//
// A text of two quotes would read as null, so it is written as their bytes.
func (d Delimiters) AppendEscaped(dst []byte, text string) []byte {
	if text == `""` {
		if d.Escape == 0 {
			return append(dst, '"', ' ', '"')
		}
		return append(dst, d.Escape, 'X', '2', '2', '2', '2', d.Escape)
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if ordinary[c] {
			from := i
			for i+1 < len(text) && ordinary[text[i+1]] {
				i++
			}
			dst = append(dst, text[from:i+1]...)
			continue
		}
		if c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			continue
		}
		code := d.code(c)
		switch {
		case code == 0:
			dst = append(dst, c)
		case d.Escape == 0:
			dst = append(dst, ' ')
		case c == '\n':
			dst = append(dst, d.Escape, '.', 'b', 'r', d.Escape)
		case code == 'X':
			dst = append(dst, d.Escape, 'X', hexDigits[c>>4], hexDigits[c&15], d.Escape)
		default:
			dst = append(dst, d.Escape, code, d.Escape)
		}
	}
	return dst
}

// ordinary are bytes that are no delimiters in any message: letters, digits, the
// space, and those beyond ASCII.
var ordinary = func() (is [256]bool) {
	for c := range is {
		is[c] = c >= ' ' && c != 0x7f && !delimits(byte(c))
	}
	return is
}()

// code returns the escape for c, or 0 when it needs none.
func (d Delimiters) code(c byte) byte {
	switch {
	case c < ' ' || c == 0x7f:
		return 'X'
	case c == d.Field:
		return 'F'
	case c == d.Component:
		return 'S'
	case c == d.Sub:
		return 'T'
	case c == d.Repetition:
		return 'R'
	case c == d.Escape:
		return 'E'
	case c == d.Truncation:
		return 'P'
	}
	return 0
}
