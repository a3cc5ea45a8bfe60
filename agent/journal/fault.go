package journal

import (
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// Fault is why intake is stopped. Its text names the remedy.
type Fault struct {
	Kind  FaultKind
	Since time.Time
	Err   error // what was noticed
}

// FaultKind tells what has to be done about a fault.
type FaultKind int

// The kinds.
const (
	LowSpace FaultKind = iota + 1 // settling and delivery go on
	DiskFull                      // settling and delivery go on as far as there is room
	Failed                        // a write, a sync or a read failed: nothing is written until the file is verified
	Locked                        // another program holds the file
	Damaged                       // the file is not what was written
	NoKeys                        // nothing can be sealed
)

var faultKinds = [...]struct{ name, remedy string }{
	LowSpace: {"little room on the disk", "make room; intake resumes by itself"},
	DiskFull: {"disk full", "make room; intake resumes by itself"},
	Failed:   {"disk failed", "look at the disk and the system's log; intake resumes by itself once the file is verified"},
	Locked:   {"journal file locked", "exempt the folder from backup, indexing and virus scanning; intake resumes by itself"},
	Damaged:  {"journal file damaged", "look at the disk; the journal is mended by itself as far as it can be read"},
	NoKeys:   {"keys destroyed", "what was sealed is lost: move the journal folder away, and restart to begin anew"},
}

func (k FaultKind) String() string {
	if k < LowSpace || k > NoKeys {
		return "none"
	}
	return faultKinds[k].name
}

// Remedy is what an operator can do.
func (k FaultKind) Remedy() string {
	if k < LowSpace || k > NoKeys {
		return ""
	}
	return faultKinds[k].remedy
}

func (f *Fault) Error() string {
	return fmt.Sprintf("%s: %v: %s", f.Kind, f.Err, f.Kind.Remedy())
}

// Unwrap gives what was noticed.
func (f *Fault) Unwrap() error { return f.Err }

// faultOf tells whether err means that the file, and not the request, is at fault.
func faultOf(err error) FaultKind {
	if errors.Is(err, keys.ErrDestroyed) {
		return NoKeys
	}
	if errors.Is(err, errDamaged) {
		return Damaged
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return DiskFull
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM:
		return Failed
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return Locked
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return Damaged
	}
	return 0
}
