package staff

import (
	"fmt"
	"slices"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Reading says how a member of staff is told by the claims of a provider.
//
// A provider that lists a person's roles as profiles, each with an organisation
// and codes of its own, as NHS CIS2 does in nhsid_nrbac_roles, is read by profile:
// a right at one organisation is none at another.
type Reading struct {
	NameClaim         string                  // the person's name
	Profiles          string                  // lists profiles; empty where the claims below are the person's own
	ProfileID         string                  // within a profile, names it
	SelectedProfile   string                  // beside the profiles, names the one that the person works in now; empty where that is not said
	RoleClaim         string                  // the person's role in words
	OrganisationClaim string                  // ODS code
	CodesClaim        string                  // lists codes, such as B0107
	Codes             map[string]store.Rights // by code

	// Operators says who operates the centre: they do not see children, whatever else
	// they may. Nil where that can not be told.
	Operators *signin.Operators
}

// refusal is why somebody may not come in, for them to read.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

func refusef(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// Person gives whom the claims are about, without a session. An error says why they
// may not come in; the person is given as far as known.
func (r Reading) Person(claims signin.Claims) (store.StaffSession, error) {
	person := store.StaffSession{Subject: claims.Subject(), Name: claims.Text(r.NameClaim)}
	if person.Name == "" {
		person.Name = person.Subject
	}
	if r.Operators != nil {
		if role := r.Operators.Role(claims); role != store.NoRole {
			return person, refusef("the role %s is one of the centre's operators, who do not see children", role)
		}
	}
	var found bool
	for _, profile := range r.profiles(claims) {
		rights := r.rights(profile)
		if rights == 0 {
			continue
		}
		organisation, err := safeguard.ParseODSCode(profile.Text(r.OrganisationClaim))
		switch {
		case err != nil:
			return person, refusef("claim %s does not say one organisation: want its ODS code", r.OrganisationClaim)
		case found && organisation != person.Organisation:
			return person, refusef("there are rights at several organisations, %s and %s: select the role in which you work now when you sign in", person.Organisation, organisation)
		case !found:
			person.Role = profile.Text(r.RoleClaim)
		}
		found, person.Organisation, person.Rights = true, organisation, person.Rights|rights
	}
	if !found {
		return person, refusef("claim %s gives none of the codes that let anybody in", r.CodesClaim)
	}
	if person.Role == "" {
		person.Role = "role not stated"
	}
	return person, nil
}

// profiles are those in which the person works now.
func (r Reading) profiles(claims signin.Claims) []signin.Claims {
	if r.Profiles == "" {
		return []signin.Claims{claims}
	}
	list := claims.Within(r.Profiles)
	if r.SelectedProfile == "" {
		return list
	}
	selected := claims.Text(r.SelectedProfile)
	return slices.DeleteFunc(list, func(p signin.Claims) bool { return selected == "" || p.Text(r.ProfileID) != selected })
}

func (r Reading) rights(profile signin.Claims) (rights store.Rights) {
	for _, code := range profile.Texts(r.CodesClaim) {
		rights |= r.Codes[code]
	}
	return rights
}
