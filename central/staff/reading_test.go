package staff_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/staff"
	"github.com/safeguard-edge/safeguard/central/store"
)

func TestReading(t *testing.T) {
	profiles := staff.Reading{
		NameClaim: "name", Profiles: "nhsid_nrbac_roles", ProfileID: "person_roleid", SelectedProfile: "selected_roleid",
		RoleClaim: "role_name", OrganisationClaim: "org_code", CodesClaim: "activity_codes", Codes: reading.Codes,
	}
	unselected := profiles
	unselected.SelectedProfile, unselected.ProfileID = "", ""
	const two = `"sub": "1", "name": "Vera Example", "nhsid_nrbac_roles": [
		{"person_roleid": "11", "org_code": "RX1", "role_name": "Nurse", "activity_codes": ["B0107", "B0825"]},
		{"person_roleid": "22", "org_code": "RX2", "role_name": "Privacy Officer", "activity_codes": ["privacy"]}]`
	for _, tt := range []struct {
		name         string
		reading      staff.Reading
		claims       string
		organisation string
		role         string
		rights       store.Rights
		refused      string
	}{
		{"B0107", reading, `{"sub": "1", "job_title": "Nurse", "ods_code": "RX1", "activity_codes": ["B0107"]}`, "RX1", "Nurse", store.ViewAndNotify, ""},
		{"B0170, as a text", reading, `{"sub": "1", "ods_code": "RX1", "activity_codes": "B0170"}`, "RX1", "role not stated", store.ViewSilently, ""},
		{"both, and a privacy officer", reading, `{"sub": "1", "ods_code": "RX1", "activity_codes": ["B0170", "B0107", "privacy"]}`, "RX1", "role not stated", store.ViewFlags | store.ReviewViews, ""},
		{"no code that counts", reading, `{"sub": "1", "ods_code": "RX1", "activity_codes": ["B0825", "b0107", "B0107 "]}`, "", "", 0, "none of the codes"},
		{"no codes", reading, `{"sub": "1", "ods_code": "RX1"}`, "", "", 0, "none of the codes"},
		{"no organisation", reading, `{"sub": "1", "activity_codes": ["B0107"]}`, "", "", 0, "does not say one organisation"},
		{"two organisations", reading, `{"sub": "1", "ods_code": ["RX1", "RX2"], "activity_codes": ["B0107"]}`, "", "", 0, "does not say one organisation"},
		{"an organisation that is none", reading, `{"sub": "1", "ods_code": "the trust", "activity_codes": ["B0107"]}`, "", "", 0, "does not say one organisation"},
		{"an administrator of the centre with the right", reading, `{"sub": "1", "ods_code": "RX1", "activity_codes": ["B0107"], "groups": ["safeguard-admin"]}`, "", "", 0, "operators, who do not see children"},
		{"one who may look at the fleet, with the right", reading, `{"sub": "1", "ods_code": "RX1", "activity_codes": ["B0107"], "groups": ["safeguard-view"]}`, "", "", 0, "operators, who do not see children"},
		{"the profile that was selected", profiles, `{` + two + `, "selected_roleid": "11"}`, "RX1", "Nurse", store.ViewAndNotify, ""},
		{"the other one", profiles, `{` + two + `, "selected_roleid": "22"}`, "RX2", "Privacy Officer", store.ReviewViews, ""},
		{"a profile that is not there", profiles, `{` + two + `, "selected_roleid": "33"}`, "", "", 0, "none of the codes"},
		{"none was selected", profiles, `{` + two + `}`, "", "", 0, "none of the codes"},
		{"several organisations, and none can be selected", unselected, `{` + two + `}`, "", "", 0, "several organisations, RX1 and RX2"},
		{"several profiles at one", unselected, `{` + strings.Replace(two, "RX2", "RX1", 1) + `}`, "RX1", "Nurse", store.ViewAndNotify | store.ReviewViews, ""},
		// What somebody may do at one organisation is nothing at another.
		{"a code of one profile, the organisation of another", unselected, `{"sub": "1", "nhsid_nrbac_roles": [{"org_code": "RX1", "activity_codes": []}, {"org_code": "RX2", "activity_codes": ["B0170"]}]}`, "RX2", "role not stated", store.ViewSilently, ""},
		{"profiles that are none", profiles, `{"sub": "1", "nhsid_nrbac_roles": "B0107", "selected_roleid": "B0107"}`, "", "", 0, "none of the codes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			claims := signin.Claims{}
			must(t, json.Unmarshal([]byte(tt.claims), &claims))
			got, err := tt.reading.Person(claims)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) || got.Subject != "1" {
					t.Errorf("got %+v, %v, want a refusal of 1 that says %q", got, err, tt.refused)
				}
				return
			}
			if err != nil || got.Organisation.String() != tt.organisation || got.Role != tt.role || got.Rights != tt.rights || got.Subject != "1" || got.Name == "" {
				t.Errorf("got %+v, %v, want %s at %s as %s", got, err, tt.rights, tt.organisation, tt.role)
			}
		})
	}
}
