package keys

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// entropy makes the protected key useless to a program that merely asks DPAPI
// to open what it finds.
var entropy = []byte("safeguard master key, 1")

// readCredential never happens: Windows has no systemd.
func readCredential(path string) ([]byte, error) { return os.ReadFile(path) }

// readProtected reads a master key file through DPAPI.
func readProtected(path string) ([]byte, error) {
	if err := checkAccess(path); err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out windows.DataBlob
	if err := windows.CryptUnprotectData(blob(sealed), nil, blob(entropy), 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN, &out); err != nil {
		return nil, fmt.Errorf("%w: DPAPI does not open %s: it opens only on the machine that made it: bring back the right file: %w", ErrMasterWrong, path, err)
	}
	return take(out), nil
}

// protect binds text to this machine. Scope is the machine's, not the user's,
// so that a changed service account does not lose the key; who may read the file
// is the access list's matter.
func protect(text []byte) ([]byte, error) {
	var out windows.DataBlob
	const flags = windows.CRYPTPROTECT_LOCAL_MACHINE | windows.CRYPTPROTECT_UI_FORBIDDEN
	if err := windows.CryptProtectData(blob(text), nil, blob(entropy), 0, nil, flags, &out); err != nil {
		return nil, fmt.Errorf("protect by DPAPI: %w", err)
	}
	return take(out), nil
}

func blob(b []byte) *windows.DataBlob {
	if len(b) == 0 {
		return &windows.DataBlob{}
	}
	return &windows.DataBlob{Size: uint32(len(b)), Data: &b[0]}
}

// take copies what DPAPI allocated, and gives it back zeroed.
func take(out windows.DataBlob) []byte {
	theirs := unsafe.Slice(out.Data, out.Size)
	ours := append([]byte(nil), theirs...)
	clear(theirs)
	_, _ = windows.LocalFree(windows.Handle(unsafe.Pointer(out.Data)))
	return ours
}
