package agent_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/dropfolder"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/httpfeed"
	"github.com/safeguard-edge/safeguard/hl7adapter/mllp"
	"github.com/safeguard-edge/safeguard/hl7adapter/mqtt"
)

// TestFeedsPage: docs/feeds.md has every key of every feed under its heading,
// with its default.
func TestFeedsPage(t *testing.T) {
	text, err := os.ReadFile("../docs/feeds.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []struct {
		heading  string
		defaults any
	}{
		{"policy", feed.Policy{Unreadable: feed.SetAside, Other: feed.Ignore, Hold: feed.Wait, Acknowledge: feed.AsAsked}},
		{"mllp and mllp_client", mllp.DefaultConfig()},
		{"http", httpfeed.DefaultConfig()},
		{"folder", dropfolder.DefaultConfig()},
		{"mqtt", mqtt.DefaultConfig()},
		{"TLS", feed.TLS{}},
	} {
		_, page, _ := strings.Cut(string(text), "\n## "+section.heading+"\n")
		page, _, _ = strings.Cut(page, "\n## ")
		for key, value := range keys("", reflect.ValueOf(section.defaults)) {
			if key == "-" || key == "policy" {
				continue // the name, of which the file has one for the feed, and what has a section of its own
			}
			if section.heading == "TLS" {
				if !strings.Contains(page, "`"+key+"`") {
					t.Errorf("TLS lacks %s", key)
				}
				continue
			}
			if want := fmt.Sprintf("\n| `%s` | %s |", key, value); !strings.Contains(page, want) {
				t.Errorf("%s lacks the line%s", section.heading, want)
			}
		}
	}
}

// keys are those of a configuration, with their defaults as the page has them.
func keys(prefix string, v reflect.Value) map[string]string {
	all := map[string]string{}
	for i := range v.NumField() {
		key, f := prefix+v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		if broker, ok := f.Interface().(mqtt.Broker); ok {
			for k, value := range keys(key+".", reflect.ValueOf(broker)) {
				all[k] = value
			}
			continue
		}
		all[key] = shown(f)
	}
	return all
}

func shown(v reflect.Value) string {
	switch d := v.Interface().(type) {
	case time.Duration:
		s := strings.TrimSuffix(d.String(), "m0s")
		if s != d.String() {
			s += "m"
		}
		if hours, ok := strings.CutSuffix(s, "h0m"); ok {
			s = hours + "h"
		}
		return s
	case []string:
		if len(d) > 0 {
			return strings.Join(d, ", ")
		}
		return "–"
	}
	if v.IsZero() && v.Kind() != reflect.Bool {
		return "–"
	}
	return fmt.Sprint(v.Interface())
}
