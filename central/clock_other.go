//go:build !linux

package central

// keptTime is not known here.
func keptTime() (kept, known bool) { return false, false }
