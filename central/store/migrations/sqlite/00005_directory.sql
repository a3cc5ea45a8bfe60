-- +goose Up

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
