-- +goose Up

-- Which site asked about whom, and when it did so last; so that it, and no other,
-- can be told when the person's flags change. There need be no row in persons.
CREATE TABLE asked (
	person       BLOB NOT NULL, -- keyed hash of the NHS number
	organisation TEXT NOT NULL,
	site         TEXT NOT NULL,
	at           INTEGER NOT NULL,
	PRIMARY KEY (person, organisation, site)
) STRICT;
CREATE INDEX asked_at ON asked (at);

-- Whose flags changed, in the order in which it came to be. Positions are never
-- used again.
CREATE TABLE changes (
	position INTEGER PRIMARY KEY AUTOINCREMENT,
	person   BLOB, -- keyed hash; null once the person is erased
	at       INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_of_person ON changes (person) WHERE person IS NOT NULL;
CREATE INDEX changes_at ON changes (at);
