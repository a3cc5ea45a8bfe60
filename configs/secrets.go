package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// secrets looks for secrets in the file: many more people read a configuration
// than may know what is in it. What it says repeats none.
type secrets struct {
	known []string // paths of keys
	fault string
}

// secretKeys are names under which people write secrets. None is a key of ours.
var secretKeys = []string{"password", "passwd", "passphrase", "secret", "client_secret", "api_key", "apikey", "private_key", "dsn", "connection_string", "credentials", "enrolment_token"}

// credentials in an address, as in postgres://user:password@host.
var userInfo = regexp.MustCompile(`://[^/@\s]*:[^/@\s]+@`)

// Visit implements ast.Visitor.
func (s *secrets) Visit(node ast.Node) ast.Visitor {
	pair, ok := node.(*ast.MappingValueNode)
	if !ok || s.fault != "" {
		return s
	}
	key := pair.Key.String()
	value, ok := plainText(pair.Value)
	if !ok || value == "" {
		return s
	}
	what := ""
	switch {
	case slices.Contains(secretKeys, strings.ToLower(strings.ReplaceAll(key, "-", "_"))):
		what = "a secret"
	case strings.Contains(value, "-----BEGIN "):
		what = "a key or certificate itself"
	case userInfo.MatchString(value):
		what = "an address with a password"
	case strings.HasPrefix(value, "whsec_"):
		what = "a secret"
	}
	if what != "" {
		s.fault = fmt.Sprintf("%s%s holds %s, want it in a file that only the service's user can read, and that file named here%s",
			position(pair.Key.GetToken().Position), clip(key), what, s.instead(key))
	}
	return s
}

// instead says under which key.
func (s *secrets) instead(key string) string {
	for _, path := range s.known {
		last := path[strings.LastIndexByte(path, '.')+1:]
		if last == key+"_file" || key == "client_secret" && last == "secret_file" {
			return ": " + last + ": secrets/NAME"
		}
	}
	return ", as in certificates/NAME.pem or secrets/NAME"
}

// plainText is the text of a value that is neither a section nor a list.
func plainText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, true
	case ast.ScalarNode:
		return fmt.Sprint(n.GetValue()), n.GetValue() != nil
	}
	return "", false
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
