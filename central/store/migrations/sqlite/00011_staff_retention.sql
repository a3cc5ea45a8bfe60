-- +goose Up

-- What was removed by the rules of retention, and when. It names nobody.
CREATE TABLE retention_runs (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	began   INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	who     TEXT NOT NULL,
	rule    TEXT NOT NULL, -- JSON
	removed TEXT NOT NULL, -- JSON
	failed  TEXT NOT NULL  -- why it ended early; empty where it did not
) STRICT;


-- When somebody last attended at the site, as the latest lookup for an attendance
-- said; refreshes of answers say nothing of that. attended_as is the keyed hash of
-- the NHS number with the date of birth that it was made with, so that who knows
-- only one of the two finds nothing. Both null where no lookup said so.
ALTER TABLE asked ADD COLUMN attended_at INTEGER;
ALTER TABLE asked ADD COLUMN attended_as BLOB;

-- Which members of staff are signed in to view flags.
CREATE TABLE staff_sessions (
	id           BLOB PRIMARY KEY, -- SHA-256 of what the browser holds
	subject      TEXT NOT NULL,    -- the provider's own name for the person
	name         TEXT NOT NULL,
	role         TEXT NOT NULL,    -- in words
	source       TEXT NOT NULL,    -- the provider that vouches
	organisation TEXT NOT NULL,
	rights       TEXT NOT NULL,    -- words
	opened       INTEGER NOT NULL,
	seen         INTEGER NOT NULL
) STRICT;

-- Views of people who had not attended at the organisation, for its privacy
-- officer to review.
CREATE TABLE break_glass (
	position     INTEGER PRIMARY KEY AUTOINCREMENT,
	organisation TEXT NOT NULL,
	site         TEXT NOT NULL,
	look         BLOB NOT NULL,   -- names the view; a repeat is the same
	person       BLOB NOT NULL REFERENCES persons (token),
	content      BLOB NOT NULL,   -- who, why and what was found; sealed
	at           INTEGER NOT NULL,
	reviewed_at  INTEGER,
	reviewed_by  TEXT,
	review       BLOB,            -- what the review found; sealed
	UNIQUE (organisation, look, person),
	CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (review IS NULL))
) STRICT;
CREATE INDEX break_glass_waiting ON break_glass (organisation, position) WHERE reviewed_at IS NULL;
CREATE INDEX break_glass_of_person ON break_glass (person);
