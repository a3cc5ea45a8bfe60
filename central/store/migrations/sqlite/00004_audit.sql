-- +goose Up

-- The audit: chains of entries, one chain for each process that wrote, each
-- entry bound to the one before by its hash.
CREATE TABLE audit (
	chain   TEXT NOT NULL,
	seq     INTEGER NOT NULL, -- from 1, without a gap
	at      INTEGER NOT NULL,
	body    BLOB NOT NULL,    -- JSON, as it was hashed
	hash    BLOB NOT NULL,    -- SHA-256 of body
	subject BLOB,             -- keyed hash of the person that the entry is about
	salt    BLOB,             -- with which body commits to subject; erasure removes both
	PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_of_subject ON audit (subject) WHERE subject IS NOT NULL;

-- +goose StatementBegin
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
BEGIN
	SELECT raise(ABORT, 'the audit is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
WHEN NEW.chain IS NOT OLD.chain OR NEW.seq IS NOT OLD.seq OR NEW.at IS NOT OLD.at
	OR NEW.body IS NOT OLD.body OR NEW.hash IS NOT OLD.hash
	OR NEW.subject IS NOT NULL OR NEW.salt IS NOT NULL
BEGIN
	SELECT raise(ABORT, 'the audit is append-only');
END;
-- +goose StatementEnd

-- How far each chain has come, so that one that was cut off is noticed.
CREATE TABLE audit_heads (
	chain    TEXT PRIMARY KEY,
	seq      INTEGER NOT NULL,
	hash     BLOB NOT NULL,
	mac      BLOB NOT NULL,    -- by the ring
	anchored INTEGER NOT NULL  -- up to where an entry of another chain names it
) STRICT;
