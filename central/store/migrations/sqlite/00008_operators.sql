-- +goose Up

-- Operators with an account at the centre itself.
CREATE TABLE operators (
	name     TEXT PRIMARY KEY,
	role     TEXT NOT NULL,
	password TEXT NOT NULL, -- argon2id, in the PHC string format
	factor   BLOB NOT NULL, -- secret of the one-time codes, sealed
	step     INTEGER NOT NULL DEFAULT 0, -- time step of the last code that was used
	added    INTEGER NOT NULL,
	added_by TEXT NOT NULL
) STRICT;

-- Who is signed in to the centre's pages.
CREATE TABLE operator_sessions (
	id     BLOB PRIMARY KEY, -- SHA-256 of what the browser holds
	name   TEXT NOT NULL,
	source TEXT NOT NULL,    -- local, or the provider that vouches
	role   TEXT NOT NULL,
	opened INTEGER NOT NULL,
	seen   INTEGER NOT NULL
) STRICT;

-- Attempts to sign in that have not succeeded.
CREATE TABLE operator_attempts (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	subject TEXT NOT NULL, -- the account or the address that was tried
	at      INTEGER NOT NULL
) STRICT;
CREATE INDEX operator_attempts_subject ON operator_attempts (subject, at);

ALTER TABLE sites ADD COLUMN region TEXT NOT NULL DEFAULT '';
