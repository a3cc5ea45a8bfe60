package mqtt

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// siteLevel stands for the level of a topic that is a site's ODS code.
const siteLevel = "{site}"

// filter is what to subscribe to.
type filter struct {
	levels []string // with + for the site
	site   int      // which of them is the site, -1 for none
}

// parseFilter reads a filter as it is in the configuration.
func parseFilter(s string) (filter, error) {
	f := filter{levels: strings.Split(s, "/"), site: -1}
	switch {
	case s == "":
		return f, errors.New("empty, want one such as adt/{site}/#")
	case len(s) > longestTopic || !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return f, errors.New("no topic of MQTT")
	case s[0] == '$':
		// Of a shared subscription others would get a part, and order is lost.
		return f, errors.New("begins with $, want a topic of the hospital's")
	}
	for i, l := range f.levels {
		switch {
		case l == siteLevel && f.site >= 0:
			return f, errors.New("two sites, want one")
		case l == siteLevel:
			f.levels[i], f.site = "+", i
		case l == "#" && i < len(f.levels)-1:
			return f, errors.New("# is not at the end")
		case l == "#" || l == "+":
		case strings.ContainsAny(l, "+#{}"):
			return f, errors.New("a wildcard is not a level of its own")
		}
	}
	return f, nil
}

func (f filter) String() string { return strings.Join(f.levels, "/") }

// overlap says whether a topic could match both. a/# matches a too.
func overlap(a, b []string) bool {
	for i := range max(len(a), len(b)) {
		switch {
		case i < len(a) && a[i] == "#", i < len(b) && b[i] == "#":
			return true
		case i >= len(a) || i >= len(b):
			return false
		case a[i] != b[i] && a[i] != "+" && b[i] != "+":
			return false
		}
	}
	return true
}

// match says whether the topic matches, and which site it names.
func (f filter) match(topic string) (site string, ok bool) {
	levels := strings.Split(topic, "/")
	if !overlap(f.levels, levels) {
		return "", false
	}
	if f.site < 0 || f.site >= len(levels) || !odsCode(levels[f.site]) {
		return "", true
	}
	return levels[f.site], true
}

// odsCode says whether s can be the code of an organisation or a site. Whether
// it is one that this agent serves is for others to say.
func odsCode(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		default:
			return false
		}
	}
	return 3 <= len(s) && len(s) <= 12
}

// replyTopic puts the site into the topic of replies. It is empty where the site is
// needed and not known.
func replyTopic(reply, site string) string {
	if !strings.Contains(reply, siteLevel) {
		return reply
	}
	if site == "" {
		return ""
	}
	return strings.Replace(reply, siteLevel, site, 1)
}
