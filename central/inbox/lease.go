package inbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Several processes of a centre may look into one folder, which is a share then;
// or each into one of its own, under the same path. A mark in the folder tells
// these apart, and the lease is of what is marked.
const (
	mark      = ".safeguard-folder"
	leaseTime = time.Minute // how long another process waits for one that is gone
)

// turn looks into the folder, if this process is the one to do that.
func (f *folder) turn(ctx context.Context) {
	mine, err := f.lease(ctx)
	if err != nil && !f.barred && ctx.Err() == nil {
		f.Log.Warn("whether another process looks into the upload folder is not known, trying again", "authority", f.authority, "err", plain(err))
	}
	if f.barred = err != nil; !mine {
		clear(f.seen) // what was seen is another's to take
		return
	}
	held := make(chan struct{})
	kept := make(chan struct{})
	go func() { // a large upload takes longer than a lease
		defer close(kept)
		tick := time.NewTicker(leaseTime / 3)
		defer tick.Stop()
		for {
			select {
			case <-held:
				return
			case <-tick.C:
				_, _ = f.lease(ctx) // whoever takes it meanwhile finds that the upload is known
			}
		}
	}()
	f.round(ctx)
	close(held)
	<-kept
}

func (f *folder) lease(ctx context.Context) (bool, error) {
	if f.marked == "" {
		var err error
		if f.marked, err = marked(f.Folder); err != nil {
			return false, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTime/3)
	defer cancel()
	return f.Store.Lease(ctx, f.leased(), f.Holder, leaseTime)
}

func (f *folder) leased() string { return "folder " + f.marked + " " + f.authority.String() }

// release gives the folder up; else the lease runs out by itself.
func (f *folder) release() {
	if f.marked == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveAfter/2)
	defer cancel()
	_, _ = f.Store.Lease(ctx, f.leased(), f.Holder, 0)
}

// marked reads the folder's mark, and makes it where there is none.
func marked(folder string) (string, error) {
	path := filepath.Join(folder, mark)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		aside, err := os.CreateTemp(folder, mark+"-*")
		if err != nil {
			return "", err
		}
		defer func() { _ = os.Remove(aside.Name()) }()
		_, err = fmt.Fprintln(aside, rand.Text())
		if err = errors.Join(err, aside.Sync(), aside.Close()); err != nil {
			return "", err
		}
		// Of two that make one at the same time, the first is it.
		if err := os.Link(aside.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
			if err := os.Rename(aside.Name(), path); err != nil { // a share without links
				return "", err
			}
		}
		text, err = os.ReadFile(path)
		if err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if id == "" {
		return "", fmt.Errorf("%s is empty; remove it", path)
	}
	return id, nil
}
