-- +goose Up

-- How each agent is, by its last heartbeat. Nothing here is about a person.
CREATE TABLE fleet_agents (
	agent         TEXT PRIMARY KEY, -- organisation and id, as its certificate has them
	boot          TEXT NOT NULL,    -- the run of the agent
	sequence      INTEGER NOT NULL, -- of its last heartbeat
	first_heard   INTEGER NOT NULL,
	heard         INTEGER NOT NULL, -- by the clock of the centre
	superseded    INTEGER NOT NULL DEFAULT 0, -- when a run that another has followed was heard last; 0 for never
	report        BLOB NOT NULL,    -- JSON
	kept          INTEGER NOT NULL DEFAULT 0, -- its periods are kept that end by then
	want_version  TEXT NOT NULL DEFAULT '',
	want_config   TEXT NOT NULL DEFAULT '',
	usual         BLOB, -- what has been learnt of it, JSON
	learnt        INTEGER NOT NULL DEFAULT 0 -- up to this hour
) STRICT;
CREATE INDEX fleet_agents_heard ON fleet_agents (heard);

-- Every run there was, so that none comes again.
CREATE TABLE fleet_boots (
	agent TEXT NOT NULL,
	boot  TEXT NOT NULL,
	PRIMARY KEY (agent, boot)
) STRICT, WITHOUT ROWID;

-- What each agent saw, by the hour.
CREATE TABLE fleet_hours (
	agent   TEXT NOT NULL,
	hour    INTEGER NOT NULL,
	whole   BLOB NOT NULL, -- JSON
	columns BLOB,          -- the hour in shorter periods, packed JSON; null once these have gone
	PRIMARY KEY (agent, hour)
) STRICT, WITHOUT ROWID;

-- What is and was wrong.
CREATE TABLE fleet_warnings (
	id              INTEGER PRIMARY KEY AUTOINCREMENT,
	kind            TEXT NOT NULL, -- of the subject: agent, site or authority
	subject         TEXT NOT NULL,
	code            TEXT NOT NULL,
	part            TEXT NOT NULL,
	since           INTEGER NOT NULL,
	detail          TEXT NOT NULL,
	opened          INTEGER NOT NULL,
	closed          INTEGER, -- null while it is open
	acknowledged    INTEGER,
	acknowledged_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX fleet_warnings_once ON fleet_warnings (kind, subject, code, part) WHERE closed IS NULL;
CREATE INDEX fleet_warnings_closed ON fleet_warnings (closed) WHERE closed IS NOT NULL;
CREATE INDEX fleet_warnings_subject ON fleet_warnings (kind, subject, opened);

CREATE TABLE fleet_notes (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	warning INTEGER NOT NULL REFERENCES fleet_warnings (id),
	at      INTEGER NOT NULL,
	by      TEXT NOT NULL,
	text    TEXT NOT NULL
) STRICT;
CREATE INDEX fleet_notes_of_warning ON fleet_notes (warning);

-- What each route has been told of.
CREATE TABLE fleet_told (
	route   TEXT NOT NULL,
	warning INTEGER NOT NULL REFERENCES fleet_warnings (id),
	opened  INTEGER NOT NULL, -- when it was told of the opening
	closed  INTEGER,          -- and of the closing
	PRIMARY KEY (route, warning)
) STRICT, WITHOUT ROWID;
