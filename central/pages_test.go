package central

import (
	"strings"
	"testing"
)

// Each key of the pages that can not work is named, with what it is and what would
// be right.
func TestPagesThatCanNotWork(t *testing.T) {
	const good = "name: Example NHS login, client_id: c, issuer: https://issuer.example, origin: https://fleet.example, role_claim: groups, roles: {operator: [ops]}"
	if _, err := load(t, goodConfig+"web: {listen: 0.0.0.0:7444, certificate: p.pem, key: p-key.pem, idle: 15m, absolute: 8h, oidc: {"+good+"}}\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, goodConfig+"web: {listen: 0.0.0.0:7444, oidc: {"+strings.Replace(good, "https://issuer", "http://127.0.0.1:8080/issuer", 1)+"}}\n"); err != nil {
		t.Errorf("a provider on this machine: %v", err)
	}
	for _, tt := range []struct{ name, web, want string }{
		{"no port", "listen: 7444", `web.listen: "7444", want host:port such as 0.0.0.0:7444`},
		{"an empty port", `listen: "0.0.0.0:"`, `web.listen: "0.0.0.0:", want host:port`},
		{"a certificate without its key", "certificate: p.pem", "web.certificate, key: want both, or neither"},
		{"a key without its certificate", "key: p.pem", "web.certificate, key: want both, or neither"},
		{"signed out at once", "idle: 10s", "web.idle, absolute: 10s, 12h0m0s, want at least a minute"},
		{"signed out before it is idle", "idle: 2h, absolute: 1h", "web.idle, absolute: 2h0m0s, 1h0m0s"},
		{"no duration", "idle: soon", "idle"},
		{"an unknown key", "listne: 0.0.0.0:7444", "listne"},
		{"no name", "oidc: {" + strings.Replace(good, "name: Example NHS login, ", "", 1) + "}", "web.oidc.name: missing, want what people are to read"},
		{"no client", "oidc: {" + strings.Replace(good, "client_id: c, ", "", 1) + "}", "web.oidc.client_id: missing, want what the centre is registered as"},
		{"no issuer", "oidc: {" + strings.Replace(good, "issuer: https://issuer.example, ", "", 1) + "}", `web.oidc.issuer: "", want an address such as https://issuer.example`},
		{"an issuer without TLS", "oidc: {" + strings.Replace(good, "https://issuer", "http://issuer", 1) + "}", `web.oidc.issuer: "http://issuer.example", want an address such as https`},
		{"an issuer that is a path", "oidc: {" + strings.Replace(good, "https://issuer.example", "/issuer", 1) + "}", `web.oidc.issuer: "/issuer"`},
		{"an origin without TLS", "oidc: {" + strings.Replace(good, "https://fleet", "http://127.0.0.1", 1) + "}", `web.oidc.origin: "http://127.0.0.1.example", want an address such as https://origin.example`},
		{"an origin with a slash", "oidc: {" + strings.Replace(good, "fleet.example", "fleet.example/", 1) + "}", `web.oidc.origin: "https://fleet.example/", want it without the last /`},
		{"no claim", "oidc: {" + strings.Replace(good, "role_claim: groups, ", "", 1) + "}", "web.oidc.role_claim: missing, want the claim that gives the role"},
		{"no roles", "oidc: {" + strings.Replace(good, "{operator: [ops]}", "{}", 1) + "}", "web.oidc.roles: missing, want the values that give viewer, operator or administrator"},
		{"an unknown role", "oidc: {" + strings.Replace(good, "operator: [ops]", "root: [ops]", 1) + "}", "root"},
	} {
		if _, err := load(t, goodConfig+"web: {"+tt.web+"}\n"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it to say %s", tt.name, err, tt.want)
		}
	}
}
