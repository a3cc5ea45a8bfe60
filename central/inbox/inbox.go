// Package inbox takes the uploads that local authorities put into a folder: each
// file once, whatever happens meanwhile, with its report beside.
//
//	FOLDER/906/                  files of local authority 906
//	FOLDER/906/taken/            files that were taken, and their reports
//	FOLDER/906/waiting/          snapshots that wait for a person, and their reports
//	FOLDER/906/refused/          files of which nothing is changed, with the reason
//
// A report is named as its file, with .report.json behind it, and the national
// acknowledgement with .ack.xml.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// Inbox is a folder that is polled.
type Inbox struct {
	Folder string
	Poll   time.Duration // how often it is looked into
	Settle time.Duration // how long a file must have stayed as it is before it is taken

	Intake *upload.Intake
	Store  interface {
		Upload(ctx context.Context, authority safeguard.ODSCode, id string, sequence int64) (store.Kept, error)
		Lease(ctx context.Context, name, holder string, d time.Duration) (bool, error)
	}
	Holder string // names this process among those that share the store
	// Contact is whom an acknowledgement is for.
	Contact func(authority safeguard.ODSCode) safeguard.Authority
	Log     *slog.Logger
}

// leaveAfter is how long Run waits, at its end, for a share that does not answer:
// nothing can end a call to the operating system.
const leaveAfter = 5 * time.Second

// Run takes files until ctx ends. Each authority's folder is looked into by
// itself, so that one that hangs, as a share does whose server is away, holds up
// no other.
func (b *Inbox) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { b.watch(ctx, &all) })
	<-ctx.Done()
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(leaveAfter):
		b.Log.Warn("upload folder does not answer, left as it is", "folder", b.Folder)
	}
	return nil
}

// watch begins to look into each authority's folder once there is one.
func (b *Inbox) watch(ctx context.Context, all *sync.WaitGroup) {
	watched := map[safeguard.ODSCode]bool{}
	failing := false
	b.every(ctx, func() {
		entries, err := os.ReadDir(b.Folder)
		if errors.Is(err, fs.ErrNotExist) && os.Mkdir(b.Folder, 0o750) == nil {
			b.Log.Info("upload folder made", "folder", b.Folder) // as at a first start
			err = nil
		}
		if err != nil && !failing {
			b.Log.Warn("upload folder not read, trying again", "err", err)
		}
		failing = err != nil
		for _, e := range entries {
			code, err := safeguard.ParseODSCode(e.Name())
			if err != nil || code.String() != e.Name() || watched[code] || e.Type().IsRegular() {
				continue
			}
			watched[code] = true
			all.Go(func() {
				f := &folder{Inbox: b, authority: code, path: filepath.Join(b.Folder, code.String()), seen: map[string]look{}}
				defer f.release()
				b.every(ctx, func() { f.turn(ctx) })
			})
		}
	})
}

// every does it now, and each time the poll is due, until ctx ends.
func (b *Inbox) every(ctx context.Context, do func()) {
	tick := time.NewTicker(b.Poll)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// folder is that of one authority.
type folder struct {
	*Inbox
	authority safeguard.ODSCode
	path      string
	seen      map[string]look // files that are not taken yet
	failing   bool
	marked    string // what tells the folder from others; empty before it is known
	barred    bool   // the lease could not be asked for
}

// look is how a file was when it was last looked at.
type look struct {
	size     int64
	modified time.Time
	since    time.Time // when it was first seen so
	told     bool      // that it can not be taken now
}

const (
	taken   = "taken"
	waiting = "waiting"
	refused = "refused"

	reportEnd = ".report.json"
	ackEnd    = ".ack.xml"
)

// round looks into the folder once.
func (f *folder) round(ctx context.Context) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		if !f.failing {
			f.Log.Warn("upload folder of an authority not read, trying again", "authority", f.authority, "err", err)
		}
		f.failing = true
		return
	}
	f.failing = false
	there := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if ctx.Err() != nil {
			return
		}
		if !e.Type().IsRegular() || passedOver(name) {
			continue
		}
		there[name] = true
		if info, err := e.Info(); err == nil && f.settled(name, info) {
			f.take(ctx, name, info)
		}
	}
	for name := range f.seen {
		if !there[name] {
			delete(f.seen, name)
		}
	}
	f.followWaiting(ctx)
}

// passedOver tells names that are still being written under, as programs that
// copy files have them.
func passedOver(name string) bool {
	lower := strings.ToLower(name)
	for _, end := range []string{".tmp", ".part", ".partial", ".filepart", ".crdownload", "~"} {
		if strings.HasSuffix(lower, end) {
			return true
		}
	}
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~")
}

// settled tells whether the file has stayed as it is for long enough, by this
// machine's clock: a share's may differ.
func (f *folder) settled(name string, info os.FileInfo) bool {
	now := look{size: info.Size(), modified: info.ModTime(), since: time.Now()}
	before, ok := f.seen[name]
	if !ok || before.size != now.size || !before.modified.Equal(now.modified) {
		f.seen[name] = now
		return f.Settle == 0
	}
	return time.Since(before.since) >= f.Settle
}

// take takes a file, or says beside it why not. What may be otherwise the next
// time is left where it is.
func (f *folder) take(ctx context.Context, name string, info os.FileInfo) {
	err := f.upload(ctx, name, info)
	var no *upload.Refused
	switch {
	case err == nil:
		delete(f.seen, name)
	case errors.As(err, &no) && no.Why == upload.Busy, ctx.Err() != nil:
	case errors.As(err, &no):
		f.Log.Warn("upload refused", "authority", f.authority, "reason", no.Reason)
		if err := f.refuse(name, info, no.Reason); err == nil {
			delete(f.seen, name)
			return
		}
		fallthrough
	default:
		if l := f.seen[name]; !l.told {
			l.told = true
			f.seen[name] = l
			f.Log.Error("upload in the folder not taken, trying again", "authority", f.authority, "err", plain(err))
		}
	}
}

// plain leaves the name of a file out of an error: a person's name may be in it.
func plain(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	return err
}

// to is whom an acknowledgement is for, as the directory has it.
func (f *folder) to() cpisxml.Organisation {
	a := f.Contact(f.authority)
	return cpisxml.Organisation{Code: f.authority, Name: a.Name, EmergencyDuty: a.EmergencyDutyPhone, OfficeHours: a.OfficeHoursPhone}
}
