package dropfolder

import (
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

func TestValidate(t *testing.T) {
	good := testConfig(t)
	good.Ready = Stable
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // none where it is right
	}{
		"no name":                     {func(c *Config) { c.Name = "" }, "name"},
		"no folder":                   {func(c *Config) { c.Folder = "" }, "folder"},
		"a folder from who knows":     {func(c *Config) { c.Folder = "adt" }, "folder"},
		"no progress":                 {func(c *Config) { c.Progress = "" }, "progress"},
		"a wrong policy":              {func(c *Config) { c.Policy.Other = "?" }, "policy: other"},
		"nack to nobody":              {func(c *Config) { c.Policy.Hold = feed.Nack }, "policy: hold"},
		"nack to an ack folder":       {func(c *Config) { c.Policy.Hold, c.Ack = feed.Nack, "ack" }, ""},
		"no pattern":                  {func(c *Config) { c.Match = []string{"["} }, "match"},
		"an empty pattern":            {func(c *Config) { c.Ignore = []string{""} }, "ignore"},
		"another way to be ready":     {func(c *Config) { c.Ready = "soon" }, "ready"},
		"renamed from what":           {func(c *Config) { c.Ready, c.Ignore = Renamed, nil }, "match"},
		"no marker":                   {func(c *Config) { c.Ready = Marked }, "marker"},
		"another order":               {func(c *Config) { c.Order = "size" }, "order"},
		"never stable":                {func(c *Config) { c.Stable = 0 }, "stable"},
		"not stable but renamed":      {func(c *Config) { c.Ready, c.Stable = Renamed, 0 }, ""},
		"never looking":               {func(c *Config) { c.Poll = 0 }, "poll"},
		"no room for a message":       {func(c *Config) { c.MaxMessage = 1 }, "max_message"},
		"no place for failed ones":    {func(c *Config) { c.Failed = "" }, "failed"},
		"a place outside":             {func(c *Config) { c.Failed = "../failed" }, "failed"},
		"a place elsewhere":           {func(c *Config) { c.Ack = "/ack" }, "ack"},
		"the folder itself":           {func(c *Config) { c.Ack = "." }, "ack"},
		"the one above":               {func(c *Config) { c.Ack = ".." }, "ack"},
		"a drive":                     {func(c *Config) { c.Ack = "c:" }, "ack"},
		"a place of our own":          {func(c *Config) { c.Ack = "Taking" }, "ack"},
		"one place for two":           {func(c *Config) { c.Done, c.DoneFor = "Failed", time.Hour }, "done"},
		"kept for ever":               {func(c *Config) { c.Done = "done" }, "done_for"},
		"failed ones kept for ever":   {func(c *Config) { c.FailedFor = 0 }, ""},
		"a time below zero":           {func(c *Config) { c.Drain = -1 }, "drain"},
		"no deadline":                 {func(c *Config) { c.Deadline = 0 }, "deadline"},
		"kept for as long as is said": {func(c *Config) { c.Done, c.DoneFor = "done", time.Hour }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			c.change(&config)
			err := config.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want+":") {
				t.Errorf("got %v, want an error about %q", err, c.want)
			}
			if _, made := New(config, quiet); (made == nil) != (err == nil) {
				t.Errorf("new says %v, validate %v", made, err)
			}
		})
	}
}
