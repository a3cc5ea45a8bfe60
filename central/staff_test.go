package central

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// An operator ends the sessions of one person, and never those of two who are called
// the same.
func TestAnOperatorSignsStaffOut(t *testing.T) {
	c, err := load(t, goodStaff)
	if err != nil {
		t.Fatal(err)
	}
	o := Operator{c}
	trust, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		t.Fatal(err)
	}
	open := func(id, subject, name string, opened time.Time) {
		t.Helper()
		err := o.with(t.Context(), func(s store.Store, by audit.Who) error {
			return s.OpenStaffSession(t.Context(), store.StaffSession{ID: []byte(id), Subject: subject, Name: name, Role: "Nurse", Source: "https://id.example",
				Organisation: trust, Rights: store.ViewAndNotify, Opened: opened, Seen: opened}, by)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	open("1", "id-1", "Nell Example", now)
	open("2", "id-1", "Nell Example", now)
	open("3", "id-2", "Sam Example", now)
	open("4", "id-3", "Sam Example", now)
	open("5", "id-4", "Olga Example", now.Add(-24*time.Hour))
	for _, tt := range []struct{ person, want string }{
		{"nell example", "id-1: signed out of 2"},
		{"id-1", "not signed in"},
		{"Sam Example", "2 who are signed in are called Sam Example"},
		{"id-3", "id-3: signed out of 1"},
		{"Sam Example", "id-2: signed out"},
		{"Olga Example", "not signed in"},
	} {
		var out strings.Builder
		if err := o.SignOutStaff(t.Context(), tt.person, &out); err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %q, want %q", tt.person, out.String(), tt.want)
		}
	}
	open("6", "id-6", "Nell Example", now)
	var table, list strings.Builder
	if err := errors.Join(o.ListStaff(t.Context(), false, &table), o.ListStaff(t.Context(), true, &list)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "id-6") || strings.Contains(table.String(), "id-4") || !strings.Contains(list.String(), `"subject": "id-6"`) {
		t.Errorf("listed\n%s%s", table.String(), list.String())
	}
}

const goodStaff = goodConfig + `staff:
  listen: 127.0.0.1:0
  oidc:
    name: Example NHS accounts
    issuer: https://id.example
    client_id: safeguard-staff
    client_secret_file: secrets/oidc.txt
    origin: https://flags.example
    organisation_claim: ods_code
    codes_claim: activity_codes
    codes: {view_and_notify: [B0107], view_silently: [B0170], privacy_officer: [pia, B0107], local_authority: [la]}
`

func TestStaffConfig(t *testing.T) {
	c, err := load(t, goodStaff)
	if err != nil {
		t.Fatal(err)
	}
	codes := c.Staff.OIDC.Codes.byCode()
	for code, want := range map[string]store.Rights{"B0107": store.ViewAndNotify | store.ReviewViews, "B0170": store.ViewSilently, "pia": store.ReviewViews, "la": store.OwnAccesses} {
		if codes[code] != want {
			t.Errorf("%s gives %q, want %q", code, codes[code], want)
		}
	}
	if c.Staff.OIDC.SingleSignOn || c.Staff.Searches == 0 || c.Staff.Idle == 0 || !strings.HasPrefix(c.Staff.OIDC.ClientSecretFile, "/") {
		t.Errorf("read %+v, want limits by default, and each person asked anew", c.Staff)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"no provider", "", "", "staff.oidc: missing"},
		{"no port", "127.0.0.1:0\n  oidc", "localhost\n  oidc", "staff.listen"},
		{"no searches", "staff:\n", "staff:\n  searches: 0\n", "staff.searches: 0"},
		{"a session that outlives itself", "staff:\n", "staff:\n  idle: 9h\n", "staff.idle, absolute"},
		{"a certificate without its key", "staff:\n", "staff:\n  certificate: x.pem\n", "staff.certificate, key"},
		{"no issuer", "issuer: https://id.example", "issuer: http://id.example", "staff.oidc.issuer"},
		{"no origin", "origin: https://flags.example", "origin: https://flags.example/", "staff.oidc.origin"},
		{"no organisation", "organisation_claim: ods_code", "organisation_claim: ''", "staff.oidc.organisation_claim: missing"},
		{"no codes claim", "codes_claim: activity_codes", "codes_claim: ''", "staff.oidc.codes_claim: missing"},
		{"no codes", "codes: {view_and_notify: [B0107], view_silently: [B0170], privacy_officer: [pia, B0107], local_authority: [la]}", "codes: {}", "staff.oidc.codes: missing"},
		{"a profile's id without profiles", "codes_claim: activity_codes", "codes_claim: x\n    profile_id_claim: id", "staff.oidc.profiles_claim: missing"},
		{"a profile's id without what selects it", "codes_claim: activity_codes", "codes_claim: x\n    profiles_claim: list\n    profile_id_claim: id", "want both, or neither"},
	} {
		if tt.name == "no provider" {
			tt.old, tt.new = goodStaff[strings.Index(goodStaff, "  oidc:"):], ""
		}
		_, err := load(t, strings.Replace(goodStaff, tt.old, tt.new, 1))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want a refusal that says %q", tt.name, err, tt.want)
		}
	}
	if _, err := load(t, goodConfig+"fleet: {routes: [{name: officer, severity: attention, warnings: [break-glas], webhook: {url: https://x.example, secret_file: x}}]}\n"); err == nil || !strings.Contains(err.Error(), `warnings[0]: "break-glas"`) {
		t.Errorf("a warning that is none: %v, want it named", err)
	}
}
