package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// TestEveryFeedLeadsToAnAlert sends one registration by each transport that a
// hospital may have, to one agent that has them all.
func TestEveryFeedLeadsToAnAlert(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	web, err := world.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Listen("tcp", "127.0.0.1:0") // a sender that waits to be called
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	folder := t.TempDir()
	w := newWorld(t,
		"http: {address: "+web+", path: /adt}",
		"folder: {folder: "+folder+", stable: 50ms, poll: 50ms}",
		"mllp_client: {address: "+waiting.Addr().String()+"}",
	)
	for _, feed := range []struct {
		name string
		send func(message []byte)
	}{
		{"MLLP", func(message []byte) {
			if _, err := w.PAS.Send(ctx, message); err != nil {
				t.Fatal(err)
			}
		}},
		{"HTTP", func(message []byte) {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+web+"/adt", bytes.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/hl7-v2")
			reply, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer reply.Body.Close()
			ack, err := io.ReadAll(reply.Body)
			if err != nil || hospital.Field(ack, "MSA", 1) != "AA" || hospital.Field(ack, "MSA", 2) != hospital.Field(message, "MSH", 10) {
				t.Fatalf("%s: %q, %v", reply.Status, ack, err)
			}
		}},
		{"folder", func(message []byte) {
			if err := os.WriteFile(filepath.Join(folder, "a.hl7"), message, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"MLLP, the agent calls", func(message []byte) {
			conn, err := waiting.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			line := hospital.NewLine(conn)
			if err := line.Send(message); err != nil {
				t.Fatal(err)
			}
			ack, err := line.Receive()
			if err != nil || hospital.Field(ack, "MSA", 1) != "AA" {
				t.Fatalf("%q, %v", ack, err)
			}
		}},
	} {
		visit := "V-" + strings.ReplaceAll(feed.name, " ", "-")
		feed.send(w.PAS.Message("A04", hospital.Plan, visit, time.Now()))
		if _, _, err := w.EPR.Wait(ctx, 0, func(r hospital.Received) bool { return visitOf(r) == visit }); err != nil {
			t.Fatalf("%s: %v", feed.name, err)
		}
	}
	if _, err := w.Notifications(ctx, 4); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(folder, "*.hl7")); err != nil || len(left) > 0 {
		t.Errorf("the dropped file is still there: %v %v", left, err)
	}
	wantCounters(ctx, t, w, map[string]string{"pas": "mllp", "feed1": "http", "feed2": "folder", "feed3": "mllp_client"})
}

// wantCounters asks the running agent for its feeds: each has taken one message.
func wantCounters(ctx context.Context, t *testing.T, w *world.World, transports map[string]string) {
	t.Helper()
	out, err := w.Run(ctx, "safeguard-agent", "feeds", "--config", w.Path("agent.yaml"), "--json")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); rows++ {
		var row struct {
			Name, Transport  string
			Frames, Accepted uint64
			Acknowledged     map[string]uint64
			LastMessage      time.Time `json:"last_message"`
		}
		if err := d.Decode(&row); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if row.Transport != transports[row.Name] || row.Frames != 1 || row.Accepted != 1 || row.LastMessage.IsZero() || row.Acknowledged["AA"] != 1 {
			t.Errorf("got %+v, want one message accepted over %s", row, transports[row.Name])
		}
	}
	if rows != len(transports) {
		t.Errorf("%d feeds, want %d: %s", rows, len(transports), out)
	}
	table, err := w.Run(ctx, "safeguard-agent", "feeds", "--config", w.Path("agent.yaml"))
	if err != nil || strings.Count(table, "\n") != rows+1 || !strings.Contains(table, "AA 1") {
		t.Errorf("%v, got\n%s", err, table)
	}
	if strings.Contains(out+table, hospital.Plan.Number) {
		t.Error("the counters tell of a patient")
	}
}
