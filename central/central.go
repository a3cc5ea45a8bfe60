// Package central is the flag service put together: its configuration, its
// parts, and what its commands do.
package central

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Run is the centre: it opens the keys and the store, listens, serves until ctx
// ends, and returns nil after a clean stop. The configuration must be valid.
func Run(ctx context.Context, c Config, log *slog.Logger) (err error) {
	directory, err := c.directory()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	tlsConfig, err := identity.ServerTLS(c.TLS.files())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	ring, err := keys.Open(filepath.Join(c.Data, "keys"), keys.SystemMaster(c.MasterKey))
	if err != nil {
		return fmt.Errorf("open keys: %w", err)
	}
	flags, err := store.OpenSQLite(ctx, filepath.Join(c.Data, "central.db"), ring)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flags.Close()) }()

	// An address of the last run must not be taken for this one's.
	if c.AddressFile != "" {
		if err := os.Remove(c.AddressFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("address file: %w", err)
		}
	}
	policy := server.DefaultPolicy()
	policy.ProductionChecks = c.ProductionChecks
	s, err := server.Listen(c.Listen, tlsConfig, flags, directory, policy, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	if c.AddressFile != "" {
		g.Go(func() error { return writeWhole(c.AddressFile, s.Addr().String()+"\n") })
	}
	log.Info("central started", "address", s.Addr().String(), "data", c.Data, "sites", len(c.Sites),
		"authorities", len(c.Authorities), "production_checks", c.ProductionChecks)
	err = g.Wait()
	log.Info("central stopped", "counts", s.Counts())
	return err
}

// writeWhole writes a file so that a reader sees all of it or nothing.
func writeWhole(path, text string) error {
	aside := path + ".new"
	if err := os.WriteFile(aside, []byte(text), 0o644); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	if err := os.Rename(aside, path); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	return nil
}
