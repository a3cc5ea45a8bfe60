package signin

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/central/store"
)

func claims(t testing.TB, text string) (c Claims) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaims(t *testing.T) {
	c := claims(t, `{"sub":"u1","groups":["a","b",7,null,["c"]],"one":["x"],"realm_access":{"roles":["operators"],"deep":{"er":"y"}},
		"https://example.nhs.uk/roles":["viewers"],"number":4,"nothing":null,"list":[{"code":"B0107"},3,{"code":"B0170"}]}`)
	for claim, want := range map[string][]string{
		"sub": {"u1"}, "groups": {"a", "b"}, "one": {"x"}, "realm_access.roles": {"operators"}, "realm_access.deep.er": {"y"},
		"https://example.nhs.uk/roles": {"viewers"}, // by all of its name, dots or not
		"number":                       nil, "nothing": nil, "none": nil, "": nil, ".": nil, "sub.u1": nil, "realm_access": nil, "realm_access.": nil, "groups.0": nil,
	} {
		if got := c.Texts(claim); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", claim, got, want)
		}
	}
	if got := c.Text("groups"); got != "" {
		t.Errorf("one text of several: %q", got)
	}
	if got := c.Within("list"); len(got) != 2 || got[1].Text("code") != "B0170" {
		t.Errorf("within: %v", got)
	}
}

// FuzzClaims: nobody has a role that their claim does not say in so many words.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"u1","groups":["operators"]}`, "groups")
	f.Add(`{"realm_access":{"roles":["operators","x"]}}`, "realm_access.roles")
	f.Add(`{"a.b":"operators","a":{"b":"x"}}`, "a.b")
	f.Fuzz(func(t *testing.T, text, claim string) {
		var c Claims
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		p := Operators{RoleClaim: claim, Roles: map[string]store.Role{"operators": store.Operating}}
		role := p.Role(c)
		if said := slices.Contains(c.Texts(claim), "operators"); said != (role == store.Operating) || !said && role != store.NoRole {
			t.Errorf("claim %q of %s: role %v", claim, text, role)
		}
		if again, err := json.Marshal(c); role != store.NoRole && (err != nil || !strings.Contains(string(again), `"operators"`)) {
			t.Errorf("role %v of %s", role, text)
		}
		if one := c.Text(claim); one != "" && !slices.Equal(c.Texts(claim), []string{one}) {
			t.Errorf("claim %q of %s is one text, and %q", claim, text, c.Texts(claim))
		}
		for _, inner := range c.Within(claim) {
			_ = inner.Text("code")
		}
	})
}
