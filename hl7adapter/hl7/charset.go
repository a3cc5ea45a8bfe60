package hl7

import (
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// charset is an index into charsets. The zero value reads each value as UTF-8
// if it is valid UTF-8, and as Windows-1252 if not: that is right for ASCII,
// for UTF-8, for the UNICODE that NHS senders write for UTF-8, and the best
// guess for a name that nobody knows.
type charset uint8

// charsets are those in which every byte is a character. Encodings of several
// bytes other than UTF-8 are not here: their bytes collide with delimiters.
var charsets = [...]struct {
	name    string
	table   *charmap.Charmap
	aliases []string // as normalise writes them
}{
	{"", charmap.Windows1252, nil},
	// Senders that say Latin-1 send Windows-1252: the two differ only where
	// Latin-1 has control characters that no text holds.
	{"WINDOWS-1252", charmap.Windows1252, []string{"WINDOWS1252", "CP1252", "WIN1252", "1252", "ANSI", "MSANSI",
		"88591", "ISO88591", "8859", "ISO8859", "LATIN1", "L1", "ISOIR100", "IR100", "ISO885911987", "ISO885911998"}},
	{"8859/2", charmap.ISO8859_2, []string{"88592", "ISO88592", "LATIN2", "ISOIR101"}},
	{"8859/3", charmap.ISO8859_3, []string{"88593", "ISO88593", "LATIN3", "ISOIR109"}},
	{"8859/4", charmap.ISO8859_4, []string{"88594", "ISO88594", "LATIN4", "ISOIR110"}},
	{"8859/5", charmap.ISO8859_5, []string{"88595", "ISO88595", "ISOIR144"}},
	{"8859/6", charmap.ISO8859_6, []string{"88596", "ISO88596", "ISOIR127"}},
	{"8859/7", charmap.ISO8859_7, []string{"88597", "ISO88597", "ISOIR126"}},
	{"8859/8", charmap.ISO8859_8, []string{"88598", "ISO88598", "ISOIR138"}},
	{"8859/9", charmap.ISO8859_9, []string{"88599", "ISO88599", "LATIN5", "ISOIR148"}},
	{"8859/10", charmap.ISO8859_10, []string{"885910", "ISO885910", "LATIN6"}},
	{"8859/13", charmap.ISO8859_13, []string{"885913", "ISO885913", "LATIN7"}},
	{"8859/14", charmap.ISO8859_14, []string{"885914", "ISO885914", "LATIN8"}},
	{"8859/15", charmap.ISO8859_15, []string{"885915", "ISO885915", "LATIN9", "LATIN0"}},
	{"8859/16", charmap.ISO8859_16, []string{"885916", "ISO885916", "LATIN10"}},
	{"WINDOWS-874", charmap.Windows874, []string{"WINDOWS874", "CP874", "ISOIR166", "TIS620", "885911", "ISO885911"}},
	{"WINDOWS-1250", charmap.Windows1250, []string{"WINDOWS1250", "CP1250", "1250"}},
	{"WINDOWS-1251", charmap.Windows1251, []string{"WINDOWS1251", "CP1251", "1251"}},
	{"WINDOWS-1253", charmap.Windows1253, []string{"WINDOWS1253", "CP1253", "1253"}},
	{"WINDOWS-1254", charmap.Windows1254, []string{"WINDOWS1254", "CP1254", "1254"}},
	{"WINDOWS-1255", charmap.Windows1255, []string{"WINDOWS1255", "CP1255", "1255"}},
	{"WINDOWS-1256", charmap.Windows1256, []string{"WINDOWS1256", "CP1256", "1256"}},
	{"WINDOWS-1257", charmap.Windows1257, []string{"WINDOWS1257", "CP1257", "1257"}},
	{"CP437", charmap.CodePage437, []string{"CP437", "IBM437", "437"}},
	{"CP850", charmap.CodePage850, []string{"CP850", "IBM850", "850"}},
	{"CP858", charmap.CodePage858, []string{"CP858", "IBM858", "858"}},
	{"MACINTOSH", charmap.Macintosh, []string{"MACINTOSH", "MACROMAN"}},
}

// detected are names that mean: UTF-8 if valid, else Windows-1252.
var detected = []string{"UTF8", "UNICODEUTF8", "UNICODE", "UNICODEUTF16", "UNICODEUTF32", "UTF16", "ISO10646",
	"ASCII", "USASCII", "ANSIX34", "ISOIR6", "IR6", "ISO646", "7BIT"}

var byAlias = func() map[string]charset {
	m := make(map[string]charset)
	for _, a := range detected {
		m[a] = 0
	}
	for i, c := range charsets {
		for _, a := range c.aliases {
			m[a] = charset(i)
		}
	}
	return m
}()

// KnownCharset says whether a character set of that name, or with that alias,
// can be read. Case, spaces and punctuation do not matter: ISO-8859-1, 8859/1
// and iso8859_1 are one.
func KnownCharset(name string) bool {
	var room [24]byte
	_, ok := byAlias[string(normalise(room[:0], []byte(name)))]
	return ok
}

func charsetOf(name []byte) charset {
	if len(name) == 0 {
		return 0
	}
	var room [24]byte
	return byAlias[string(normalise(room[:0], name))]
}

// normalise appends the letters, in upper case, and the digits of name. What
// does not fit is no name we know.
func normalise(dst, name []byte) []byte {
	for _, c := range name {
		if len(dst) == cap(dst) {
			return dst
		}
		switch {
		case 'a' <= c && c <= 'z':
			dst = append(dst, c-'a'+'A')
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			dst = append(dst, c)
		}
	}
	return dst
}

func (c charset) name() string { return charsets[c].name }

// toUTF8 turns what dst holds from begin on into UTF-8.
func (c charset) toUTF8(dst []byte, begin int) []byte {
	text := dst[begin:]
	high := 0
	for _, b := range text {
		if b >= utf8.RuneSelf {
			high++
		}
	}
	if high == 0 || c == 0 && utf8.Valid(text) {
		return dst
	}
	// Every byte becomes three at most, so the text is moved to the end of
	// the room and rewritten from its start.
	n := len(text)
	dst = append(dst, make([]byte, 2*high)...)
	text = dst[begin:]
	from := text[len(text)-n:]
	copy(from, text[:n])
	out := text[:0]
	for _, b := range from {
		if b < utf8.RuneSelf {
			out = append(out, b)
		} else {
			out = utf8.AppendRune(out, charsets[c].table.DecodeByte(b))
		}
	}
	return dst[:begin+len(out)]
}

// fromUTF8 appends text to dst in the character set. A character that it does
// not have becomes a question mark.
func (c charset) fromUTF8(dst []byte, text string) []byte {
	if c == 0 {
		return append(dst, text...)
	}
	for _, r := range text {
		if b, ok := charsets[c].table.EncodeRune(r); ok {
			dst = append(dst, b)
		} else {
			dst = append(dst, '?')
		}
	}
	return dst
}
