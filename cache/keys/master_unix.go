//go:build !windows

package keys

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxMaster bounds what is read of a master key file, in bytes.
const maxMaster = 64 << 10

// readCredential reads a credential. systemd gives the service access by an
// access list, whose mask shows as group bits; so only others are looked at.
func readCredential(path string) ([]byte, error) { return readPrivate(path, 0o007, false) }

// readProtected reads a master key file, which only its owner may read, and
// which must be ours or root's.
func readProtected(path string) ([]byte, error) { return readPrivate(path, 0o077, true) }

func readPrivate(path string, refused fs.FileMode, ours bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&refused != 0 {
		return nil, fmt.Errorf("%w: %s is of mode %04o: chmod 0600 it, and rewrap if others could have read it", ErrMasterExposed, path, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && ours && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%w: %s belongs to user %d: chown it to the service's user, and rewrap if others could have read it",
			ErrMasterExposed, path, stat.Uid)
	}
	return io.ReadAll(io.LimitReader(f, maxMaster))
}

// protect leaves the text as it is: the file's mode protects it.
func protect(text []byte) ([]byte, error) { return text, nil }
