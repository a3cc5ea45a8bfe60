package hl7

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

var ackTime = time.Date(2026, 11, 23, 10, 15, 13, 0, time.UTC)

// acknowledged checks that m can be acknowledged, and that the acknowledgement
// is one message with m's own control id.
func acknowledged(m Message) error {
	for _, a := range []Ack{
		{Code: AA},
		{Code: CR, Error: RequiredField, At: Path{Segment: "PID", Field: 3, Component: 4}, Text: "a|b^c~d\\e&f\r\n\x1c\r\x0b"},
	} {
		a.ControlID, a.Time = "SG1", ackTime
		out := a.To(m)
		r, err := ParseAck(out)
		if err != nil {
			return fmt.Errorf("acknowledgement %q: %w", out, err)
		}
		if r.Code != a.Code || !bytes.Equal(r.ControlID, m.Header().ControlID) {
			return fmt.Errorf("acknowledgement %q of %q", out, m.Header().ControlID)
		}
		if bytes.Contains(out, []byte("\x1c\r")) {
			return fmt.Errorf("acknowledgement %q ends its own frame", out)
		}
		if (len(r.Errors) > 0) != (a.Error != 0) {
			return fmt.Errorf("acknowledgement %q tells of %d errors", out, len(r.Errors))
		}
	}
	return nil
}

// The acknowledgements of every version and character, as golden files.
func TestAcks(t *testing.T) {
	fault := Ack{Code: AE, Error: RequiredField, At: Path{Segment: "PID", Field: 3}, Text: "PID-3 holds no identifier"}
	for _, c := range []struct {
		name, message string
		ack           Ack
	}{
		{"aa-2.4", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04^ADT_A01|4711|P|2.4||||||UNICODE`, Ack{Code: AA}},
		{"aa-2.3", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04|4711|T|2.3`, Ack{Code: AA}},
		{"ca-2.5.1", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04^ADT_A01|4711|P|2.5.1|||AL|NE`, Ack{Code: CA}},
		{"ae-2.3", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04|4711|P|2.3`, fault},
		{"ae-2.4", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04^ADT_A01|4711|P|2.4`, fault},
		{"ae-2.5", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04^ADT_A01|4711|P|2.5`, fault},
		{"ae-2.8-deep", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04^ADT_A01|4711|P|2.8`,
			Ack{Code: AE, Error: TableValue, At: Path{Segment: "PID", Occurrence: 1, Field: 3, Repetition: 2, Component: 5, Sub: 1}}},
		{"ar-whole-message", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ORU^R01|4711|P|2.4`, Ack{Code: AR, Error: UnsupportedType}},
		{"ar-whole-message-2.6", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ORU^R01|4711|P|2.6`, Ack{Code: AR, Error: UnsupportedType}},
		{"other-delimiters", `MSH$%*!+$PAS$RZZ01$SG$RZZ$20261123$$ADT%A04$47|11$P$2.4`, Ack{Code: AE, Error: Internal, Text: "not now (100%|$)"}},
		{"one-delimiter", `MSH|^|PAS|RZZ01|SG|RZZ|20261123||ADT^A04|4711|P|2.4`, Ack{Code: AE, Error: Internal, Text: "a|b^c"}},
		{"verbatim-id", `MSH|^~\&|PAS|RZZ01|SG|RZZ|20261123||ADT^A04| x\F\y^z~& |P|2.4`, Ack{Code: AA}},
		{"short-header", `MSH|^~\&|PAS`, Ack{Code: AA}},
		{"sender-with-components", `MSH|^~\&|PAS^2.16.840^ISO|RZZ01^QUARRY^L|SG^X|RZZ|20261123||ADT^A04|4711|P^T|2.5^GBR|`, Ack{Code: AA}},
		{"unreadable", ``, Ack{Code: AR, Error: SegmentSequence, Text: "no MSH"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := ParseHeader([]byte(c.message + "\r"))
			if err != nil && c.message != "" {
				t.Fatal(err)
			}
			c.ack.ControlID, c.ack.Time = "SG1", ackTime
			golden(t, c.name+".ack", c.ack.To(m))
		})
	}
}

func TestParseAck(t *testing.T) {
	const head = "MSH|^~\\&|EPR|RZZ|SG|RZZ|20261123||ACK|9|P|2.4\r"
	for _, c := range []struct {
		name, body string
		want       Reply
	}{
		{"AA", head + "MSA|AA|1\r", Reply{Code: AA, ControlID: []byte("1")}},
		{"CA with a text", head + "MSA|CA|1|all well & good\r", Reply{Code: CA, ControlID: []byte("1"), Text: "all well & good"}},
		{"verbatim id", head + "MSA|AA| a\\F\\b^c\r", Reply{Code: AA, ControlID: []byte(" a\\F\\b^c")}},
		{"MSA-6", head + "MSA|AE|1|no|||101^Required field missing^HL70357\r",
			Reply{Code: AE, ControlID: []byte("1"), Text: "no", Errors: []ReplyError{{Code: "101", Text: "Required field missing"}}}},
		{"ELD", head + "MSA|AR|1\rERR|PID^1^3^101&Required field missing&HL70357~PV1^^^102\r",
			Reply{Code: AR, ControlID: []byte("1"), Errors: []ReplyError{
				{Code: "101", Text: "Required field missing", Location: "PID^1^3"}, {Code: "102", Location: "PV1"}}}},
		{"ERL", head + "MSA|CE|1\rERR||PID^1^3^1^4|207^Application internal error^HL70357|E|||disk|try later\rERR|||100|W\r",
			Reply{Code: CE, ControlID: []byte("1"), Errors: []ReplyError{
				{Code: "207", Text: "try later", Location: "PID^1^3", Severity: "E"}, {Code: "100", Severity: "W"}}}},
		{"spaces behind the code", head + "MSA|AA |1\r", Reply{}},
		{"no MSA", head, Reply{}},
		{"no code", head + "MSA||1\r", Reply{}},
		{"another code", head + "MSA|OK|1\r", Reply{}},
		{"no HL7", "OK", Reply{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseAck([]byte(c.body))
			if (err != nil) != (c.want.Code == "") {
				t.Fatalf("got %v", err)
			}
			if err == nil && fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if _, err := ParseAck([]byte(head)); !errors.Is(err, ErrNotAck) {
		t.Errorf("got %v, want ErrNotAck", err)
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]int{
		"2.4": 2_04_00, "2.3.1": 2_03_01, "2.5.1^GBR": 2_05_01, "2": 2_00_00, "2.10": 2_10_00,
		"": 0, "P": 0, "2.x": 0, "2.3.1.4": 0, "2.8.10000000": 0, "2.9999": 0,
	} {
		f := mustParse(t, `MSH|^~\&|||||||||`+"|"+version).Header().Version
		if got := versionOf(f); got != want {
			t.Errorf("%q: got %d, want %d", version, got, want)
		}
	}
}
