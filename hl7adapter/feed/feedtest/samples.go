package feedtest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// ADT returns the registration of a made-up person in an emergency department,
// with that control id in MSH-10.
func ADT(controlID string) []byte { return adt(controlID, "", "") }

// Asking returns ADT with MSH-15 and MSH-16.
func Asking(controlID, accept, application string) []byte {
	return adt(controlID, accept, application)
}

func adt(id, accept, application string) []byte {
	header := strings.TrimRight(strings.Join([]string{`MSH|^~\&`, "PAS", "RZZ01", "SAFEGUARD", "RZZ", "20261123101500", "",
		"ADT^A04^ADT_A01", id, "P", "2.4", "", "", accept, application}, "|"), "|")
	return []byte(header + "\r" +
		"EVN||20261123101500|||||20261123101400\r" +
		"PID|1||9990000018^^^NHS~44001^^^RZZ^MR||MARLOWE^ROBIN||20190412|2\r" +
		"PV1|1|E|ED^^^RZZ01||21|||||||||||||||" + id + "^^^VISITID\r")
}

// Exact returns messages whose bytes are easily changed on the way, by name.
func Exact() map[string][]byte {
	plain := string(ADT("exact"))
	return map[string][]byte{
		"plain":                    []byte(plain),
		"without its last CR":      []byte(strings.TrimSuffix(plain, "\r")),
		"CRLF":                     []byte(strings.ReplaceAll(plain, "\r", "\r\n")),
		"LF":                       []byte(strings.ReplaceAll(plain, "\r", "\n")),
		"a line feed in a field":   []byte(plain + "NTE|1||first\nPID|1||other\r"),
		"a byte order mark":        []byte("\xef\xbb\xbf" + plain),
		"UTF-8":                    []byte(plain + "NTE|1||\u017belazna, Zo\u00eb\r"),
		"Windows-1252":             []byte(plain + "NTE|1||Zo\xeb \x93quoted\x94\r"),
		"NULs and spaces":          []byte(plain + "NTE|1||a\x00b  \x00\r \r"),
		"a VT and an FS":           []byte(plain + "NTE|1||a\vb\x1cc\r"),
		"200 KB in one field":      []byte(plain + "OBX|1|ED|1||^^^Base64^" + strings.Repeat("QUJD", 50_000) + "\r"),
		"other delimiters":         []byte("MSH$%*!+$PAS$RZZ01$SAFEGUARD$RZZ$20261123$$ADT%A04$exact$P$2.4\rPID$1$$9990000018%%%NHS\r"),
		"many empty lines and pad": []byte(plain + "\r\r   \r"),
	}
}

// stamped returns an acknowledgement of m that no feed would propose by itself.
func stamped(m feed.Message) feed.Ack {
	parsed, err := hl7.ParseHeader(m.Body)
	if err != nil {
		parsed = hl7.Message{}
	}
	return hl7.Ack{Code: hl7.AA, ControlID: "STAMPED", Time: m.Received, Text: "kept the first time"}.To(parsed)
}

// wantAck checks what a peer saw: code for id, by its MSA.
func wantAck(got []byte, code hl7.AckCode, id string) error {
	r, err := hl7.ParseAck(got)
	if err != nil {
		return fmt.Errorf("peer got %q: %w", got, err)
	}
	if r.Code != code || string(r.ControlID) != id {
		return fmt.Errorf("peer got %s for %q, want %s for %q", r.Code, r.ControlID, code, id)
	}
	return nil
}

// wantSame checks that got is want, with or without white space at the end.
func wantSame(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("peer got %q, want the acknowledgement that accept returned, %q", got, want)
	}
	return nil
}
