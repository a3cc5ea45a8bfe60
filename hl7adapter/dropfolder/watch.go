package dropfolder

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch returns where it is told that something may be new in the folder, and
// what is closed when the watch has ended. It is a hint and no more: shares give
// no events, a queue that overflows loses them (16,390 of 60,000 were left when
// measured), and a folder that is made anew has none until it is watched anew. So
// the folder is looked at regularly anyway.
func (f *Folder) watch(ctx context.Context) (news <-chan struct{}, ended <-chan struct{}) {
	told, done := make(chan struct{}, 1), make(chan struct{})
	if !f.config.Watch {
		close(done)
		return told, done
	}
	go func() {
		defer close(done)
		warned := false
		for ctx.Err() == nil {
			err := f.watchOnce(ctx, told)
			if err != nil && !warned && ctx.Err() == nil {
				f.log.Info("no events from the folder, looking at intervals", "every", f.config.Poll, "err", nameless(err))
				warned = true
			}
			t := time.NewTimer(f.config.Poll)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}()
	return told, done
}

var errUnwatched = errors.New("watch ended")

// watchOnce watches until the folder goes away. It drains all events at once,
// and tells of many only once.
func (f *Folder) watchOnce(ctx context.Context, told chan<- struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Add(f.config.Folder); err != nil {
		return err
	}
	tell := func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	for tell(); ; {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			switch {
			case !ok:
				return errUnwatched
			case filepath.Clean(e.Name) == filepath.Clean(f.config.Folder) && e.Has(fsnotify.Remove|fsnotify.Rename):
				return errUnwatched
			case e.Has(fsnotify.Create | fsnotify.Rename):
				tell()
			}
		case err, ok := <-w.Errors:
			if !ok {
				return errUnwatched
			}
			tell() // an overflow, most likely: a look shows what was missed
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
		}
	}
}
