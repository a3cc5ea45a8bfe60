package dropfolder

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// side is a file that grows beside the one being taken, and goes to its own
// folder with the end of that: acknowledgements, messages not taken, reasons.
type side struct {
	root   *os.Root
	name   string // in the taking folder
	mode   fs.FileMode
	size   int64
	file   *os.File // nil until something is written
	broken bool     // it could not be written
}

// write appends. What was there behind size is of a life before this one that
// was not remembered.
func (s *side) write(b []byte) error {
	if s.file == nil {
		f, err := s.root.OpenFile(path.Join(taking, s.name), os.O_RDWR|os.O_CREATE, s.mode)
		if err != nil {
			return err
		}
		s.file = f
		if err := f.Truncate(s.size); err != nil {
			return err
		}
	}
	n, err := s.file.WriteAt(b, s.size)
	s.size += int64(n)
	return err
}

func (s *side) sync() error {
	if s.file == nil {
		return nil
	}
	return s.file.Sync()
}

func (s *side) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// move puts the file where it belongs. It may have gone there in an earlier life.
func (s *side) move(dir, name string) error {
	err := s.sync()
	s.close()
	if err != nil {
		return err
	}
	return skipGone(moveInto(s.root, path.Join(taking, s.name), dir, name))
}

// drop removes the file, if there is one.
func (s *side) drop() error {
	s.close()
	return skipGone(s.root.Remove(path.Join(taking, s.name)))
}

// moveInto renames a file into a folder, which is made when it is not there.
func moveInto(root *os.Root, from, dir, name string) error {
	err := root.Rename(from, path.Join(dir, name))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch made := root.Mkdir(dir, 0o770); {
	case errors.Is(made, fs.ErrExist):
		return err // so it is the file that is not there
	case made != nil:
		return made
	}
	return root.Rename(from, path.Join(dir, name))
}

// syncFolder makes what was renamed or removed in a folder last. Windows can
// not, and need not.
func syncFolder(root *os.Root, dir string) {
	if d, err := root.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
