package dropfolder

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one that waits.
type file struct {
	name     string // in its folder
	ref      reference
	original string      // its name before it was ours; only where it is
	entry    fs.DirEntry // nil for one that a marker stands for
	size     int64
	changed  time.Time
}

// claimed says whether the file was moved into the taking folder before.
func (w file) claimed() bool { return w.ref != "" }

// place is where the file is, from the folder.
func (w file) place() string {
	if w.claimed() {
		return path.Join(taking, w.name)
	}
	return w.name
}

// observation is what was seen of a file, and since when nothing else.
type observation struct {
	size    int64
	changed time.Time
	since   time.Time
}

const (
	window = 5000 // files looked at closely at a time
	some   = 1000 // entries read at a time
	// emptyFor is how long an empty file must stay so before it is taken for
	// one: it may be the first thing that a slow sender does.
	emptyFor = 10 * time.Minute
)

// look lists the folder, and returns the files that are ready, in their order,
// and after how long the next may be.
func (f *Folder) look(ctx context.Context, h *hands) (ready []file, wake time.Duration, err error) {
	now := time.Now()
	wait := make(map[string]bool) // not f.troubles: the hands may outlive this look
	wake = f.config.Poll
	for place, t := range f.troubles {
		left := t.until.Sub(now)
		if wait[place] = left > 0; left > 0 {
			wake = min(wake, left)
		}
	}
	config := f.config
	l, err := do(ctx, h, "list", func() (listing, error) { return config.list(wait) })
	if err != nil {
		return nil, wake, err
	}
	seen := make(map[string]observation, len(l.files))
	var oldest time.Time
	for _, w := range l.files {
		o, known := f.seen[w.place()]
		if !known || o.size != w.size || !o.changed.Equal(w.changed) {
			o = observation{w.size, w.changed, now}
		}
		seen[w.place()] = o
		if left := o.since.Add(f.config.settles(w)).Sub(now); left > 0 {
			wake = min(wake, left)
		} else {
			ready = append(ready, w)
		}
		if oldest.IsZero() || w.changed.Before(oldest) {
			oldest = w.changed
		}
	}
	f.seen = seen
	for place := range f.troubles {
		if !l.there[place] {
			delete(f.troubles, place)
		}
	}
	if l.odd > 0 {
		f.odd.Warn(f.log, "neither files nor folders, left alone", "count", l.odd)
	}
	f.update(func(s *Status) { s.Waiting, s.Oldest, s.Retrying = l.waiting, oldest, len(f.troubles) })
	return ready, wake, nil
}

// settles is how long the file must not change before it is taken.
func (c Config) settles(w file) time.Duration {
	switch {
	case c.Ready != Stable:
		return 0
	case w.size == 0:
		return max(c.Stable, emptyFor)
	}
	return c.Stable
}

// listing is what one look at the folder showed.
type listing struct {
	config  *Config
	root    *os.Root
	wait    map[string]bool // places where there was trouble, and whether to wait
	there   map[string]bool // those of them where there is something
	files   []file          // those that come first, at most window
	waiting int             // files in all
	odd     int             // links, pipes and the like
}

// list reads the folder, and what was left in the taking folder, which comes
// first. Of very many files it keeps only the first ones.
func (c Config) list(wait map[string]bool) (listing, error) {
	l := listing{config: &c, wait: wait, there: make(map[string]bool)}
	var err error
	if l.root, err = os.OpenRoot(c.Folder); err != nil {
		return l, err
	}
	defer l.root.Close()
	err = each(l.root, taking, func(e fs.DirEntry) error {
		r, original, ok := claimOf(e.Name())
		if !ok {
			return nil
		}
		return l.add(file{name: e.Name(), ref: r, original: original, entry: e})
	})
	if skipGone(err) != nil {
		return l, err
	}
	err = each(l.root, ".", func(e fs.DirEntry) error {
		w, ok := c.candidate(e)
		if !ok {
			return nil
		}
		return l.add(w)
	})
	if err != nil {
		return l, err
	}
	l.first()
	if c.Order == ByTime {
		return l, nil
	}
	there := l.files[:0]
	for _, w := range l.files {
		ok, err := l.inspect(&w)
		if err != nil {
			return l, err
		}
		if ok {
			there = append(there, w)
		}
	}
	l.files = there
	return l, nil
}

// candidate returns the file that the entry is, or that it marks.
func (c *Config) candidate(e fs.DirEntry) (file, bool) {
	w := file{name: e.Name(), entry: e}
	if c.Ready == Marked {
		name, marks := strings.CutSuffix(e.Name(), c.Marker)
		if !marks || name == "" {
			return w, false
		}
		w = file{name: name}
	}
	return w, !e.IsDir() && c.wants(w.name)
}

// add notes a file. By name it is enough to look closely at the first ones.
func (l *listing) add(w file) error {
	if wait, known := l.wait[w.place()]; known {
		l.there[w.place()] = true
		if wait {
			return nil
		}
	}
	if l.config.Order == ByTime {
		ok, err := l.inspect(&w)
		if err != nil || !ok {
			return err
		}
	}
	l.waiting++
	if l.files = append(l.files, w); len(l.files) >= 2*window {
		l.first()
	}
	return nil
}

// inspect looks at the file. It is false for what has gone, and for what is no
// file: a link might lead anywhere, and a pipe nowhere.
func (l *listing) inspect(w *file) (bool, error) {
	var info fs.FileInfo
	var err error
	if w.entry != nil {
		info, err = w.entry.Info()
	} else {
		info, err = l.root.Lstat(w.name)
	}
	if err != nil {
		return false, skipGone(err)
	}
	if !info.Mode().IsRegular() {
		l.odd++
		return false, nil
	}
	w.size, w.changed = info.Size(), info.ModTime()
	return true, nil
}

// first keeps the files that come first.
func (l *listing) first() {
	slices.SortFunc(l.files, func(a, b file) int {
		switch {
		case a.claimed() != b.claimed():
			if a.claimed() {
				return -1
			}
			return 1
		case l.config.Order == ByTime && !a.claimed():
			return cmp.Or(a.changed.Compare(b.changed), compareNames(a.name, b.name))
		}
		return compareNames(a.name, b.name)
	})
	l.files = l.files[:min(len(l.files), window)]
}

// each goes through the entries of a folder, some at a time.
func each(root *os.Root, dir string, do func(fs.DirEntry) error) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(some)
		for _, e := range entries {
			if err := do(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// skipGone takes a file that has gone for one that never was.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const sweepEvery = time.Hour

// sweep removes what was kept long enough, and progress of files that somebody
// else has removed.
func (f *Folder) sweep(ctx context.Context, h *hands) {
	config, now := f.config, time.Now()
	s, err := do(ctx, h, "sweep", func() (swept, error) { return config.sweep(now) })
	if s.removed > 0 {
		f.log.Info("removed files kept long enough", "count", s.removed)
	}
	if err == nil {
		err = sweepProgress(config.Progress, s.taking)
	}
	if skipGone(err) != nil && !errors.Is(err, errLeft) {
		f.log.Warn("remove files kept long enough", "err", nameless(err))
	}
}

// swept is what a sweep found.
type swept struct {
	removed int
	taking  map[reference]bool // what is being taken
}

func sweepProgress(dir string, taking map[reference]bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if r, rest, ok := referenceOf(e.Name()); ok && rest == progressSuffix && !taking[r] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func (c Config) sweep(now time.Time) (s swept, err error) {
	root, err := os.OpenRoot(c.Folder)
	if err != nil {
		return s, err
	}
	defer root.Close()
	s.taking = make(map[reference]bool)
	err = each(root, taking, func(e fs.DirEntry) error {
		if r, _, ok := claimOf(e.Name()); ok {
			s.taking[r] = true
		}
		return nil
	})
	err = skipGone(err)
	for _, kept := range []struct {
		dir   string
		limit time.Duration
	}{{c.Done, c.DoneFor}, {c.Failed, c.FailedFor}} {
		if kept.dir == "" || kept.limit <= 0 {
			continue
		}
		// Only what we put there ourselves, by the time in its reference.
		e := each(root, kept.dir, func(e fs.DirEntry) error {
			r, _, ok := referenceOf(e.Name())
			if !ok || now.Sub(r.taken()) <= kept.limit {
				return nil
			}
			s.removed++
			return skipGone(root.Remove(path.Join(kept.dir, e.Name())))
		})
		err = errors.Join(err, skipGone(e))
	}
	return s, err
}
