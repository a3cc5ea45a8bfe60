package agent

import (
	"context"
	"encoding/json"

	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// FeedReport is what one feed has counted since the agent started. There is
// nothing about a patient in it.
type FeedReport struct {
	Name      string `json:"name"`
	Transport string `json:"transport"`       // the key of its section in the configuration
	Fault     string `json:"fault,omitempty"` // why it does not work
	feed.Stats
}

// operateFeeds answers with a report of each feed. It is a handler of the control
// channel.
func operateFeeds(feeds *liveFeeds) control.Handler {
	return func(_ context.Context, _ string, _ json.RawMessage, send func(any) error) error {
		for _, r := range feeds.reports() {
			if err := send(r); err != nil {
				return err
			}
		}
		return nil
	}
}

// section is the key of the feed's transport.
func (f Feed) section() string {
	for key, there := range map[string]bool{
		"mllp": f.MLLP != nil, "mllp_client": f.MLLPClient != nil, "http": f.HTTP != nil, "folder": f.Folder != nil, "mqtt": f.MQTT != nil,
	} {
		if there {
			return key
		}
	}
	return ""
}
