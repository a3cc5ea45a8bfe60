package mqtt

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/loopback"
)

// mosquitto is a real broker in a process of its own.
type mosquitto struct {
	t       testing.TB
	dir     string
	address string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// startBroker starts mosquitto on a free port of the loopback. Its session
// store is written at each change, so that a kill loses nothing it confirmed.
func startBroker(t testing.TB, settings ...string) *mosquitto {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed: run make deps")
		}
	}
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	m := &mosquitto{t: t, dir: t.TempDir(), address: address}
	_, port, _ := net.SplitHostPort(m.address)
	if len(settings) == 0 {
		settings = []string{"allow_anonymous true"}
	}
	config := append([]string{
		"listener " + port + " 127.0.0.1",
		"persistence true", "persistence_location " + m.dir + "/", "autosave_on_changes true", "autosave_interval 1",
		"max_queued_messages 0", "set_tcp_nodelay true", "log_dest file " + filepath.Join(m.dir, "log"), "connection_messages true",
	}, settings...)
	if os.Getuid() == 0 {
		config = append(config, "user root") // else it could not write to the folder of the test
	}
	if err := os.WriteFile(filepath.Join(m.dir, "mosquitto.conf"), []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(program, "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.run()
	t.Cleanup(m.kill)
	return m
}

// run starts the process and waits until it listens.
func (m *mosquitto) run() {
	m.t.Helper()
	m.cmd = exec.Command(m.cmd.Path, m.cmd.Args[1:]...)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(m.cmd, m.exited)
	eventually(m.t, "the broker listens", func() bool {
		select {
		case <-m.exited:
			log, _ := os.ReadFile(filepath.Join(m.dir, "log"))
			m.t.Fatalf("mosquitto ended: %s", log)
		default:
		}
		conn, err := net.DialTimeout("tcp", m.address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// stop ends the process as an administrator would.
func (m *mosquitto) stop() { m.end(os.Interrupt) }

// kill ends it as a power failure would.
func (m *mosquitto) kill() { m.end(os.Kill) }

func (m *mosquitto) end(how os.Signal) {
	_ = m.cmd.Process.Signal(how) // it may have ended
	select {
	case <-m.exited:
	case <-time.After(deadline):
		m.t.Error("the broker did not end")
	}
}

// proxy is the line between a feed and its broker. It knows what the feed has
// acknowledged, and can be cut, and hang.
type proxy struct {
	ln     net.Listener
	broker string
	wg     sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	acked map[string]int
	conns map[net.Conn]struct{}
	shut  bool
	hung  chan struct{}         // nothing passes while it is not nil
	spoil func() []byte         // what is sent to the feed instead of the next packet
	edit  func([]byte)          // changes what the broker sends
	deaf  func(puback int) bool // whether an acknowledgement is lost, and the line with it
	count int                   // of acknowledgements
}

func startProxy(t testing.TB, broker string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, broker: broker, acked: make(map[string]int), conns: make(map[net.Conn]struct{})}
	p.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		p.shut = true
		p.mu.Unlock()
		p.resume()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.ln.Addr().String() }

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// hang lets nothing pass, and ends nothing, until resume.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hung != nil {
		close(p.hung)
		p.hung = nil
	}
}

// acknowledged is how often the feed has acknowledged that payload.
func (p *proxy) acknowledged(payload []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acked[string(payload)]
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) serve(feed net.Conn) {
	defer feed.Close()
	broker, err := net.Dial("tcp", p.broker)
	if err != nil {
		return
	}
	defer broker.Close()
	if !p.keep(feed) || !p.keep(broker) {
		return
	}
	ids := &sync.Map{} // payload by packet id
	var wg sync.WaitGroup
	pump := func(from, to net.Conn, look func([]byte) bool) {
		defer from.Close()
		defer to.Close()
		for {
			packet, err := readPacket(from)
			if err != nil {
				return
			}
			p.mu.Lock()
			hung := p.hung
			p.mu.Unlock()
			if hung != nil {
				<-hung
			}
			if !look(packet) {
				return
			}
			if _, err := to.Write(packet); err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		pump(broker, feed, func(packet []byte) bool {
			if id, payload, ok := published(packet); ok {
				ids.Store(id, string(payload))
			}
			p.mu.Lock()
			spoil, edit := p.spoil, p.edit
			p.spoil = nil
			p.mu.Unlock()
			if edit != nil {
				edit(packet)
			}
			if spoil != nil {
				_, _ = feed.Write(spoil())
				return false
			}
			return true
		})
	})
	wg.Go(func() {
		pump(feed, broker, func(packet []byte) bool {
			if packet[0]>>4 != 4 {
				return true
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.count++
			if p.deaf != nil && p.deaf(p.count) {
				return false
			}
			if payload, ok := ids.Load(int(packet[2])<<8 | int(packet[3])); ok {
				p.acked[payload.(string)]++
			}
			return true
		})
	})
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, feed)
	delete(p.conns, broker)
}

// readPacket reads one packet as it is on the wire.
func readPacket(from net.Conn) ([]byte, error) {
	packet := make([]byte, 1, 64)
	if _, err := readFull(from, packet); err != nil {
		return nil, err
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b := make([]byte, 1)
		if _, err := readFull(from, b); err != nil {
			return nil, err
		}
		packet = append(packet, b[0])
		size |= int(b[0]&0x7f) << shift
		if b[0]&0x80 == 0 {
			break
		}
	}
	head := len(packet)
	packet = append(packet, make([]byte, size)...)
	_, err := readFull(from, packet[head:])
	return packet, err
}

func readFull(from net.Conn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := from.Read(b[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// published reads packet id and payload of a PUBLISH with QoS 1.
func published(packet []byte) (id int, payload []byte, ok bool) {
	if packet[0]>>4 != 3 || packet[0]>>1&3 == 0 {
		return 0, nil, false
	}
	at := 1
	for packet[at]&0x80 != 0 {
		at++
	}
	at++
	at += 2 + (int(packet[at])<<8 | int(packet[at+1]))
	return int(packet[at])<<8 | int(packet[at+1]), packet[at+2:], true
}

// passwords writes a password file for the broker.
func passwords(t testing.TB, user, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mosquitto_passwd", "-b", file, user, password).CombinedOutput(); err != nil {
		t.Skipf("mosquitto_passwd is not installed: run make deps (%v, %s)", err, out)
	}
	return file
}
