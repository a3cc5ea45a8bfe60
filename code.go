package safeguard

import "fmt"

// The enumerations of the domain are small integers with a word each. names
// holds the words, its index the value; the zero value's word is what an
// undecided or absent value reads as.
type names []string

func (n names) name(v int) string {
	if v < 0 || v >= len(n) {
		return fmt.Sprintf("%d?", v)
	}
	return n[v]
}

func (n names) parse(what, s string) (int, error) {
	for v, name := range n {
		if v > 0 && name == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%s %q: want one of %v", what, clip(s), []string(n[1:]))
}
