package cpisxml

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The forms of the values (dt/datatypes and the message schemas).
var (
	momentForm = regexp.MustCompile(`^\d{8}(\d{2}(\d{2}(\d{2}(\.\d+)?)?)?([+-]\d{4})?)?$`)
	planForm   = regexp.MustCompile(`^(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d$`)
	birthForm  = regexp.MustCompile(`^(\d{1,8}|(\d{9,14}|\d{14}\.\d+)([+-]\d{1,4})?)$`)
	uuidForm   = regexp.MustCompile(`^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$`)
	telForm    = regexp.MustCompile(`^tel:\+?\d+$`)
	asidForm   = regexp.MustCompile(`^\d{12}$`)
)

// moment writes a time with all fourteen digits and the offset.
func moment(t time.Time) string { return t.Format("20060102150405-0700") }

// parseMoment reads a time of day, whose offset is UTC where none is given.
func parseMoment(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if !momentForm.MatchString(s) {
		return time.Time{}, errors.New("is no moment, want YYYYMMDDHHMMSS and an offset")
	}
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	rest := s[len(digits):]
	if strings.HasPrefix(rest, ".") {
		rest = rest[1:]
		rest = strings.TrimLeft(rest, "0123456789")
	}
	if rest == "" {
		rest = "+0000"
	}
	t, err := time.Parse("20060102150405-0700", (digits + "000000")[:14]+rest)
	if err != nil {
		return time.Time{}, errors.New("is no moment of the calendar, want YYYYMMDDHHMMSS and an offset")
	}
	if t.Location() != time.UTC {
		if _, offset := t.Zone(); offset == 0 {
			t = t.UTC()
		}
	}
	return t, nil
}

// UUID is an identifier as the messages have it, in capitals.
type UUID string

// NewUUID makes one at random (RFC 9562, version 4).
func NewUUID() UUID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return UUID(fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// telephone writes a number as the messages have it.
func telephone(number string) string {
	number = strings.TrimPrefix(strings.TrimSpace(number), "tel:")
	return "tel:" + strings.NewReplacer(" ", "", "-", "", "(", "", ")", "").Replace(number)
}

// parseTelephone reads one; its length is not looked at.
func parseTelephone(value string) string {
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(value), "tel:"))
}
