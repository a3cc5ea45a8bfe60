package cpisxml

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// InactiveNotification tells a local authority which of the NHS numbers that it
// uploaded are not in use any more (CP-ISInactiveNHSNumberNotification in
// REPC_MT000005GB01). One without numbers can not be written.
type InactiveNotification struct {
	At        time.Time
	ID        UUID
	Recipient Organisation
	Numbers   []Inactive
}

// Inactive is one such number.
type Inactive struct {
	Number    safeguard.NHSNumber
	LocalID   Text // the authority's own number, if it sent one
	LocalFrom string
	// Replacement is the number now in use. It stays empty where there is none
	// and where none may be told, as after an adoption.
	Replacement safeguard.NHSNumber
	Upload      string // sequence number of the upload
}

func (n InactiveNotification) check() error {
	switch {
	case n.At.IsZero():
		return errors.New("no time")
	case !uuidForm.MatchString(string(n.ID)):
		return errors.New("id: want a UUID in capitals")
	case len(n.Numbers) == 0:
		return errors.New("no number, want at least one")
	}
	for i, number := range n.Numbers {
		switch {
		case number.Number.IsZero():
			return fmt.Errorf("number %d: no NHS number", i+1)
		case number.Replacement == number.Number:
			return fmt.Errorf("number %d: it replaces itself", i+1)
		case strings.TrimSpace(number.Upload) == "":
			return fmt.Errorf("number %d: no sequence number of an upload", i+1)
		}
	}
	return n.Recipient.check()
}

// WriteInactive writes the notification.
func WriteInactive(w io.Writer, n InactiveNotification) error {
	if err := n.check(); err != nil {
		return fmt.Errorf("write inactive number notification: %w", err)
	}
	e := newEmitter(w)
	e.root("CP-ISInactiveNHSNumberNotification")
	e.leaf("effectiveTime", "value", moment(n.At))
	e.leaf("id", "root", string(n.ID))
	e.recipient(n.Recipient)
	for _, i := range n.Numbers {
		e.open("subject")
		e.open("pDSInactivePatient")
		e.personIDs("id", safeguard.Hide(i.Number.Reveal()), i.LocalID, i.LocalFrom)
		if !i.Replacement.IsZero() {
			e.open("replacedBy")
			e.open("newVersion")
			e.leaf("id", "extension", i.Replacement.Reveal())
			e.close("newVersion")
			e.close("replacedBy")
		}
		e.open("subjectOf")
		e.value("lAUploadFile", "extension", i.Upload)
		e.close("subjectOf")
		e.close("pDSInactivePatient")
		e.close("subject")
	}
	if err := e.end("CP-ISInactiveNHSNumberNotification"); err != nil {
		return fmt.Errorf("write inactive number notification: %w", err)
	}
	return nil
}

// ReadInactive reads an inactive-number notification, as a local authority's
// system does. Of several new numbers it takes the first.
func ReadInactive(r io.Reader) (InactiveNotification, error) {
	var out InactiveNotification
	s, err := newScanner(r, "CP-ISInactiveNHSNumberNotification")
	for err == nil {
		var n *node
		if n, err = s.next(); err == nil {
			err = out.read(n)
		}
	}
	if !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("read inactive number notification: %w", err)
	}
	return out, nil
}

func (out *InactiveNotification) read(n *node) (err error) {
	switch n.name {
	case "effectiveTime":
		out.At, err = parseMoment(n.attr("value"))
	case "id":
		out.ID = UUID(strings.ToUpper(n.attr("root")))
	case "primaryInformationRecipient":
		out.Recipient = readRecipient(n)
	case "subject":
		for _, p := range n.all("pDSInactivePatient") {
			i := Inactive{Upload: p.first("subjectOf", "lAUploadFile", "value").attr("extension")}
			for _, id := range p.all("id") {
				switch id.attr("root") {
				case oidNHSNumber:
					if i.Number, err = safeguard.ParseNHSNumber(id.attr("extension")); err != nil {
						return fmt.Errorf("line %d: %w", id.line, err)
					}
				case oidLocalID:
					i.LocalID, i.LocalFrom = safeguard.Hide(id.attr("extension")), id.attr("assigningAuthorityName")
				}
			}
			if id := p.first("replacedBy", "newVersion", "id"); id != nil {
				if i.Replacement, err = safeguard.ParseNHSNumber(id.attr("extension")); err != nil {
					return fmt.Errorf("line %d: %w", id.line, err)
				}
			}
			out.Numbers = append(out.Numbers, i)
		}
	}
	return err
}
