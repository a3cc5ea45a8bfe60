package central

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/disk"
	"github.com/safeguard-edge/safeguard/findings"
)

// checker looks at what a centre depends on. It changes nothing.
type checker struct {
	config Config
	say    func(findings.Finding) error
	err    error // of say
}

const (
	checkWait   = 10 * time.Second
	endsSoon    = 14 * 24 * time.Hour // of a certificate
	lowDisk     = 5 << 30             // bytes
	noDisk      = 512 << 20
	clockOff    = time.Second
	clockWrong  = 30 * time.Second // then leases and ages are wrong
	seeRunbook  = "see docs/central-runbook.md"
	storeAdvice = seeRunbook + ", The database does not answer"
)

// Check looks at everything that the centre of the configuration file depends on, and
// hands what it finds to say, a line at a time. It may be done beside a centre that
// runs, and before the first start.
func Check(ctx context.Context, file string, say func(findings.Finding) error) error {
	c, err := Load(file)
	if err == nil {
		_, err = c.targets()
	}
	if err != nil {
		return say(findings.Finding{Check: "configuration", Result: findings.Fail, Text: err.Error(), Do: "correct the file; safeguard-central config check looks at it alone"})
	}
	k := &checker{config: c, say: say}
	k.pass("configuration", file+" is valid")
	k.folders()
	k.clock()
	ring := k.keys()
	k.store(ctx, ring)
	k.certificate(ring)
	k.listeners(ctx)
	k.disk()
	return k.err
}

func (k *checker) add(check string, r findings.Result, text, do string) {
	if k.err == nil {
		k.err = k.say(findings.Finding{Check: check, Result: r, Text: text, Do: do})
	}
}

func (k *checker) pass(check, text string) { k.add(check, findings.Pass, text, "") }

// folders tries the rights in each, as the user who runs this.
func (k *checker) folders() {
	for _, folder := range []struct{ key, path string }{{"data", k.config.Data}, {"uploads.folder", k.config.Uploads.Folder}} {
		if folder.path == "" {
			continue
		}
		switch err := disk.TryWrite(folder.path); {
		case errors.Is(err, fs.ErrNotExist):
			k.add(folder.key, findings.Warn, folder.path+" is not there: it is made at the first start, if its parent lets the service's user", "")
		case err != nil:
			k.add(folder.key, findings.Fail, err.Error(), "let the service's user write there, and run this check as that user")
		default:
			k.pass(folder.key, folder.path+" can be written, by the user who runs this check")
		}
	}
}

// keys opens the key ring, and makes none.
func (k *checker) keys() *keys.Ring {
	folder := filepath.Join(k.config.Data, "keys")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		k.add("keys", findings.Warn, "none yet: a centre makes them at its first start", "of a centre that has a store, put the folder keys and the master key back from their backup before it is started")
		return nil
	}
	ring, err := k.config.openKeys()
	if err != nil {
		k.add("keys", findings.Fail, err.Error(), "put the folder keys and the master key back from their backup: without both nothing in the store can be read")
		return nil
	}
	k.pass("keys", "ring "+ring.ID())
	return ring
}

func (k *checker) store(ctx context.Context, ring *keys.Ring) {
	if ring == nil {
		k.add("store", findings.Warn, "not looked at: there are no keys", "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	var i store.Inspection
	var err error
	where := k.config.databaseFile()
	if k.config.Store.Postgres.DSNFile == "" {
		i, err = store.InspectSQLite(ctx, where, ring)
	} else {
		where = "the database"
		var dsn string
		if dsn, err = k.config.dsn(); err == nil {
			i, err = store.InspectPostgres(ctx, dsn, ring)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && k.config.Store.Postgres.DSNFile == "":
		k.add("store", findings.Warn, where+" is not there: it is made at the first start", "of a centre that was in use, restore it from its backup")
		return
	case err != nil:
		k.add("store", findings.Fail, err.Error(), storeAdvice)
		return
	case !i.Keys:
		k.add("store", findings.Fail, where+" was written under other keys than ring "+ring.ID(), "bring keys and store together that belong together: "+seeRunbook)
	case i.Version > i.Want:
		k.add("store", findings.Fail, fmt.Sprintf("%s is of version %d, this program knows up to %d", where, i.Version, i.Want), "install the newer program that wrote it")
	case i.Version < i.Want:
		k.add("store", findings.Warn, fmt.Sprintf("%s is of version %d, and the next start brings it to %d", where, i.Version, i.Want), "take a backup first: tables never go backward")
	default:
		k.pass("store", fmt.Sprintf("%s answers, and is of version %d", where, i.Version))
	}
	if k.config.Store.Postgres.DSNFile != "" {
		k.databaseClock(i.Clock.Abs())
	}
}

// databaseClock compares this machine's clock with the database's: leases and ages
// are by both.
func (k *checker) databaseClock(off time.Duration) {
	const do = "see that both follow the same time servers (NTP)"
	text := fmt.Sprintf("this machine and the database differ by %v", off.Round(time.Millisecond))
	switch {
	case off > clockWrong:
		k.add("database clock", findings.Fail, text, do)
	case off > clockOff:
		k.add("database clock", findings.Warn, text, do)
	default:
		k.pass("database clock", text)
	}
}

// clock asks the system whether its time is right. Every agent compares its own with
// this one, and is told that it is off when this one is.
func (k *checker) clock() {
	switch kept, known := keptTime(); {
	case !known: // some systems do not say
	case kept:
		k.pass("clock", "the system keeps its time by time servers")
	default:
		k.add("clock", findings.Warn, "the system does not keep its time by time servers, and agents are measured against it", "set up NTP on the host (timedatectl, chronyc tracking)")
	}
}

func (k *checker) certificate(ring *keys.Ring) {
	const remedy = "safeguard-central ca centre makes one; of another authority, put the new files in place and restart"
	var options []identity.EntranceOption
	if ring != nil {
		options = append(options, identity.ServerKey(ring))
	}
	entrance, err := identity.ServerTLS(k.config.TLS.files(), options...)
	if err != nil {
		k.add("certificate", findings.Fail, err.Error(), remedy)
		return
	}
	leaf, err := entrance.Leaf()
	if err != nil {
		k.add("certificate", findings.Fail, err.Error(), remedy)
		return
	}
	until := leaf.NotAfter.Local().Format(time.DateTime)
	switch left := time.Until(leaf.NotAfter); {
	case left <= 0:
		k.add("certificate", findings.Fail, "it ended on "+until, remedy)
	case left < endsSoon && left < leaf.NotAfter.Sub(leaf.NotBefore)/4:
		k.add("certificate", findings.Warn, "it ends on "+until+", and was not renewed yet", remedy)
	default:
		k.pass("certificate", "it is good until "+until+", for "+fmt.Sprint(append(leaf.DNSNames, fmt.Sprint(leaf.IPAddresses))))
	}
}

// listeners tries each port. One that is taken is the running centre's, if the centre
// answers there.
func (k *checker) listeners(ctx context.Context) {
	for _, l := range []struct{ key, address string }{{"listen", k.config.Listen}, {"fleet.metrics", k.config.Fleet.Metrics}, {"web.listen", k.config.Web.Listen}} {
		if l.address == "" {
			continue
		}
		listener, err := net.Listen("tcp", l.address)
		if err == nil {
			_ = listener.Close()
			k.pass(l.key, l.address+" is free")
			continue
		}
		asking, cancel := context.WithTimeout(ctx, checkWait)
		conn, dialErr := (&net.Dialer{}).DialContext(asking, "tcp", l.address)
		cancel()
		if dialErr != nil {
			k.add(l.key, findings.Fail, err.Error(), "name an address of this machine, and a port that the service's user may take")
			continue
		}
		_ = conn.Close()
		if k.running() {
			k.pass(l.key, l.address+" is taken, and the centre runs")
			continue
		}
		k.add(l.key, findings.Fail, l.address+" is taken by another program", "ss -ltnp names it (Windows: netstat -abno)")
	}
}

// running tells whether something answers as the centre does at its address.
func (k *checker) running() bool {
	ctx, cancel := context.WithTimeout(context.Background(), checkWait)
	defer cancel()
	return answers(ctx, k.config.Listen) == nil
}

func (k *checker) disk() {
	free, err := disk.Free(k.config.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return // was told
	case err != nil:
		k.add("disk", findings.Warn, err.Error(), "")
	case free < noDisk:
		k.add("disk", findings.Fail, fmt.Sprintf("%d MB are free for %s", free>>20, k.config.Data), "make room: without it nothing can be recorded, and nothing is answered")
	case free < lowDisk:
		k.add("disk", findings.Warn, fmt.Sprintf("%d MB are free for %s", free>>20, k.config.Data), "make room before it is short: some 0.8 KB for each lookup")
	default:
		k.pass("disk", fmt.Sprintf("%d GB are free for %s", free>>30, k.config.Data))
	}
}
