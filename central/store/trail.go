package store

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
)

// anchorEvery is how often a chain that is written to notes the heads of the
// others, and so how much can be cut off another one without that showing in
// this.
const anchorEvery = time.Minute

// trail is the audit chain of this process. It is the writer's alone.
type trail struct {
	chain    audit.Chain
	opened   bool
	unsure   bool      // a commit failed, or seemed to
	anchored time.Time // when the others' heads were last noted
}

// ready tells whether entries can be appended without reading first.
func (t *trail) ready() bool {
	return t.opened && !t.unsure && time.Since(t.anchored) < anchorEvery
}

// self is this process, for entries that nobody asked for.
func self() audit.Who {
	host, _ := os.Hostname()
	return audit.Who{Caller: "process " + strconv.Itoa(os.Getpid()) + " on " + host}
}

// leadTrail puts before the entries what the chain itself has to say: that it
// begins, and what it sees of the other chains.
func (s *DB) leadTrail(ctx context.Context, tx transaction, entries []audit.Entry) ([]audit.Entry, error) {
	t := &s.trail
	if t.unsure {
		if err := s.findTrail(ctx, tx); err != nil {
			return nil, err
		}
	}
	if t.ready() {
		return entries, nil
	}
	own := ""
	lead := audit.Entry{At: time.Now(), Act: audit.Anchored, Who: self()}
	if t.opened {
		own = t.chain.Head().Chain
	} else {
		t.chain, lead.Act = audit.NewChain(), audit.Opened
	}
	var err error
	if lead.Heads, err = s.unseenHeads(ctx, tx, own); err != nil {
		return nil, err
	}
	if t.opened && len(lead.Heads) == 0 {
		t.anchored = lead.At
		return entries, nil
	}
	return append([]audit.Entry{lead}, entries...), nil
}

// findTrail reads how far this chain really is.
func (s *DB) findTrail(ctx context.Context, tx transaction) error {
	t := &s.trail
	own := t.chain.Head().Chain
	t.opened = false
	return tx.query(ctx, func(row scanner) error {
		h, err := scanHead(row)
		t.chain, t.opened, t.unsure = audit.From(h), true, false
		return err
	}, stmt(`SELECT chain, seq, hash FROM audit_heads WHERE chain = ?`, own))
}

func scanHead(row scanner) (audit.Head, error) {
	var h audit.Head
	var seq int64
	var hash []byte
	err := row.Scan(&h.Chain, &seq, &hash)
	h.Seq, h.Hash = uint64(seq), hex.EncodeToString(hash)
	return h, err
}

// unseenHeads are those of other chains that no chain has noted yet.
func (s *DB) unseenHeads(ctx context.Context, tx transaction, own string) ([]audit.Head, error) {
	var heads []audit.Head
	err := tx.query(ctx, func(row scanner) error {
		h, err := scanHead(row)
		heads = append(heads, h)
		return err
	}, stmt(`SELECT chain, seq, hash FROM audit_heads WHERE anchored < seq AND chain <> ? ORDER BY chain`, own))
	return heads, err
}

// appendTrail has commit write the entries with whatever else it writes, and
// takes the chain forward when it did.
func (s *DB) appendTrail(entries []audit.Entry, commit func(last []statement) error) error {
	chain := s.trail.chain
	records := make([]audit.Record, len(entries))
	anchored := s.trail.anchored
	var heads []audit.Head
	for i, e := range entries {
		var err error
		if records[i], chain, err = chain.Next(e); err != nil {
			return err
		}
		if e.Act == audit.Opened || e.Act == audit.Anchored {
			heads, anchored = e.Heads, e.At
		}
	}
	last := append(s.engine.insertAudit(records), s.moveHeads(chain.Head(), heads)...)
	if err := commit(last); err != nil {
		s.trail.unsure = s.trail.opened || s.trail.unsure
		if !s.trail.opened {
			s.trail.chain = audit.Chain{} // whatever became of it, another is begun
		}
		return err
	}
	s.trail = trail{chain: chain, opened: true, anchored: anchored}
	return nil
}

// moveHeads writes how far this chain is, and which heads of others it has
// noted, in one order, so that two processes do not wait for each other.
func (s *DB) moveHeads(own audit.Head, noted []audit.Head) []statement {
	hash, _ := hex.DecodeString(own.Hash)
	type move struct {
		chain string
		statement
	}
	moves := []move{{own.Chain, stmt(`INSERT INTO audit_heads (chain, seq, hash, mac, anchored) VALUES (?, ?, ?, ?, 0)
		ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, mac = excluded.mac`,
		own.Chain, int64(own.Seq), hash, s.headMAC(own))}}
	for _, h := range noted {
		moves = append(moves, move{h.Chain, stmt(`UPDATE audit_heads SET anchored = ? WHERE chain = ? AND anchored < ?`, int64(h.Seq), h.Chain, int64(h.Seq))})
	}
	slices.SortFunc(moves, func(a, b move) int { return cmp.Compare(a.chain, b.chain) })
	out := make([]statement, len(moves))
	for i, m := range moves {
		out[i] = m.statement
	}
	return out
}

// headMAC lets nobody without the keys write another head.
func (v vault) headMAC(h audit.Head) []byte {
	return v.ring.Token("central audit head", key(h.Chain, strconv.FormatUint(h.Seq, 10), h.Hash))
}

func (v vault) genuine(h audit.Head, mac []byte) bool { return hmac.Equal(v.headMAC(h), mac) }

// subject is the person's token in the audit. It is another than that of the
// tables, so that without the keys the two can not be joined.
func (v vault) subject(number string) []byte {
	return v.ring.Token("central audit subject", []byte(number))
}
