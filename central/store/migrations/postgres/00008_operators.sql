-- +goose Up

-- Operators with an account at the centre itself.
CREATE TABLE operators (
	name     text PRIMARY KEY,
	role     text NOT NULL,
	password text NOT NULL,  -- argon2id, in the PHC string format
	factor   bytea NOT NULL, -- secret of the one-time codes, sealed
	step     bigint NOT NULL DEFAULT 0, -- time step of the last code that was used
	added    bigint NOT NULL,
	added_by text NOT NULL
);

-- Who is signed in to the centre's pages.
CREATE TABLE operator_sessions (
	id     bytea PRIMARY KEY, -- SHA-256 of what the browser holds
	name   text NOT NULL,
	source text NOT NULL,     -- local, or the provider that vouches
	role   text NOT NULL,
	opened bigint NOT NULL,
	seen   bigint NOT NULL
);

-- Attempts to sign in that have not succeeded.
CREATE TABLE operator_attempts (
	id      bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	subject text NOT NULL, -- the account or the address that was tried
	at      bigint NOT NULL
);
CREATE INDEX operator_attempts_subject ON operator_attempts (subject, at);

ALTER TABLE sites ADD COLUMN region text NOT NULL DEFAULT '';
