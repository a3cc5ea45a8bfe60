package agent

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// checked is what a check of c finds.
func checked(t *testing.T, c Config) []Finding {
	t.Helper()
	var all []Finding
	k := checker{config: c, say: func(f Finding) error {
		all = append(all, f)
		return nil
	}}
	k.all(t.Context())
	if k.err != nil {
		t.Fatal(k.err)
	}
	for _, f := range all {
		if f.Result != Pass && f.Do == "" {
			t.Errorf("%s does not say what to do: %s", f.Check, f.Text)
		}
	}
	return all
}

// wants wants a finding of the check with the result and all of the words.
func wants(t *testing.T, all []Finding, check string, r Result, words ...string) {
	t.Helper()
	for _, f := range all {
		if f.Check != check || f.Result != r {
			continue
		}
		has := true
		for _, w := range words {
			has = has && strings.Contains(f.Text+" "+f.Do, w)
		}
		if has {
			return
		}
	}
	t.Errorf("no %s of %s with %q in %+v", r, check, words, all)
}

// certified is a configuration with certificates, of which those in dir are.
func certified(t *testing.T) (c Config, dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := identity.WriteDevelopment(dir, identity.Development{Agents: []safeguard.ODSCode{odsCode(t, "RX1")}}); err != nil {
		t.Fatal(err)
	}
	h := &hospital{t: t, file: filepath.Join(dir, "agent.yaml")}
	h.write(mllpFeed("pas", free(t), ""))
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(h.file)
	if err != nil {
		t.Fatal(err)
	}
	c.Central.Certificate, c.Central.Key, c.Central.CA = filepath.Join(dir, "agent-RX1.pem"), filepath.Join(dir, "agent-RX1-key.pem"), filepath.Join(dir, "ca.pem")
	return c, dir
}

func odsCode(t *testing.T, s string) safeguard.ODSCode {
	t.Helper()
	code, err := safeguard.ParseODSCode(s)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// behindTLS answers handshakes with the configuration, and nothing else.
func behindTLS(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = conn.(*tls.Conn).Handshake()
				_, _ = conn.Read(make([]byte, 1)) // until the other side closes
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func TestCheckOfWhatIsThere(t *testing.T) {
	c, dir := certified(t)
	centre, err := identity.ServerTLS(identity.Files{Certificate: filepath.Join(dir, "centre.pem"), Key: filepath.Join(dir, "centre-key.pem"), CA: filepath.Join(dir, "ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	c.Central.Address = behindTLS(t, centre.Config())
	all := checked(t, c)
	wants(t, all, "keys", Pass, "at its first start")
	wants(t, all, "data folder", Pass)
	wants(t, all, "disk space", Pass, "MB free")
	wants(t, all, "central.key", Pass, "by this user alone")
	wants(t, all, "certificate", Pass, "until ")
	wants(t, all, "central connection", Pass)
	wants(t, all, "central TLS", Pass, "issued by")
	wants(t, all, "round trip RX101", Fail) // nothing speaks there
	wants(t, all, "feed pas", Pass, "is free")
	wants(t, all, "sink epr", Pass, "can be written")
}

func TestCheckNamesWhoInspectsTLS(t *testing.T) {
	c, _ := certified(t)
	ca, _, err := identity.NewCA("Hospital Web Gateway", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(identity.Identity{Kind: identity.Centre, Code: odsCode(t, "RX1"), ID: "main"}, []string{"127.0.0.1"}, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	c.Central.Address = behindTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
	all := checked(t, c)
	wants(t, all, "central TLS", Fail, `issued by "Hospital Web Gateway"`, "exempt")
	wants(t, all, "round trip", Fail, "not tried")
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	for name, x := range map[string]struct {
		change func(t *testing.T, c *Config, dir string)
		check  string
		result Result
		words  []string
	}{
		"nobody listens": {func(t *testing.T, c *Config, _ string) { c.Central.Address = free(t) }, "central connection", Fail, []string{"refused", "firewall"}},
		"no such name":   {func(_ *testing.T, c *Config, _ string) { c.Central.Address = "centre.invalid:7443" }, "central name", Fail, []string{"centre.invalid", "DNS"}},
		"port in use": {func(t *testing.T, c *Config, _ string) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			c.Feeds[0].MLLP.Address = l.Addr().String()
		}, "feed pas", Fail, []string{"in use", "ss -ltnp"}},
		"address of another host": {func(_ *testing.T, c *Config, _ string) { c.Feeds[0].MLLP.Address = "192.0.2.1:2575" }, "feed pas", Fail, []string{"192.0.2.1", "ip address"}},
		"key open to others": {func(t *testing.T, c *Config, _ string) {
			if err := os.Chmod(c.Central.Key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "central.key", Warn, []string{"readable by others", "chmod 600"}},
		"no key":                              {func(_ *testing.T, c *Config, _ string) { c.Central.Key += ".gone" }, "central.key", Fail, []string{"no such file"}},
		"proxy":                               {func(t *testing.T, _ *Config, _ string) {}, "central proxy", Pass, []string{"direct"}},
		"folder of the sink":                  {func(_ *testing.T, c *Config, dir string) { c.Sinks[0].Folder.Folder = filepath.Join(dir, "nowhere") }, "sink epr", Fail, []string{"nowhere", "make the folder"}},
		"certificate that is renewed in time": {func(t *testing.T, c *Config, _ string) { showing(t, c, -time.Hour, 24*time.Hour) }, "certificate", Pass, []string{"until ", "it renews by itself on "}},
		"certificate that was not renewed":    {func(t *testing.T, c *Config, _ string) { showing(t, c, -24*time.Hour, time.Hour) }, "certificate", Warn, []string{"ends on", "should have been renewed by itself", "log", "safeguard-agent enrol"}},
		"certificate that has ended":          {func(t *testing.T, c *Config, _ string) { showing(t, c, -24*time.Hour, -time.Hour) }, "certificate", Fail, []string{"ended on", "30 days more", "safeguard-agent enrol"}},
		"port of the status page": {func(t *testing.T, c *Config, _ string) {
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = taken.Close() })
			c.Status.Listen = taken.Addr().String()
		}, "status page", Fail, []string{"in use by another program"}},
		"too little room": {func(_ *testing.T, c *Config, _ string) { c.Journal.MinFreeMB = 1 << 40 }, "disk space", Fail, []string{"min_free_mb"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, dir := certified(t)
			x.change(t, &c, dir)
			wants(t, checked(t, c), x.check, x.result, x.words...)
		})
	}
}

// showing has the agent show a certificate of a centre's with that time around now.
func showing(t *testing.T, c *Config, from, until time.Duration) {
	t.Helper()
	now := time.Now()
	ca, _, err := identity.NewCA("Old", now.Add(-72*time.Hour), now.Add(72*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(identity.Identity{Kind: identity.Agent, Code: odsCode(t, "RX1"), ID: "a1"}, nil, now.Add(from), now.Add(until))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Central.Certificate, pair.Certificate, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What fails is told until a check finds that it does not.
func TestWhatFailsIsToldInHeartbeats(t *testing.T) {
	h := start(t, mllpFeed("one", free(t), ""))
	out := filepath.Join(filepath.Dir(h.file), "out")
	if err := os.Rename(out, out+".gone"); err != nil {
		t.Fatal(err)
	}
	p := parts{settings: h.live}
	look := checker{feeds: h.live.feeds}
	h.live.checkAndLog(t.Context(), look, true)
	if got := p.sources().Failing(); !slices.Contains(got, "sink epr") {
		t.Errorf("failing are %v, want the sink among them", got)
	}
	if err := os.Rename(out+".gone", out); err != nil {
		t.Fatal(err)
	}
	if err := h.live.check(t.Context(), look, func(Finding) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := p.sources().Failing(); slices.Contains(got, "sink epr") || !slices.Contains(got, "central connection") {
		t.Errorf("failing are %v, want the sink no more, and what fails still", got)
	}
}

func TestClockIsComparedWithTheCentres(t *testing.T) {
	now := time.Now()
	for _, x := range []struct {
		centre time.Time
		took   time.Duration
		want   Result
		text   string
	}{
		{now, 10 * time.Millisecond, Pass, ""},
		{now.Add(-10 * time.Second), 10 * time.Millisecond, Warn, "ahead"},
		{now.Add(10 * time.Second), 10 * time.Millisecond, Warn, "behind"},
		{now.Add(10 * time.Second), 20 * time.Second, Pass, ""}, // nothing can be said of it
		{now.Add(10 * time.Minute), 10 * time.Millisecond, Fail, "NTP"},
	} {
		var all []Finding
		k := checker{say: func(f Finding) error { all = append(all, f); return nil }}
		k.checkClock(x.centre, now, x.took)
		wants(t, all, "clock", x.want, x.text)
	}
}

func TestRunningFeedsAreChecked(t *testing.T) {
	a := free(t)
	h := start(t, mllpFeed("one", a, ""))
	var all []Finding
	k := checker{config: h.live.current(), feeds: h.live.feeds, say: func(f Finding) error { all = append(all, f); return nil }}
	conn := h.dial(a)
	k.checkFeeds(t.Context())
	wants(t, all, "feed one", Warn, "no message since")
	wants(t, all, "feed one", Pass, "listens")
	h.send(conn, "one")
	all = nil
	k.checkFeeds(t.Context())
	wants(t, all, "feed one", Pass, "1 messages")
}
