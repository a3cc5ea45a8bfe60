package httpfeed

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

func TestValidate(t *testing.T) {
	good := testConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no name":                {func(c *Config) { c.Name = "" }, "name"},
		"no port":                {func(c *Config) { c.Address = "10.1.2.3" }, "address"},
		"no host":                {func(c *Config) { c.Address = ":80" }, "0.0.0.0:80"},
		"no path":                {func(c *Config) { c.Path = "" }, "path"},
		"a path with a query":    {func(c *Config) { c.Path = "/?a" }, "path"},
		"a wrong policy":         {func(c *Config) { c.Policy.Hold = "perhaps" }, "policy: hold"},
		"two acknowledgements":   {func(c *Config) { c.Policy.Acknowledge = feed.TwoPhase }, "policy: acknowledge"},
		"half a certificate":     {func(c *Config) { c.TLS = &feed.TLS{Cert: "x"} }, "tls"},
		"no network":             {func(c *Config) { c.Allow = feed.AllowList{netip.Prefix{}} }, "allow"},
		"no connection":          {func(c *Config) { c.MaxConnections = 0 }, "max_connections"},
		"no room for a message":  {func(c *Config) { c.MaxMessage = 100 }, "max_message"},
		"no room for large ones": {func(c *Config) { c.MaxLarge = 0 }, "max_large"},
		"no time":                {func(c *Config) { c.BodyIdle = 0 }, "body_idle"},
		"a time below zero":      {func(c *Config) { c.Drain = -1 }, "drain"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			c.change(&bad)
			if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %q", err, c.want)
			}
		})
	}
}

// FuzzContentType: whatever a header says, what is taken is one of the types
// that carry HL7 v2 with delimiters.
func FuzzContentType(f *testing.F) {
	for _, s := range []string{"application/hl7-v2; charset=utf-8", "text/plain", "text/plain;;", "a/b", "", "application/hl7-v2+xml"} {
		f.Add(s, "")
	}
	f.Add("text/plain", "gzip")
	f.Fuzz(func(t *testing.T, kind, encoding string) {
		got, err := contentType(http.Header{"Content-Type": {kind}, "Content-Encoding": {encoding}})
		if err == nil && (!slices.Contains(types, got) || !strings.Contains(strings.ToLower(kind), got) || encoding != "" && encoding != "identity") {
			t.Errorf("took %q with encoding %q as %q", kind, encoding, got)
		}
	})
}
