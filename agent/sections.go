package agent

import "fmt"

// sections are those of a feed or a sink, of which one is wanted: each carries it
// in its own way.
type sections []section

type section struct {
	key      string
	preset   func()
	there    func() bool
	validate func() error
}

// sectionOf is the section of that key, which is read into to.
func sectionOf[T interface{ Validate() error }](key string, to **T, defaults func() T) section {
	return section{
		key:      key,
		preset:   func() { c := defaults(); *to = &c },
		there:    func() bool { return *to != nil },
		validate: func() error { return (**to).Validate() },
	}
}

// preset gives the sections that the file has their defaults.
func (s sections) preset(unmarshal func(any) error) error {
	var keys map[string]any
	if err := unmarshal(&keys); err != nil {
		return err
	}
	for _, one := range s {
		if _, there := keys[one.key]; there {
			one.preset()
		}
	}
	return nil
}

// validate wants one section, and it valid.
func (s sections) validate() error {
	var keys []string
	var there sections
	for _, one := range s {
		keys = append(keys, one.key)
		if one.there() {
			there = append(there, one)
		}
	}
	if len(there) != 1 {
		return fmt.Errorf("%d of the sections %v, want one", len(there), keys)
	}
	if err := there[0].validate(); err != nil {
		return fmt.Errorf("%s: %w", there[0].key, err)
	}
	return nil
}
