-- +goose Up

-- The centre's own authorities that issue, or have issued, certificates.
CREATE TABLE issuers (
	id       TEXT PRIMARY KEY,
	state    TEXT NOT NULL CHECK (state IN ('next', 'issuing', 'trusted', 'ended')),
	chain    BLOB NOT NULL, -- PEM: its certificate, then those that lead to a root
	root     BLOB NOT NULL, -- PEM: what others trust
	key      BLOB NOT NULL, -- PKCS #8, sealed
	made_at  INTEGER NOT NULL,
	made_by  TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX issuers_issuing ON issuers (state) WHERE state = 'issuing';

-- Each lets one host enrol once. The secret is not here.
CREATE TABLE enrol_tokens (
	hash         BLOB PRIMARY KEY, -- SHA-256 of the secret
	identity     TEXT NOT NULL,
	site         TEXT NOT NULL, -- that an agent serves; empty for others
	made_at      INTEGER NOT NULL,
	made_by      TEXT NOT NULL,
	expires_at   INTEGER NOT NULL,
	withdrawn_at INTEGER,
	used_at      INTEGER,
	key          BLOB,  -- SHA-256 of the public key that redeemed it
	serial       TEXT NOT NULL DEFAULT ''
) STRICT;

-- Every certificate that the centre has issued, and those of others that it has
-- revoked.
CREATE TABLE certificates (
	serial       TEXT NOT NULL, -- hexadecimal
	issuer       BLOB NOT NULL, -- SHA-256 of the issuer's name, DER
	identity     TEXT NOT NULL,
	site         TEXT NOT NULL DEFAULT '',
	key          BLOB NOT NULL, -- SHA-256 of the public key
	certificate  BLOB NOT NULL, -- DER; empty for one that another has issued
	not_before   INTEGER NOT NULL,
	not_after    INTEGER NOT NULL,
	issued_at    INTEGER NOT NULL,
	how          TEXT NOT NULL,
	replaces     TEXT NOT NULL DEFAULT '', -- serial of the one that asked for it
	confirmed_at INTEGER, -- since when it is known to be in use
	trust        BLOB, -- digest of whom its holder trusted when last heard
	revoked_at   INTEGER,
	revoked_by   TEXT NOT NULL DEFAULT '',
	reason       TEXT NOT NULL DEFAULT '',
	superseded   INTEGER NOT NULL DEFAULT 0, -- 1: revoked since its holder has a newer one
	PRIMARY KEY (issuer, serial)
) STRICT;
CREATE INDEX certificates_of_identity ON certificates (identity);
CREATE INDEX certificates_by_key ON certificates (key);
