package journal_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// disk stands between SQLite and the system's own files in this test program. It
// passes everything on, until a test makes an operation fail.
var disk faultyDisk

// operation is one that SQLite asks of a file.
type operation struct {
	kind string // read, write or sync
	log  bool   // on the log, else on the file itself
}

type faultyDisk struct {
	fail  atomic.Pointer[func(operation) int32] // gives an error code of SQLite; nil or 0 for none
	below uintptr                               // the system's sqlite3_vfs

	mu     sync.Mutex        // guards tables
	tables map[table]uintptr // the address of ours in the place of one of the system's
	files  sync.Map          // by the address of ours: that table
}

// table is one of the system's sqlite3_io_methods, and whether it is for a log.
type table struct {
	methods uintptr
	log     bool
}

// failing makes operations fail as fail says, until the test ends or the returned
// function is called.
func failing(t *testing.T, fail func(operation) int32) (mend func()) {
	t.Helper()
	disk.fail.Store(&fail)
	mend = func() { disk.fail.Store(nil) }
	t.Cleanup(mend)
	return mend
}

func (d *faultyDisk) check(kind string, log bool) int32 {
	if fail := d.fail.Load(); fail != nil {
		return (*fail)(operation{kind, log})
	}
	return 0
}

// init makes the disk SQLite's default one.
func init() {
	tls := libc.NewTLS()
	disk.tables = map[table]uintptr{}
	disk.below = sqlite3.Xsqlite3_vfs_find(tls, 0)
	name, err := libc.CString("faulty")
	if err != nil {
		panic(err)
	}
	vfs, address := outside(tls, *at[sqlite3.Tsqlite3_vfs](disk.below))
	vfs.FpNext, vfs.FzName, vfs.FxOpen = 0, name, pointer(openFile)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, address, 1); rc != 0 {
		panic("register the faulty disk")
	}
}

// openFile lets the system open the file, and then stands in between.
func openFile(tls *libc.TLS, _, name, file uintptr, flags int32, outFlags uintptr) int32 {
	open := call[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](at[sqlite3.Tsqlite3_vfs](disk.below).FxOpen)
	rc := open(tls, disk.below, name, file, flags, outFlags)
	f := at[sqlite3.Tsqlite3_file](file)
	if rc == 0 && f.FpMethods != 0 {
		f.FpMethods = disk.inPlaceOf(tls, table{f.FpMethods, flags&sqlite3.SQLITE_OPEN_WAL != 0})
	}
	return rc
}

func (d *faultyDisk) inPlaceOf(tls *libc.TLS, t table) uintptr {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tables[t] == 0 {
		ours, address := outside(tls, *at[sqlite3.Tsqlite3_io_methods](t.methods))
		ours.FxRead, ours.FxWrite, ours.FxSync = pointer(readFile), pointer(writeFile), pointer(syncOpenFile)
		d.tables[t] = address
		d.files.Store(address, t)
	}
	return d.tables[t]
}

// of is what the system does with an open file.
func of(file uintptr) (below *sqlite3.Tsqlite3_io_methods, log bool) {
	t, _ := disk.files.Load(at[sqlite3.Tsqlite3_file](file).FpMethods)
	return at[sqlite3.Tsqlite3_io_methods](t.(table).methods), t.(table).log
}

func readFile(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	below, log := of(file)
	if rc := disk.check("read", log); rc != 0 {
		return rc
	}
	return call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](below.FxRead)(tls, file, buffer, n, offset)
}

func writeFile(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	below, log := of(file)
	if rc := disk.check("write", log); rc != 0 {
		return rc
	}
	return call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](below.FxWrite)(tls, file, buffer, n, offset)
}

func syncOpenFile(tls *libc.TLS, file uintptr, flags int32) int32 {
	below, log := of(file)
	if rc := disk.check("sync", log); rc != 0 {
		return rc
	}
	return call[func(*libc.TLS, uintptr, int32) int32](below.FxSync)(tls, file, flags)
}

// at is what lies at an address that SQLite gave.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// outside copies v to where SQLite looks for what it is given, outside Go's memory.
func outside[T any](tls *libc.TLS, v T) (*T, uintptr) {
	address := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(v)))
	*at[T](address) = v
	return at[T](address), address
}

// call is the function at an address that SQLite gave.
func call[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

// pointer is the address by which SQLite calls a function.
func pointer(f any) uintptr { return (*[2]uintptr)(unsafe.Pointer(&f))[1] }
