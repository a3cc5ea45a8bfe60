package statuspage

import (
	"errors"
	"fmt"
	"net"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is the page that shows how the agent is, with what monitoring asks.
type Config struct {
	Listen      string    `yaml:"listen"`        // host and port; empty for no page
	TLS         *feed.TLS `yaml:"tls"`           // only this host itself may come without
	Passwords   string    `yaml:"password_file"` // who may look, as safeguard-agent status password writes it; only this host itself may come without
	AddressFile string    `yaml:"address_file"`  // where the address is written once it listens; empty for nowhere
}

// DefaultConfig is a page for this host alone.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:7445"} }

// Validate names the first key that can not work. Files are not read.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("listen: %q, want host and port such as 127.0.0.1:7445, or nothing for no page", c.Listen)
	}
	if c.TLS != nil {
		switch {
		case c.TLS.Cert == "" || c.TLS.Key == "":
			return errors.New("tls: want cert and key, the files of a certificate that browsers trust")
		case c.TLS.ServerName != "":
			return errors.New("tls.server_name: want none, nobody is called")
		}
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	switch {
	case c.TLS == nil:
		return fmt.Errorf("tls: absent, want a certificate for %s, or listen on 127.0.0.1", c.Listen)
	case c.Passwords == "":
		return fmt.Errorf("password_file: absent, want one for %s, or listen on 127.0.0.1; safeguard-agent status password makes it", c.Listen)
	}
	return nil
}
