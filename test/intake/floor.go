package intake

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/safeguard-edge/safeguard/test/interleave"
)

// Floors are what a durable intake is set beside: each record written and synced by
// itself, and a bare log whose writers share a write and a sync.
func Floors(b testing.TB) []interleave.Side {
	return []interleave.Side{
		{Name: "append+fdatasync", Do: NewAlone(b).Append},
		{Name: "group-commit", Do: NewGroup(b).Append},
	}
}

const maxGroup = 512

// Group is a bare log whose writers share a write and a sync.
type Group struct {
	file  *os.File
	steps chan record
}

type record struct {
	body []byte
	done chan error
}

// NewGroup has one goroutine that writes and syncs what waits, up to maxGroup
// records at once.
func NewGroup(b testing.TB) *Group {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare.log"))
	if err != nil {
		b.Fatal(err)
	}
	l := &Group{file: f, steps: make(chan record, maxGroup)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run()
	}()
	b.Cleanup(func() {
		close(l.steps)
		<-ended
		_ = f.Close()
	})
	return l
}

func (l *Group) run() {
	var buffer []byte
	var group []record
	for r := range l.steps {
		group, buffer = append(group[:0], r), append(buffer[:0], r.body...)
	drain:
		for len(group) < maxGroup {
			select {
			case r, ok := <-l.steps:
				if !ok {
					break drain
				}
				group, buffer = append(group, r), append(buffer, r.body...)
			default:
				break drain
			}
		}
		_, err := l.file.Write(buffer)
		if err == nil {
			err = syncData(l.file)
		}
		for _, r := range group {
			r.done <- err
		}
	}
}

// Append returns once a record is on disk.
func (l *Group) Append(int) error {
	r := record{Next(), make(chan error, 1)}
	l.steps <- r
	return <-r.done
}

// Alone is a file whose records are written and synced one after the other.
type Alone struct {
	mu   sync.Mutex
	file *os.File
}

// NewAlone makes one.
func NewAlone(b testing.TB) *Alone {
	f, err := os.Create(filepath.Join(b.TempDir(), "alone.log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return &Alone{file: f}
}

// Append returns once a record is on disk.
func (a *Alone) Append(int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.file.Write(Next()); err != nil {
		return err
	}
	return syncData(a.file)
}
