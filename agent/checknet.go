package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/disk"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// checkCentre goes the way to the centre a step at a time, so that the step that
// fails is known: name, proxy, connection, TLS.
func (k *checker) checkCentre(ctx context.Context) (reached bool) {
	c := k.config.Central
	for _, address := range append([]string{c.Address}, c.Others...) {
		reached = k.checkAddress(ctx, address) || reached
	}
	return reached
}

func (k *checker) checkAddress(ctx context.Context, address string) (reached bool) {
	host, _, _ := net.SplitHostPort(address) // was checked
	if !k.resolve(ctx, "central name", host) {
		return false
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: address}}); err == nil && proxy != nil {
		k.add("central proxy", Warn, "HTTPS_PROXY sends the connection through "+proxy.Host, "the proxy must let CONNECT "+address+" through and leave TLS alone; or add "+host+" to NO_PROXY")
		return true // what follows would look past the proxy
	}
	k.add("central proxy", Pass, "none is set (HTTPS_PROXY): the connection is direct", "")
	conn, ok := k.connect(ctx, "central connection", address, "let this host out to "+address+" (docs/firewall.md)")
	if !ok {
		return false
	}
	defer func() { _ = conn.Close() }()
	return k.handshake(ctx, conn, host)
}

func (k *checker) resolve(ctx context.Context, check, host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	begun := time.Now()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	switch took := time.Since(begun); {
	case err != nil:
		k.add(check, Fail, err.Error(), "ask who runs DNS for "+host+", or look for a wrong name in the configuration")
		return false
	case took > time.Second:
		k.add(check, Warn, fmt.Sprintf("%s is %s, and that took %v", host, strings.Join(found, ", "), took.Round(time.Millisecond)), "look at this host's DNS servers: one of them may not answer")
	default:
		k.add(check, Pass, host+" is "+strings.Join(found, ", "), "")
	}
	return true
}

func (k *checker) connect(ctx context.Context, check, address, do string) (net.Conn, bool) {
	begun := time.Now()
	conn, err := (&net.Dialer{Timeout: checkWait}).DialContext(ctx, "tcp", address)
	if err != nil {
		text := err.Error()
		var timeout net.Error
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			text += ": the host is there, and nothing listens on that port, or a firewall refuses"
		case errors.As(err, &timeout) && timeout.Timeout():
			text += ": nothing answers, as when a firewall drops it"
		}
		k.add(check, Fail, text, do)
		return nil, false
	}
	k.add(check, Pass, fmt.Sprintf("%s answers in %v", address, time.Since(begun).Round(time.Millisecond)), "")
	return conn, true
}

// handshake shows which certificates come, and whose they are, where they are not
// the centre's.
func (k *checker) handshake(ctx context.Context, conn net.Conn, host string) bool {
	const check = "central TLS"
	c := k.config.Central
	own, err := k.config.centralTLS()
	if err != nil {
		k.add(check, Fail, err.Error(), "enrol the agent, or put its certificate and key where the configuration says")
		return false
	}
	// What comes is looked at here first, and then verified as in operation.
	looking := own.Clone()
	looking.ServerName, looking.NextProtos = host, []string{"h2"}
	looking.InsecureSkipVerify, looking.VerifyConnection = true, nil
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	secured := tls.Client(conn, looking)
	if err := secured.HandshakeContext(ctx); err != nil {
		k.add(check, Fail, err.Error(), "see that nothing between here and the centre answers in its place; the centre speaks TLS 1.3")
		return false
	}
	state := secured.ConnectionState()
	chain := describeChain(state.PeerCertificates)
	options := x509.VerifyOptions{Roots: own.RootCAs, Intermediates: x509.NewCertPool(), DNSName: host}
	for _, between := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(between)
	}
	leaf := state.PeerCertificates[0]
	_, err = leaf.Verify(options)
	var foreign x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &foreign):
		k.add(check, Fail, fmt.Sprintf("the certificate that comes is issued by %q, which is not in central.ca: %s", issuer(leaf), chain),
			"if that is a proxy or firewall that inspects TLS, exempt "+c.Address+" from inspection; if the centre has a new authority, install its certificate as central.ca")
		return false
	case errors.As(err, &name):
		k.add(check, Fail, fmt.Sprintf("the certificate is for %v, not for %s", leaf.DNSNames, host), "use the name that the centre gave, in central.address")
		return false
	case err != nil:
		k.add(check, Fail, fmt.Sprintf("%v: %s", err, chain), "tell those who run the centre, and look at this host's clock")
		return false
	}
	if err := own.VerifyConnection(state); err != nil {
		k.add(check, Fail, err.Error(), "tell those who run the centre: its certificate does not name a centre")
		return false
	}
	if state.NegotiatedProtocol != "h2" {
		k.add(check, Fail, "HTTP/2 is not spoken: "+chain, "something between speaks HTTP/1 only: exempt "+c.Address+" from it")
		return false
	}
	k.add(check, Pass, chain, "")
	if left := time.Until(leaf.NotAfter); left < expirySoon {
		k.add("central certificate", Warn, "the centre's certificate ends on "+leaf.NotAfter.Format(time.DateOnly), "tell those who run the centre")
	}
	return true
}

func describeChain(chain []*x509.Certificate) string {
	var all []string
	for _, c := range chain {
		all = append(all, subject(c))
	}
	return fmt.Sprintf("%s, issued by %s, until %s", strings.Join(all, " < "), issuer(chain[len(chain)-1]), chain[0].NotAfter.Format(time.DateOnly))
}

func subject(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return c.Subject.String()
}

func issuer(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}

// missingFile is the remedy for a file that can not be read.
const missingFile = "put the file there, readable by the service's user; the agent's own certificate comes with a token from central operations: safeguard-agent enrol"

// expirySoon is when a certificate's end should be seen to.
const expirySoon = 30 * 24 * time.Hour

// renewalLate is how long after a renewal was due it is late, as a share of the
// certificate's life: it is tried again every minute.
const renewalLate = 24

// checkOwnCertificate looks at the certificate that the agent shows the centre, and
// renews by itself where the centre has issued it.
func (k *checker) checkOwnCertificate() {
	const check = "certificate"
	which, ok := k.certificate(check, k.config.Central.Certificate)
	if !ok {
		return
	}
	due, ends := identity.Due(which), which.NotAfter.Format(time.DateTime)
	late := due.Add(which.NotAfter.Sub(which.NotBefore) / renewalLate)
	byItself := len(which.URIs) > 0
	switch left := time.Until(which.NotAfter); {
	case left < 0 && byItself:
		k.add(check, Fail, fmt.Sprintf("%s ended on %s", subject(which), ends), "the agent tries to renew it for 30 days more, and its log says why it can not; after that ask central operations for a token: safeguard-agent enrol")
	case left < 0:
		k.add(check, Fail, fmt.Sprintf("%s ended on %s", subject(which), ends), "renew it where it was issued")
	case byItself && time.Now().After(late):
		k.add(check, Warn, fmt.Sprintf("%s ends on %s; it should have been renewed by itself on %s", subject(which), ends, due.Format(time.DateOnly)),
			"see in the agent's log why it can not renew it; if that stays, ask central operations for a token: safeguard-agent enrol")
	case byItself:
		k.add(check, Pass, fmt.Sprintf("%s, until %s; it renews by itself on %s", subject(which), ends, due.Format(time.DateOnly)), "")
	case left < expirySoon:
		k.add(check, Warn, fmt.Sprintf("%s ends on %s", subject(which), ends), "renew it where it was issued: only the centre's own are renewed by themselves")
	default:
		k.add(check, Pass, fmt.Sprintf("%s, until %s", subject(which), ends), "")
	}
}

// checkCertificate looks at the time of every certificate in a file, and says do of
// one whose end is near.
func (k *checker) checkCertificate(check, path, do string) {
	if path == "" {
		return
	}
	which, ok := k.certificate(check, path)
	if !ok {
		return
	}
	switch left := time.Until(which.NotAfter); {
	case left < 0:
		k.add(check, Fail, fmt.Sprintf("%s ended on %s", subject(which), which.NotAfter.Format(time.DateTime)), do)
	case left < expirySoon:
		k.add(check, Warn, fmt.Sprintf("%s ends on %s", subject(which), which.NotAfter.Format(time.DateOnly)), do)
	default:
		k.add(check, Pass, fmt.Sprintf("%s, until %s", subject(which), which.NotAfter.Format(time.DateOnly)), "")
	}
}

// certificate is the one of a file that ends first.
func (k *checker) certificate(check, path string) (which *x509.Certificate, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		k.add(check, Fail, plainly(err), missingFile)
		return nil, false
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if time.Now().Before(c.NotBefore) {
			k.add(check, Fail, fmt.Sprintf("%s is not valid before %s", subject(c), c.NotBefore.Format(time.DateTime)), "look at this host's clock")
			return nil, false
		}
		if which == nil || c.NotAfter.Before(which.NotAfter) {
			which = c
		}
	}
	if which == nil {
		k.add(check, Fail, path+" holds no certificate", "want PEM, beginning with -----BEGIN CERTIFICATE-----")
	}
	return which, which != nil
}

// probe connects to a peer, and shakes hands where it wants TLS.
func (k *checker) probe(ctx context.Context, check, address string, secure *feed.TLS) bool {
	host, _, _ := net.SplitHostPort(address)
	if !k.resolve(ctx, check, host) {
		return false
	}
	conn, ok := k.connect(ctx, check, address, "start the other side, or let this host through to "+address)
	if !ok {
		return false
	}
	defer func() { _ = conn.Close() }()
	if secure == nil {
		return true
	}
	config, err := secure.Dialling(host)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, checkWait)
		defer cancel()
		err = tls.Client(conn, config).HandshakeContext(ctx)
	}
	if err != nil {
		k.add(check, Fail, "TLS with "+address+": "+err.Error(), "compare the certificates and names on both sides")
		return false
	}
	k.add(check, Pass, "TLS with "+address+" is verified", "")
	return true
}

// checkFeeds looks at what the running feeds have counted, and else whether each
// could begin.
func (k *checker) checkFeeds(ctx context.Context) {
	if k.feeds != nil {
		for _, r := range k.feeds.reports() {
			k.feedState(r)
		}
	}
	for _, f := range k.config.Feeds {
		check := "feed " + f.Name
		switch {
		case f.MLLP != nil:
			k.listens(ctx, check, f.MLLP.Address, k.feeds != nil)
		case f.HTTP != nil:
			k.listens(ctx, check, f.HTTP.Address, k.feeds != nil)
		case f.MLLPClient != nil:
			k.probe(ctx, check, f.MLLPClient.Address, f.MLLPClient.TLS)
		case f.MQTT != nil:
			k.probe(ctx, check, f.MQTT.Broker.Address, f.MQTT.Broker.TLS)
		case f.Folder != nil:
			if err := disk.TryWrite(f.Folder.Folder); err != nil {
				k.add(check, Fail, plainly(err), "make the folder; the service's user must be able to move and remove files there")
				continue
			}
			k.add(check, Pass, f.Folder.Folder+" can be read and written", "")
		}
	}
}

func (k *checker) feedState(r FeedReport) {
	check := "feed " + r.Name
	switch {
	case r.Fault != "":
		k.add(check, Fail, r.Fault, "see the line below, and correct the section or free its port; it is tried again by itself")
	case !r.HeldSince.IsZero():
		k.add(check, Fail, fmt.Sprintf("on hold since %s, %d waiting", r.HeldSince.Format(time.DateTime), r.Waiting), "safeguard-agent journal stats tells why intake is stopped")
	case r.LastMessage.IsZero() && k.starting:
	case r.LastMessage.IsZero():
		k.add(check, Warn, "no message since the agent started", "ask the sender's side to start its connection, and to send one")
	default:
		k.add(check, Pass, fmt.Sprintf("%d connected, last message at %s, %d messages since the agent started, %d rejected, %d unreadable",
			r.Open, r.LastMessage.Format(time.DateTime), r.Frames, r.Rejected, r.Unreadable), "")
	}
}

// checkPages looks at what else is listened on.
func (k *checker) checkPages(ctx context.Context) {
	if h := k.config.CDSHooks; h != nil {
		k.listens(ctx, "cds_hooks", h.Address, k.feeds != nil)
	}
	// The page listens a moment after the agent has started: what is wrong with it
	// then is in the log.
	if s := k.config.Status; s.Listen != "" && !k.starting {
		k.listens(ctx, "status page", s.Listen, k.feeds != nil)
	}
}

// listens tries an address that is listened on: by connecting where the agent
// runs, and else by taking it for a moment.
func (k *checker) listens(ctx context.Context, check, address string, running bool) {
	if !running {
		l, err := net.Listen("tcp", address)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			k.add(check, Fail, address+" is in use by another program", "find it (ss -ltnp, netstat -abno), and stop it or choose another port")
			return
		case err != nil:
			k.add(check, Fail, err.Error(), "use an address that this host has (ip address, ipconfig), and a port over 1023")
			return
		}
		defer func() { _ = l.Close() }()
	}
	host, port, _ := net.SplitHostPort(address)
	if port == "0" {
		k.add(check, Pass, address+" is any port that is free", "")
		return
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	conn, err := (&net.Dialer{Timeout: checkWait}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		k.add(check, Fail, "nothing can connect to "+address+": "+err.Error(), "let connections in on this host's own firewall (docs/firewall.md)")
		return
	}
	_ = conn.Close()
	state := "is free"
	if running {
		state = "listens"
	}
	k.add(check, Pass, address+" "+state+", and can be reached from this host", "")
}
