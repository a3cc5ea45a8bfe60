package feed_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

func TestAllowList(t *testing.T) {
	list := feed.AllowList{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name string
		list feed.AllowList
		addr string
		want bool
	}{
		{"anyone where none is named", nil, "192.0.2.1:1", true},
		{"inside", list, "10.1.255.1:1", true},
		{"outside", list, "10.2.0.1:1", false},
		{"IPv4 in IPv6", list, "[::ffff:10.1.0.1]:1", true},
		{"IPv6", list, "[fd00::1]:1", true},
		{"IPv6 with a zone", list, "[fd00::1%eth0]:1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.addr))
			if got := c.list.Allows(addr); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if list.Allows(&net.UnixAddr{Name: "x"}) {
		t.Error("an address that is none is allowed")
	}
	if err := (feed.AllowList{{}}).Validate(); err == nil {
		t.Error("a network that is none is valid")
	}
}

func TestOccasionalWritesOneAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var o feed.Occasional
		for range 10 {
			o.Warn(log, "odd")
		}
		if got := strings.Count(out.String(), "odd"); got != 1 {
			t.Errorf("got %d lines, want 1", got)
		}
		time.Sleep(time.Minute)
		o.Warn(log, "odd")
		if !strings.Contains(out.String(), "left_out=9") {
			t.Errorf("got %q, want left_out=9", out.String())
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := feed.Backoff{Min: time.Second, Max: 5 * time.Second}
		within := func(longest time.Duration) {
			t.Helper()
			start := time.Now()
			if !b.Wait(t.Context()) {
				t.Fatal("ended early")
			}
			if got := time.Since(start); got < longest/2 || got > longest {
				t.Errorf("waited %v, want %v to %v", got, longest/2, longest)
			}
		}
		for _, longest := range []time.Duration{1, 2, 4, 5, 5} {
			within(longest * time.Second)
		}
		b.Reset()
		within(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b.Wait(ctx) {
			t.Error("waited although the context had ended")
		}
	})
}
