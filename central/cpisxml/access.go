package cpisxml

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// AccessNotification tells a local authority who looked at the records that it
// uploaded (CP-ISAccessToServiceNotification in REPC_MT000004GB01). One without
// accesses says that nobody did.
type AccessNotification struct {
	At        time.Time
	ID        UUID // one for each notification
	Accesses  []Access
	Recipient Organisation
}

// Access is one look at one person's records.
type Access struct {
	At        time.Time
	Query     UUID // of the query: to recognise a repeat by
	Author    Author
	Number    safeguard.NHSNumber
	LocalID   Text // the authority's own number, if it sent one
	LocalFrom string
	Upload    string // sequence number of the upload that the record came from
}

// Author is who looked: a person, or a system for persons who answer for it.
// Exactly one of the two is set.
type Author struct {
	Person *Person
	System *System
}

// Person is a person who looked by hand (COCT_TP145102GB01.AssignedAuthor).
type Person struct {
	Role         Role
	User         string // SDS user id
	RoleProfile  string // SDS role profile id; may be empty
	Name         Name
	Organisation Organisation
}

// System is a system that asked (COCT_TP145104GB01.System).
type System struct {
	ASID         string // accredited system id, twelve digits
	Answerable   []Answerable
	Organisation Organisation
}

// Answerable is a person who answers for what a system asks.
type Answerable struct {
	Role Role
	Name Name
}

// Role is a job role, by default of the code system JobRoleName.
type Role struct{ Code, System, Title string }

// Name is that of a member of staff.
type Name struct{ Prefix, Given, Family string }

func (a Author) check() error {
	switch {
	case (a.Person == nil) == (a.System == nil):
		return errors.New("author: want either a person or a system")
	case a.Person != nil:
		p := a.Person
		if p.Role.Code == "" || p.Role.Title == "" || p.User == "" {
			return errors.New("author: want a role with code and title, and a user id")
		}
		return p.Organisation.check()
	}
	if !asidForm.MatchString(a.System.ASID) {
		return errors.New("author: ASID, want twelve digits")
	}
	for _, who := range a.System.Answerable {
		if who.Role.Code == "" || who.Role.Title == "" || who.Name == (Name{}) {
			return errors.New("author: who answers for it: want a role with code and title, and a name")
		}
	}
	return a.System.Organisation.check()
}

func (n AccessNotification) check() error {
	switch {
	case n.At.IsZero():
		return errors.New("no time")
	case !uuidForm.MatchString(string(n.ID)):
		return errors.New("id: want a UUID in capitals")
	}
	for i, a := range n.Accesses {
		err := a.Author.check()
		switch {
		case err != nil:
		case a.At.IsZero():
			err = errors.New("no time")
		case !uuidForm.MatchString(string(a.Query)):
			err = errors.New("query: want a UUID in capitals")
		case a.Number.IsZero():
			err = errors.New("no NHS number")
		case strings.TrimSpace(a.Upload) == "":
			err = errors.New("no sequence number of an upload")
		}
		if err != nil {
			return fmt.Errorf("access %d: %w", i+1, err)
		}
	}
	return n.Recipient.check()
}

// WriteAccess writes the notification, one query in each record access.
func WriteAccess(w io.Writer, n AccessNotification) error {
	if err := n.check(); err != nil {
		return fmt.Errorf("write access notification: %w", err)
	}
	e := newEmitter(w)
	e.root("CP-ISAccessToServiceNotification")
	e.leaf("effectiveTime", "value", moment(n.At))
	e.leaf("id", "root", string(n.ID))
	e.open("pertinentInformation")
	e.value("pertinentTotalReturnedRecords", "value", strconv.Itoa(len(n.Accesses)))
	e.close("pertinentInformation")
	for _, a := range n.Accesses {
		e.access(a)
	}
	e.recipient(n.Recipient)
	if err := e.end("CP-ISAccessToServiceNotification"); err != nil {
		return fmt.Errorf("write access notification: %w", err)
	}
	return nil
}

func (e *emitter) access(a Access) {
	e.open("pertinentInformation1")
	e.open("pertinentCP-ISRecordAccess")
	e.open("pertinentInformation2")
	e.open("pertinentCP-ISNHSQuery")
	e.leaf("effectiveTime", "value", moment(a.At))
	e.leaf("id", "root", string(a.Query))
	e.author(a.Author)
	e.open("queryByParameter")
	e.open("person.id")
	e.personIDs("value", safeguard.Hide(a.Number.Reveal()), a.LocalID, a.LocalFrom)
	e.close("person.id")
	e.close("queryByParameter")
	e.close("pertinentCP-ISNHSQuery")
	e.close("pertinentInformation2")
	e.open("reference")
	e.value("referredToLAUploadFile", "extension", a.Upload)
	e.close("reference")
	e.close("pertinentCP-ISRecordAccess")
	e.close("pertinentInformation1")
}

func (e *emitter) author(a Author) {
	e.open("author")
	if p := a.Person; p != nil {
		e.content("COCT_TP145102GB01", "AssignedAuthor")
		e.open("COCT_TP145102GB01.AssignedAuthor")
		e.role(p.Role)
		e.leaf("id", "root", oidUser, "extension", p.User)
		if p.RoleProfile != "" {
			e.leaf("id", "root", oidRoleProfile, "extension", p.RoleProfile)
		}
		e.open("assignedAuthorPerson")
		e.name(p.Name)
		e.close("assignedAuthorPerson")
		e.open("representedOrganization")
		e.organisationID(p.Organisation)
		e.close("representedOrganization")
		e.close("COCT_TP145102GB01.AssignedAuthor")
	} else {
		s := a.System
		e.content("COCT_TP145104GB01", "System")
		e.open("COCT_TP145104GB01.System")
		e.leaf("id", "root", oidSystem, "extension", s.ASID)
		for _, who := range s.Answerable {
			e.open("indirectAuthority")
			e.open("superiorAssignedEntity")
			e.role(who.Role)
			e.open("assignedPerson")
			e.name(who.Name)
			e.close("assignedPerson")
			e.close("superiorAssignedEntity")
			e.close("indirectAuthority")
		}
		e.open("maintainingOrganization")
		e.organisationID(s.Organisation)
		e.close("maintainingOrganization")
		e.close("COCT_TP145104GB01.System")
	}
	e.close("author")
}

func (e *emitter) role(r Role) {
	system := r.System
	if system == "" {
		system = JobRoleName
	}
	e.leaf("code", "code", r.Code, "codeSystem", system, "displayName", r.Title)
}

func (e *emitter) name(n Name) {
	e.open("name")
	for _, part := range []struct{ element, text string }{{"prefix", n.Prefix}, {"given", n.Given}, {"family", n.Family}} {
		if part.text != "" {
			e.text(part.element, part.text)
		}
	}
	e.close("name")
}

// ReadAccess reads an access notification, as a local authority's system does,
// in whichever way the accesses are grouped.
func ReadAccess(r io.Reader) (AccessNotification, error) {
	var out AccessNotification
	s, err := newScanner(r, "CP-ISAccessToServiceNotification")
	for err == nil {
		var n *node
		if n, err = s.next(); err == nil {
			err = out.read(n)
		}
	}
	if !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("read access notification: %w", err)
	}
	return out, nil
}

func (out *AccessNotification) read(n *node) (err error) {
	switch n.name {
	case "effectiveTime":
		out.At, err = parseMoment(n.attr("value"))
	case "id":
		out.ID = UUID(strings.ToUpper(n.attr("root")))
	case "primaryInformationRecipient":
		out.Recipient = readRecipient(n)
	case "pertinentInformation1":
		for _, record := range n.all("pertinentCP-ISRecordAccess") {
			upload := record.first("reference", "referredToLAUploadFile", "value").attr("extension")
			for _, information := range record.all("pertinentInformation2") {
				for _, query := range information.all("pertinentCP-ISNHSQuery") {
					a, err := readAccess(query)
					if err != nil {
						return err
					}
					a.Upload = upload
					out.Accesses = append(out.Accesses, a)
				}
			}
		}
	}
	return err
}

func readAccess(n *node) (a Access, err error) {
	if a.At, err = parseMoment(n.first("effectiveTime").attr("value")); err != nil {
		return a, fmt.Errorf("line %d: effectiveTime: %w", n.line, err)
	}
	a.Query = UUID(strings.ToUpper(n.first("id").attr("root")))
	for _, id := range n.first("queryByParameter", "person.id").all("value") {
		switch id.attr("root") {
		case oidNHSNumber:
			if a.Number, err = safeguard.ParseNHSNumber(id.attr("extension")); err != nil {
				return a, fmt.Errorf("line %d: %w", id.line, err)
			}
		case oidLocalID:
			a.LocalID, a.LocalFrom = safeguard.Hide(id.attr("extension")), id.attr("assigningAuthorityName")
		}
	}
	author := n.first("author")
	if p := author.first("COCT_TP145102GB01.AssignedAuthor"); p != nil {
		a.Author.Person = &Person{
			Role:         readRole(p.first("code")),
			Name:         readName(p.first("assignedAuthorPerson", "name")),
			Organisation: readOrganisation(p.first("representedOrganization")),
		}
		for _, id := range p.all("id") {
			switch id.attr("root") {
			case oidUser:
				a.Author.Person.User = id.attr("extension")
			case oidRoleProfile:
				a.Author.Person.RoleProfile = id.attr("extension")
			}
		}
	}
	if s := author.first("COCT_TP145104GB01.System"); s != nil {
		a.Author.System = &System{ASID: s.first("id").attr("extension"), Organisation: readOrganisation(s.first("maintainingOrganization"))}
		for _, i := range s.all("indirectAuthority") {
			who := i.first("superiorAssignedEntity")
			a.Author.System.Answerable = append(a.Author.System.Answerable,
				Answerable{readRole(who.first("code")), readName(who.first("assignedPerson", "name"))})
		}
	}
	return a, nil
}

func readRole(n *node) Role {
	r := Role{n.attr("code"), n.attr("codeSystem"), n.attr("displayName")}
	if r.System == JobRoleName {
		r.System = ""
	}
	return r
}

// readName reads the parts, or a name that is nothing but text.
func readName(n *node) Name {
	name := Name{n.first("prefix").words(), n.first("given").words(), n.first("family").words()}
	if name == (Name{}) {
		name.Family = n.words()
	}
	return name
}
