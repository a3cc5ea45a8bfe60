package central

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/staff"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/configs"
)

// Staff is the pages on which members of staff with the right view flags.
type Staff struct {
	Listen      string        `yaml:"listen"`       // host:port; empty for no pages
	AddressFile string        `yaml:"address_file"` // where the address is written once it listens; empty for nowhere
	Certificate string        `yaml:"certificate"`  // PEM file of one that browsers trust, with the intermediate ones; empty for the centre's own
	Key         string        `yaml:"key"`          // PEM file of its key
	Idle        time.Duration `yaml:"idle"`         // after so long without use somebody is signed out, and the page leaves the screen
	Absolute    time.Duration `yaml:"absolute"`     // and after so long in any case
	Searches    int           `yaml:"searches"`     // that one person may make in a quarter of an hour
	OIDC        *StaffOIDC    `yaml:"oidc"`         // whom staff sign in with; there is no other way in
}

// StaffOIDC is a provider of OpenID Connect, and how it says what somebody may do.
type StaffOIDC struct {
	Name             string   `yaml:"name"`               // as staff are to read it
	Issuer           string   `yaml:"issuer"`             // https; http only for this machine
	ClientID         string   `yaml:"client_id"`          // of the centre, as it is registered there
	ClientSecretFile string   `yaml:"client_secret_file"` // a file that holds the client's secret; empty for a public client
	Origin           string   `yaml:"origin"`             // of the pages, as browsers call them; register it with /sign-in/returned behind it
	Scopes           []string `yaml:"scopes"`             // besides openid
	UserInfo         bool     `yaml:"user_info"`          // ask the provider's UserInfo endpoint for what its token has not
	SingleSignOn     bool     `yaml:"single_sign_on"`     // let in whoever is signed in at the provider already; else it finds out anew who it is, at each sign-in

	NameClaim         string `yaml:"name_claim"`         // the person's name, as in the access history
	RoleClaim         string `yaml:"role_claim"`         // the person's role in words, as in the access history
	OrganisationClaim string `yaml:"organisation_claim"` // the ODS code of the organisation that the person works for
	CodesClaim        string `yaml:"codes_claim"`        // lists the codes below

	// A provider that lists roles as profiles, each with claims of its own, is read by
	// profile.
	ProfilesClaim        string `yaml:"profiles_claim"`         // lists the profiles, which have role, organisation and codes; empty where the person has them
	ProfileIDClaim       string `yaml:"profile_id_claim"`       // within a profile, names it
	SelectedProfileClaim string `yaml:"selected_profile_claim"` // names the profile that the person works in now; empty where that is not said

	Codes StaffCodes `yaml:"codes"`
}

// StaffCodes are the codes that give each right.
type StaffCodes struct {
	ViewAndNotify  []string `yaml:"view_and_notify"` // view flags for unscheduled care; recorded in the access history, and notifies
	ViewSilently   []string `yaml:"view_silently"`   // view flags for scheduled care; notifies nobody
	PrivacyOfficer []string `yaml:"privacy_officer"` // review the organisation's views by break-glass
	LocalAuthority []string `yaml:"local_authority"` // see who accessed the flags of the local authority that the organisation is
}

func (c StaffCodes) byCode() map[string]store.Rights {
	all := map[string]store.Rights{}
	for _, of := range []struct {
		right store.Rights
		codes []string
	}{{store.ViewAndNotify, c.ViewAndNotify}, {store.ViewSilently, c.ViewSilently}, {store.ReviewViews, c.PrivacyOfficer}, {store.OwnAccesses, c.LocalAuthority}} {
		for _, code := range of.codes {
			all[code] |= of.right
		}
	}
	return all
}

func defaultStaff() Staff {
	return Staff{Idle: 10 * time.Minute, Absolute: 8 * time.Hour, Searches: 20}
}

// beside takes the paths from the folder of the configuration.
func (s *Staff) beside(path string) {
	s.AddressFile, s.Certificate, s.Key = configs.Beside(path, s.AddressFile), configs.Beside(path, s.Certificate), configs.Beside(path, s.Key)
	if s.OIDC != nil {
		s.OIDC.ClientSecretFile = configs.Beside(path, s.OIDC.ClientSecretFile)
	}
}

// validate names the first key that can not work. Files are not read.
func (s Staff) validate() error {
	if err := checkPages(s.Listen, s.Certificate, s.Key, s.Idle, s.Absolute); err != nil {
		return fmt.Errorf("staff.%w", err)
	}
	switch {
	case s.Listen == "":
		return nil
	case s.Searches < 1:
		return fmt.Errorf("staff.searches: %d, want at least 1", s.Searches)
	case s.OIDC == nil:
		return errors.New("staff.oidc: missing, want the provider that staff sign in with")
	}
	if err := s.OIDC.validate(); err != nil {
		return fmt.Errorf("staff.oidc.%w", err)
	}
	return nil
}

func (o StaffOIDC) validate() error {
	if err := checkProvider(o.Name, o.ClientID, o.Issuer, o.Origin); err != nil {
		return err
	}
	switch {
	case o.OrganisationClaim == "":
		return errors.New("organisation_claim: missing, want the claim that gives the ODS code of the person's organisation")
	case o.CodesClaim == "":
		return errors.New("codes_claim: missing, want the claim that lists codes such as B0107")
	case o.ProfilesClaim == "" && (o.ProfileIDClaim != "" || o.SelectedProfileClaim != ""):
		return errors.New("profiles_claim: missing, want the claim that lists profiles, or neither profile_id_claim nor selected_profile_claim")
	case (o.ProfileIDClaim == "") != (o.SelectedProfileClaim == ""):
		return errors.New("profile_id_claim, selected_profile_claim: want both, or neither")
	case len(o.Codes.byCode()) == 0:
		return errors.New("codes: missing, want the codes that give each right, such as view_and_notify: [B0107]")
	}
	return nil
}

// staffPages listens for staff; nil where there are to be no such pages.
func (c Config) staffPages(held store.Store, entrance *identity.Entrance, flags *server.Server, log *slog.Logger) (*staff.Server, error) {
	if c.Staff.Listen == "" {
		return nil, nil
	}
	secured, zone, err := c.securePages("staff", entrance, c.Staff.Certificate, c.Staff.Key)
	if err != nil {
		return nil, err
	}
	o := c.Staff.OIDC
	provider, err := provided("staff", o.ClientSecretFile, &signin.Provider{
		Name: o.Name, Issuer: o.Issuer, ClientID: o.ClientID, Origin: o.Origin, Scopes: o.Scopes, AskAgain: !o.SingleSignOn, UserInfo: o.UserInfo,
	})
	if err != nil {
		return nil, err
	}
	reading := staff.Reading{
		NameClaim: o.NameClaim, RoleClaim: o.RoleClaim, OrganisationClaim: o.OrganisationClaim, CodesClaim: o.CodesClaim,
		Profiles: o.ProfilesClaim, ProfileID: o.ProfileIDClaim, SelectedProfile: o.SelectedProfileClaim, Codes: o.Codes.byCode(),
	}
	if w := c.Web.OIDC; w != nil && w.Issuer == o.Issuer {
		reading.Operators = &signin.Operators{RoleClaim: w.RoleClaim, Roles: w.Roles.byValue()}
	}
	return staff.Listen(staff.Config{
		Listen: c.Staff.Listen, TLS: secured, Store: held, Flags: flags, Provider: provider, Reading: reading,
		Limits: signin.Limits{Idle: c.Staff.Idle, Absolute: c.Staff.Absolute}, Searches: c.Staff.Searches, Zone: zone, Log: log,
	})
}

// serveStaff has the pages for staff served until ctx ends.
func (c Config) serveStaff(ctx context.Context, pages *staff.Server) error {
	return serveAt(ctx, c.Staff.AddressFile, pages)
}
