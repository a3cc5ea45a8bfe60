-- +goose Up

-- What this store is. key_ring names the keys under which its persons are
-- hashed and sealed, key_mark is what they make of nothing: under other keys
-- every lookup would find nothing.
CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT;

-- A person for whom some authority holds, or held, a flag.
CREATE TABLE persons (
	token  BLOB PRIMARY KEY, -- keyed hash of the NHS number
	number BLOB NOT NULL     -- the NHS number, sealed
) STRICT;

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
	id          INTEGER PRIMARY KEY,
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

-- One row for each unscheduled lookup: the access history, and what makes a
-- repeated lookup the same one.
CREATE TABLE lookups (
	id           INTEGER PRIMARY KEY,
	organisation TEXT NOT NULL,
	attendance   BLOB NOT NULL,
	person       BLOB NOT NULL, -- keyed hash; there need be no row in persons
	content      BLOB NOT NULL, -- site, who answers for it, when; sealed
	recorded_at  INTEGER NOT NULL,
	UNIQUE (organisation, attendance, person)
) STRICT;
CREATE INDEX lookups_of_person ON lookups (person, recorded_at);

CREATE TABLE notifications (
	position        INTEGER PRIMARY KEY,
	id              TEXT NOT NULL UNIQUE,
	organisation    TEXT NOT NULL,
	attendance      BLOB NOT NULL,
	person          BLOB NOT NULL,
	authority       TEXT NOT NULL,
	content         BLOB NOT NULL, -- sealed
	recorded_at     INTEGER NOT NULL,
	acknowledged_at INTEGER,
	acknowledged_by TEXT,
	UNIQUE (organisation, attendance, person, authority)
) STRICT;
CREATE INDEX notifications_waiting ON notifications (authority, position) WHERE acknowledged_at IS NULL;
