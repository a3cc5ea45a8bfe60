package safeguard

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// NHSNumber is a valid NHS number; the zero value is none. Values are compared
// with ==. However it is printed or encoded, only its last four digits show;
// Reveal alone gives the number.
type NHSNumber struct {
	digits Private[string]
}

// TestPatient is the number reserved for round trips through a live centre,
// which answers it by itself and stores, notifies and counts nothing.
var TestPatient = mustNHSNumber("9990000018")

var (
	errNHSNumberEqual = errors.New("NHS number: ten equal digits, want a number that was issued")
	errNHSNumberCheck = errors.New("NHS number: wrong check digit")
)

// ParseNHSNumber reads ten digits, with spaces or hyphens between them, whose
// last is the modulus 11 check digit (NHS Data Dictionary, NHS NUMBER). Ten
// equal digits are refused, although some of them pass the check. No error
// repeats the input.
func ParseNHSNumber(s string) (NHSNumber, error) {
	var digits [10]byte
	n, sum, equal := 0, 0, true
	for i := range len(s) {
		c := s[i]
		if c == ' ' || c == '-' {
			continue
		}
		if c < '0' || c > '9' {
			return NHSNumber{}, fmt.Errorf("NHS number: character %d is not a digit, want ten digits", i+1)
		}
		if n == len(digits) {
			return NHSNumber{}, errors.New("NHS number: more than ten digits, want ten")
		}
		digits[n] = c
		equal = equal && c == digits[0]
		if n < 9 {
			sum += int(c-'0') * (10 - n)
		}
		n++
	}
	if n != len(digits) {
		return NHSNumber{}, fmt.Errorf("NHS number: %d digits, want ten", n)
	}
	if equal {
		return NHSNumber{}, errNHSNumberEqual
	}
	// A check of 10 never equals a digit, so such a number is invalid.
	if check := (11 - sum%11) % 11; check != int(digits[9]-'0') {
		return NHSNumber{}, errNHSNumberCheck
	}
	return NHSNumber{Hide(string(digits[:]))}, nil
}

func mustNHSNumber(s string) NHSNumber {
	n, err := ParseNHSNumber(s)
	if err != nil {
		panic(err)
	}
	return n
}

// Reveal gives the ten digits. It is the only way to them: use it where the
// number is looked up, sealed, or written into a message body, and nowhere else.
func (n NHSNumber) Reveal() string { return n.digits.Reveal() }

// IsZero tells whether there is no number.
func (n NHSNumber) IsZero() bool { return n.digits.IsZero() }

// IsTest tells whether the number is of the 999 range, which tests use.
func (n NHSNumber) IsTest() bool { return strings.HasPrefix(n.Reveal(), "999") }

// String masks all but the last four digits.
func (n NHSNumber) String() string {
	if n.IsZero() {
		return ""
	}
	return "*** *** " + n.Reveal()[6:]
}

// Format masks for every verb and flag.
func (n NHSNumber) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.String()) }

// LogValue masks.
func (n NHSNumber) LogValue() slog.Value { return slog.StringValue(n.String()) }

// MarshalText masks, so that JSON, XML and YAML show the mask.
func (n NHSNumber) MarshalText() ([]byte, error) { return []byte(n.String()), nil }
