package statuspage

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// named lets nobody further who calls the page by a name that is not its own. A
// page elsewhere may have its name resolve to this host, and would then be one
// page with this one to a browser (DNS rebinding). An address is no name, and can
// not be made to resolve to another.
func (s *Server) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.own(r) {
			http.Error(w, "this is not a name of the status page: call it by its address, or by a name in its certificate", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) own(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil {
		return true
	}
	// A browser that was shown a certificate without the name has not asked.
	return r.TLS != nil && host != "" && strings.EqualFold(r.TLS.ServerName, host)
}

// admitted lets nobody further without a password, where there are any.
func (s *Server) admitted(next http.Handler) http.Handler {
	if s.guests == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, given := r.BasicAuth()
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		err := errNoPassword
		if given {
			err = s.guests.check(name, password, from, time.Now())
		}
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case errors.Is(err, errTooMany):
			s.log.Warn("status page refused", "from", from, "why", err)
			http.Error(w, err.Error(), http.StatusTooManyRequests)
		default:
			if given {
				s.log.Warn("status page refused", "from", from, "why", err)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="Safeguard agent", charset="UTF-8"`)
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	})
}

var (
	errNoPassword = errors.New("want a name and a password")
	errWrong      = errors.New("name or password is wrong")
	errTooMany    = errors.New("too many wrong passwords: try again in a quarter of an hour")
)

// How many wrong passwords may be tried.
const (
	wrongWithin = 15 * time.Minute
	mostWrong   = 20 // by one address
	mostAsking  = 1000
	knownFor    = 10 * time.Minute // a right one is not hashed again
)

// guests are those who may look, by the password file, which is read again when
// it changes.
type guests struct {
	file string
	key  []byte // of known

	mu     sync.Mutex // guards the fields below
	read   time.Time  // the file's time when it was
	hashes map[string]string
	known  map[[sha256.Size]byte]time.Time // right pairs of name and password, and until when
	wrong  map[string][]time.Time          // by address
}

func readGuests(file string) (*guests, error) {
	g := &guests{file: file, key: make([]byte, 32), wrong: map[string][]time.Time{}}
	_, _ = rand.Read(g.key) // crypto/rand never fails
	return g, g.refresh()
}

// refresh reads the file where it has changed. One that can not be read leaves
// those in force who were.
func (g *guests) refresh() error {
	info, err := os.Stat(g.file)
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	if info.ModTime().Equal(g.read) {
		return nil
	}
	text, err := os.ReadFile(g.file)
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	hashes, err := ParsePasswords(text)
	if err != nil {
		return fmt.Errorf("password file %s: %w", g.file, err)
	}
	g.read, g.hashes, g.known = info.ModTime(), hashes, map[[sha256.Size]byte]time.Time{}
	return nil
}

// ParsePasswords reads a password file: lines of a name, a colon and a hash, as
// keys.HashPassword gives it. An error names the line, and nothing in it.
func ParsePasswords(text []byte) (map[string]string, error) {
	hashes := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" || !strings.HasPrefix(hash, "$argon2id$") {
			return nil, fmt.Errorf("line %d: want NAME:HASH, as safeguard-agent status password writes it", n)
		}
		if _, there := hashes[name]; there {
			return nil, fmt.Errorf("line %d: a name that was there before", n)
		}
		hashes[name] = hash
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(hashes) == 0 {
		return nil, errors.New("nobody is in it: safeguard-agent status password adds a name")
	}
	return hashes, nil
}

// check tells whether the password is the name's.
func (g *guests) check(name, password, from string, now time.Time) error {
	hash, pair, err := g.before(name, password, from, now)
	if err != nil || hash == "" {
		return err
	}
	right, err := keys.CheckPassword(hash, password)
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !right {
		return errWrong
	}
	delete(g.wrong, from)
	if g.hashes[name] == hash { // the file may have changed meanwhile
		g.known[pair] = now.Add(knownFor)
	}
	return nil
}

// before gives the hash that is to be tried; none where the pair is known to be
// right.
func (g *guests) before(name, password, from string, now time.Time) (hash string, pair [sha256.Size]byte, err error) {
	mac := hmac.New(sha256.New, g.key)
	fmt.Fprintf(mac, "%d:%s%s", len(name), name, password)
	mac.Sum(pair[:0])
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.refresh()
	if until, ok := g.known[pair]; ok && now.Before(until) {
		return "", pair, nil
	}
	tried := g.wrong[from]
	for len(tried) > 0 && now.Sub(tried[0]) > wrongWithin {
		tried = tried[1:]
	}
	if len(tried) >= mostWrong || len(g.wrong) >= mostAsking {
		g.tidy(now)
		return "", pair, errTooMany
	}
	g.wrong[from] = append(tried, now) // taken back where it is right
	if hash, there := g.hashes[name]; there {
		return hash, pair, nil
	}
	return nobody(), pair, nil
}

// nobody is the hash of no password, so that a name that is not there takes as long
// to be refused as one that is.
var nobody = sync.OnceValue(func() string {
	hash, err := keys.HashPassword(rand.Text())
	if err != nil {
		panic(err) // rand.Text is long enough
	}
	return hash
})

// tidy forgets addresses whose last attempt is old.
func (g *guests) tidy(now time.Time) {
	for from, tried := range g.wrong {
		if len(tried) == 0 || now.Sub(tried[len(tried)-1]) > wrongWithin {
			delete(g.wrong, from)
		}
	}
}
