-- +goose Up

-- The centre's own authorities that issue, or have issued, certificates.
CREATE TABLE issuers (
	id       text PRIMARY KEY,
	state    text NOT NULL CHECK (state IN ('next', 'issuing', 'trusted', 'ended')),
	chain    bytea NOT NULL, -- PEM: its certificate, then those that lead to a root
	root     bytea NOT NULL, -- PEM: what others trust
	key      bytea NOT NULL, -- PKCS #8, sealed
	made_at  bigint NOT NULL,
	made_by  text NOT NULL
);
CREATE UNIQUE INDEX issuers_issuing ON issuers (state) WHERE state = 'issuing';

-- Each lets one host enrol once. The secret is not here.
CREATE TABLE enrol_tokens (
	hash         bytea PRIMARY KEY, -- SHA-256 of the secret
	identity     text NOT NULL,
	site         text NOT NULL, -- that an agent serves; empty for others
	made_at      bigint NOT NULL,
	made_by      text NOT NULL,
	expires_at   bigint NOT NULL,
	withdrawn_at bigint,
	used_at      bigint,
	key          bytea,  -- SHA-256 of the public key that redeemed it
	serial       text NOT NULL DEFAULT ''
);

-- Every certificate that the centre has issued, and those of others that it has
-- revoked.
CREATE TABLE certificates (
	serial       text NOT NULL, -- hexadecimal
	issuer       bytea NOT NULL, -- SHA-256 of the issuer's name, DER
	identity     text NOT NULL,
	site         text NOT NULL DEFAULT '',
	key          bytea NOT NULL, -- SHA-256 of the public key
	certificate  bytea NOT NULL, -- DER; empty for one that another has issued
	not_before   bigint NOT NULL,
	not_after    bigint NOT NULL,
	issued_at    bigint NOT NULL,
	how          text NOT NULL,
	replaces     text NOT NULL DEFAULT '', -- serial of the one that asked for it
	confirmed_at bigint, -- since when it is known to be in use
	trust        bytea, -- digest of whom its holder trusted when last heard
	revoked_at   bigint,
	revoked_by   text NOT NULL DEFAULT '',
	reason       text NOT NULL DEFAULT '',
	superseded   bigint NOT NULL DEFAULT 0, -- 1: revoked since its holder has a newer one
	PRIMARY KEY (issuer, serial)
);
CREATE INDEX certificates_of_identity ON certificates (identity);
CREATE INDEX certificates_by_key ON certificates (key);
