package central

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// Caller is how a local authority's system, or an operator, reaches the centre.
type Caller struct {
	Server      string // host:port
	Certificate string // PEM files, as for identity.Files
	Key         string
	CA          string
}

func (c Caller) dial() (*client.Client, error) { return c.dialAs(identity.Authority) }

func (c Caller) dialAs(kind identity.Kind) (*client.Client, error) {
	config, err := identity.ClientTLS(identity.Files{Certificate: c.Certificate, Key: c.Key, CA: c.CA}, kind)
	if err != nil {
		return nil, err
	}
	return client.Dial(c.Server, config)
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeJSONLine(out io.Writer, v any) error { return json.NewEncoder(out).Encode(v) }

// WriteDevelopmentCA makes certificates for development and tests, and writes
// the paths of the files to out.
func WriteDevelopmentCA(dir string, d identity.Development, out io.Writer) error {
	paths, err := identity.WriteDevelopment(dir, d)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, strings.Join(paths, "\n"))
	return err
}
