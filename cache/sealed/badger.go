package sealed

import (
	"fmt"
	"log/slog"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// tuned is Badger for a small machine: 20,000 values of 256 bytes in some 26 MB
// of resident memory, where the defaults take 170 MB.
func tuned(dir string, ring *keys.Ring, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(wordless{log}).
		WithMetricsEnabled(false).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithBaseTableSize(2 << 20).
		WithBaseLevelSize(8 << 20).
		WithNumCompactors(2).
		WithBlockCacheSize(8 << 20).
		// Without a bound, Badger decrypts and keeps all indexes.
		WithIndexCacheSize(4 << 20).
		// Sealed values do not compress.
		WithCompression(options.None).
		// All values inline: the value log is never collected in practice, and
		// a damaged one reads as empty values.
		WithValueThreshold(100 << 10).
		WithValueLogFileSize(16 << 20).
		// The only mode that turns a flipped byte into an error. On block
		// read, Badger answers "not found" for all keys of the block.
		WithChecksumVerificationMode(options.OnTableRead).
		// Writers take turns in Store, so nothing can conflict.
		WithDetectConflicts(false).
		// A cache may lose its last seconds to a power cut.
		WithSyncWrites(false).
		// The second layer: keys, sizes and the manifest's neighbours. Badger's
		// cipher is AES-CTR, which hides but does not notice tampering.
		WithEncryptionKey(ring.Token("badger encryption key", []byte(ring.ID())))
}

// openBadger opens Badger, and turns a panic of its opening into an error. A
// panic in one of its own goroutines ends the process; then the suspect file
// tells the next start.
func openBadger(dir string, ring *keys.Ring, log *slog.Logger) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("badger panics: %v", p)
		}
	}()
	db, err = badger.Open(tuned(dir, ring, log))
	if err != nil && strings.Contains(err.Error(), "Another process is using this Badger database") {
		return nil, ErrInUse
	}
	return db, err
}

// wordless passes on that Badger complains, without what it says it about: its
// arguments are keys, paths and errors that quote what was read.
type wordless struct{ log *slog.Logger }

func (w wordless) Errorf(format string, _ ...any)   { w.log.Error("badger", "says", tidy(format)) }
func (w wordless) Warningf(format string, _ ...any) { w.log.Warn("badger", "says", tidy(format)) }
func (w wordless) Infof(format string, _ ...any)    { w.log.Debug("badger", "says", tidy(format)) }
func (wordless) Debugf(string, ...any)              {}

func tidy(format string) string { return clip(strings.TrimSpace(format)) }
