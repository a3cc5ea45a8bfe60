package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// VerifyAudit implements Store.
func (s *DB) VerifyAudit(ctx context.Context, noted []audit.Head) (audit.Report, error) {
	var report audit.Report
	err := s.engine.snapshot(ctx, func(tx transaction) error {
		trail := audit.Trail{
			Records:  func() iter.Seq2[audit.Record, error] { return auditRecords(ctx, tx) },
			Heads:    []audit.KeptHead{},
			Noted:    noted,
			Subjects: true,
		}
		err := tx.query(ctx, func(row scanner) error {
			h, err := s.scanKeptHead(row)
			trail.Heads = append(trail.Heads, h)
			return err
		}, stmt(`SELECT chain, seq, hash, mac FROM audit_heads ORDER BY chain`))
		if err != nil {
			return err
		}
		report, err = audit.Verify(trail)
		return err
	})
	if err != nil {
		return audit.Report{}, fmt.Errorf("verify audit: %w", err)
	}
	return report, nil
}

func (s *DB) scanKeptHead(row scanner) (audit.KeptHead, error) {
	var mac []byte
	h, err := scanHead(withMAC{row, &mac})
	return audit.KeptHead{Head: h, Forged: !s.genuine(h, mac)}, err
}

// withMAC is a row of a head with one column more.
type withMAC struct {
	row scanner
	mac *[]byte
}

func (w withMAC) Scan(into ...any) error { return w.row.Scan(append(into, w.mac)...) }

// errEnough ends a query whose reader wants no more.
var errEnough = errors.New("enough")

// auditRecords gives every record, by chain and position.
func auditRecords(ctx context.Context, tx transaction) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		err := tx.query(ctx, func(row scanner) error {
			var r audit.Record
			var seq, at int64
			if err := row.Scan(&r.Chain, &seq, &at, &r.Body, &r.Hash, &r.Token, &r.Salt); err != nil {
				return err
			}
			r.Seq, r.At = uint64(seq), fromMillis(at)
			if !yield(r, nil) {
				return errEnough
			}
			return nil
		}, stmt(`SELECT chain, seq, at, body, hash, subject, salt FROM audit ORDER BY chain, seq`))
		if err != nil && !errors.Is(err, errEnough) {
			yield(audit.Record{}, err)
		}
	}
}

// ExportAudit implements Store.
func (s *DB) ExportAudit(ctx context.Context, out io.Writer, by audit.Who) (int, error) {
	entry := audit.Entry{At: time.Now(), Act: audit.Exported, Who: by}
	if err := s.audited(ctx, entry); err != nil {
		return 0, fmt.Errorf("export audit: %w", err)
	}
	n := 0
	err := s.engine.snapshot(ctx, func(tx transaction) (err error) {
		n, err = audit.Export(out, auditRecords(ctx, tx))
		return err
	})
	if err != nil {
		return n, fmt.Errorf("export audit: %w", err)
	}
	return n, nil
}
