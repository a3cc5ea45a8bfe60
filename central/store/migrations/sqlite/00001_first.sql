-- +goose Up

-- What this store is. key_ring names the keys under which its persons are
-- hashed and sealed, key_mark is what they make of nothing: under other keys
-- every lookup would find nothing.
CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT;

-- Everyone with a flag, an access or a notification. What is kept about a person
-- is sealed under the person's key, so that deleting the key erases the person.
CREATE TABLE persons (
	token  BLOB PRIMARY KEY, -- keyed hash of the NHS number
	key    BLOB NOT NULL,    -- wrapped by the ring
	number BLOB NOT NULL     -- the NHS number, sealed
) STRICT, WITHOUT ROWID;

CREATE TABLE uploads (
	id          TEXT PRIMARY KEY,
	authority   TEXT NOT NULL,
	sent_by     TEXT NOT NULL,    -- identity of the certificate
	received_at INTEGER NOT NULL, -- Unix milliseconds, as every moment here
	row_count   INTEGER NOT NULL,
	loaded      INTEGER NOT NULL
) STRICT;
CREATE INDEX uploads_by_authority ON uploads (authority, received_at);

-- Flags are never changed or removed by an upload: a row is closed, and another
-- takes its place. What was held at a moment are the rows recorded by then and
-- not closed by then.
CREATE TABLE flags (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	person      BLOB NOT NULL REFERENCES persons (token),
	authority   TEXT NOT NULL,
	content     BLOB NOT NULL, -- plan, start, end, date of birth; sealed
	recorded_at INTEGER NOT NULL,
	recorded_by TEXT NOT NULL REFERENCES uploads (id),
	closed_at   INTEGER,
	closed_by   TEXT REFERENCES uploads (id),
	closed_as   TEXT CHECK (closed_as IN ('superseded', 'withdrawn')),
	CHECK ((closed_at IS NULL) = (closed_by IS NULL) AND (closed_at IS NULL) = (closed_as IS NULL))
) STRICT;
CREATE INDEX flags_held ON flags (person) WHERE closed_at IS NULL;
CREATE INDEX flags_of_person ON flags (person, authority);
CREATE INDEX flags_closed ON flags (closed_at) WHERE closed_at IS NOT NULL;

-- One row for each unscheduled lookup: the access history, and what makes a
-- repeated lookup the same one.
CREATE TABLE lookups (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	organisation TEXT NOT NULL,
	attendance   BLOB NOT NULL,
	person       BLOB NOT NULL REFERENCES persons (token),
	content      BLOB NOT NULL, -- site, who answers for it, when; sealed
	recorded_at  INTEGER NOT NULL,
	UNIQUE (person, organisation, attendance)
) STRICT;
CREATE INDEX lookups_recorded ON lookups (recorded_at);

-- The id follows from organisation, attendance, person and authority, and so is
-- what makes a repeated notification the same one.
CREATE TABLE notifications (
	position        INTEGER PRIMARY KEY AUTOINCREMENT,
	id              TEXT NOT NULL UNIQUE,
	organisation    TEXT NOT NULL,
	attendance      BLOB NOT NULL,
	person          BLOB NOT NULL REFERENCES persons (token),
	authority       TEXT NOT NULL,
	content         BLOB NOT NULL, -- sealed
	recorded_at     INTEGER NOT NULL,
	acknowledged_at INTEGER,
	acknowledged_by TEXT
) STRICT;
CREATE INDEX notifications_waiting ON notifications (authority, position) WHERE acknowledged_at IS NULL;
CREATE INDEX notifications_acknowledged ON notifications (acknowledged_at) WHERE acknowledged_at IS NOT NULL;
CREATE INDEX notifications_of_person ON notifications (person);

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

-- Who takes part. Words are lists joined by a comma; days are YYYY-MM-DD.
CREATE TABLE organisations (
	code TEXT PRIMARY KEY,
	name TEXT NOT NULL
) STRICT;

CREATE TABLE sites (
	organisation     TEXT NOT NULL REFERENCES organisations (code),
	code             TEXT NOT NULL,
	name             TEXT NOT NULL,
	settings         TEXT NOT NULL, -- words
	accountable_name TEXT NOT NULL,
	accountable_role TEXT NOT NULL,
	policy           TEXT NOT NULL, -- JSON
	stage            TEXT NOT NULL CHECK (stage IN ('invited', 'testing', 'observe', 'live')),
	source           TEXT NOT NULL CHECK (source IN ('configuration', 'operator')),
	changed_at       INTEGER NOT NULL,
	PRIMARY KEY (organisation, code)
) STRICT;

CREATE TABLE authorities (
	code                 TEXT PRIMARY KEY,
	gss                  TEXT NOT NULL,
	name                 TEXT NOT NULL,
	emergency_duty_phone TEXT NOT NULL,
	office_hours_phone   TEXT NOT NULL,
	opened               TEXT NOT NULL, -- a day, or empty
	closed               TEXT NOT NULL, -- a day, or empty
	successors           TEXT NOT NULL, -- words
	stage                TEXT NOT NULL CHECK (stage IN ('invited', 'testing', 'observe', 'live')),
	source               TEXT NOT NULL CHECK (source IN ('configuration', 'operator')),
	changed_at           INTEGER NOT NULL
) STRICT;
