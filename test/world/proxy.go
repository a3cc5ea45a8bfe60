package world

import (
	"net"
	"sync"
	"time"
)

// Proxy stands between two programs and does what networks do. It is small enough
// to be seen through, which a fault injector must be; the one that is to be had
// brings a web server and a dozen modules.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	target string
	fault  Fault
	until  chan struct{} // closed when the fault changes
	conns  map[net.Conn]bool
	closed bool
}

// Fault is what is wrong. The zero value is nothing.
type Fault struct {
	Refuse bool          // connections break, and no new one lives
	Hang   bool          // connections live, and nothing passes; they break when it ends
	Delay  time.Duration // of whatever passes, each way
	Target string        // another server that answers instead; empty for the right one
}

// NewProxy listens on a free port of the loopback interface for the target.
func NewProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, target: target, until: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes what is wrong. Connections to a server that is not the one from now
// on break, as do those that are to be refused or that hung.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Refuse || p.fault.Hang || f.Target != p.fault.Target {
		for c := range p.conns {
			_ = c.Close()
		}
	}
	p.fault = f
	close(p.until)
	p.until = make(chan struct{})
}

// Close ends it with its connections.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Set(Fault{Refuse: true})
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		f, target := p.fault, p.target
		p.mu.Unlock()
		if f.Target != "" {
			target = f.Target
		}
		if f.Refuse {
			_ = near.Close()
			continue
		}
		p.wg.Go(func() { p.join(near, target) })
	}
}

func (p *Proxy) join(near net.Conn, target string) {
	defer near.Close()
	far, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	if p.closed || p.fault.Refuse {
		p.mu.Unlock()
		return
	}
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(near, far) })
	both.Go(func() { p.pump(far, near) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, near)
	delete(p.conns, far)
	p.mu.Unlock()
}

// pump passes on what comes, as late as the fault has it, until either end breaks.
func (p *Proxy) pump(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	chunk := make([]byte, 32<<10)
	for {
		n, err := from.Read(chunk)
		if err != nil {
			return
		}
		p.mu.Lock()
		f, until := p.fault, p.until
		p.mu.Unlock()
		if f.Hang {
			<-until
			return
		}
		if f.Delay > 0 {
			select {
			case <-time.After(f.Delay):
			case <-until:
			}
		}
		if _, err := to.Write(chunk[:n]); err != nil {
			return
		}
	}
}
