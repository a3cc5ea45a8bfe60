package safeguard

import "fmt"

// ODSCode is the Organisation Data Service's code of an organisation or site:
// three to six capital letters and digits, such as a trust's three or a site's
// five. The zero value is none.
type ODSCode struct {
	code string
}

// ParseODSCode reads a code; small letters are raised.
func ParseODSCode(s string) (ODSCode, error) {
	if len(s) < 3 || len(s) > 6 {
		return ODSCode{}, fmt.Errorf("ODS code %q: %d characters, want three to six", clip(s), len(s))
	}
	code := []byte(s)
	for i, c := range code {
		switch {
		case c >= 'a' && c <= 'z':
			code[i] = c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		default:
			return ODSCode{}, fmt.Errorf("ODS code %q: want letters and digits only", s)
		}
	}
	return ODSCode{string(code)}, nil
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 12 {
		return s[:12] + "…"
	}
	return s
}

func (c ODSCode) String() string { return c.code }

// IsZero tells whether there is no code.
func (c ODSCode) IsZero() bool { return c.code == "" }

// MarshalText writes the code.
func (c ODSCode) MarshalText() ([]byte, error) { return []byte(c.code), nil }

// UnmarshalText reads a code, or nothing.
func (c *ODSCode) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*c = ODSCode{}
		return nil
	}
	*c, err = ParseODSCode(string(text))
	return err
}
