package installer

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

var (
	//go:embed script/systemd.service
	systemdUnit string

	//go:embed script/sysv.sh
	sysvScript string
)

// script is what is registered on Linux: a systemd unit or an init script.
func (s Service) script(sysv bool, program, config string) (string, error) {
	for _, path := range []string{program, config} {
		// Neither a unit nor a shell takes these as they are.
		if strings.ContainsAny(path, " \t\n\"'\\$%`;&|<>*?") {
			return "", fmt.Errorf("path %q: want one without spaces and special characters", path)
		}
	}
	source := systemdUnit
	if sysv {
		source = sysvScript
	}
	var out strings.Builder
	err := template.Must(template.New("").Parse(source)).Execute(&out, struct {
		Service
		Program, Config string
	}{s, program, config})
	return out.String(), err
}
