package cpisxml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/safeguard-edge/safeguard"
)

// Organisation is an organisation or site, and where it is a local authority
// how to call it.
type Organisation struct {
	Code          safeguard.ODSCode
	Site          bool // Code is that of a site
	Name          string
	EmergencyDuty string // of a local authority: required
	OfficeHours   string // may be empty
}

func (o Organisation) check() error {
	switch {
	case o.Code.IsZero():
		return errors.New("organisation: no code")
	case strings.TrimSpace(o.Name) == "":
		return fmt.Errorf("organisation %s: no name", o.Code)
	}
	return nil
}

// checkAuthority is check, and that there is a number to call.
func (o Organisation) checkAuthority() error {
	if err := o.check(); err != nil {
		return err
	}
	if !telForm.MatchString(telephone(o.EmergencyDuty)) {
		return fmt.Errorf("organisation %s: emergency duty telephone: want digits", o.Code)
	}
	if o.OfficeHours != "" && !telForm.MatchString(telephone(o.OfficeHours)) {
		return fmt.Errorf("organisation %s: office hours telephone: want digits", o.Code)
	}
	return nil
}

// readOrganisation reads what it can; a code that is none stays empty.
func readOrganisation(n *node) Organisation {
	id := n.first("id")
	o := Organisation{Name: n.first("name").words(), Site: id.attr("root") == oidSite}
	o.Code, _ = safeguard.ParseODSCode(id.attr("extension"))
	for _, t := range n.all("telecom") {
		// The national service takes only a use of exactly EC for the emergency
		// duty number; the first other is the office's.
		switch use := t.attr("use"); {
		case use == "EC" && o.EmergencyDuty == "":
			o.EmergencyDuty = parseTelephone(t.attr("value"))
		case use != "EC" && o.OfficeHours == "":
			o.OfficeHours = parseTelephone(t.attr("value"))
		}
	}
	return o
}

// id writes the code and name.
func (e *emitter) organisationID(o Organisation) {
	root := oidOrganisation
	if o.Site {
		root = oidSite
	}
	e.leaf("id", "root", root, "extension", o.Code.String())
	e.text("name", o.Name)
}

// authority writes the local authority, with its telephones.
func (e *emitter) authority(link string, o Organisation) {
	e.open(link)
	e.open("organisation")
	e.organisationID(o)
	if o.OfficeHours != "" {
		e.leaf("telecom", "value", telephone(o.OfficeHours), "use", "WP")
	}
	e.leaf("telecom", "value", telephone(o.EmergencyDuty), "use", "EC")
	e.close("organisation")
	e.close(link)
}

// recipient writes whom a notification is for (COCT_TP145103GB01).
func (e *emitter) recipient(o Organisation) {
	const template, element = "COCT_TP145103GB01", "IntendedRecipient"
	e.open("primaryInformationRecipient")
	e.content(template, element)
	e.open(template + "." + element)
	e.open("representedSourceOrganization")
	e.organisationID(o)
	e.close("representedSourceOrganization")
	e.close(template + "." + element)
	e.close("primaryInformationRecipient")
}

func readRecipient(n *node) Organisation {
	return readOrganisation(n.first("COCT_TP145103GB01.IntendedRecipient", "representedSourceOrganization"))
}
