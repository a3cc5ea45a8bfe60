-- +goose Up

-- What an upload was, and what became of it.
ALTER TABLE uploads ADD COLUMN kind TEXT NOT NULL DEFAULT 'changes' CHECK (kind IN ('changes', 'snapshot'));
ALTER TABLE uploads ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0; -- the authority's running number; 0 for none
ALTER TABLE uploads ADD COLUMN digest BLOB; -- of the rows: what a repeat is known by
ALTER TABLE uploads ADD COLUMN file_digest BLOB; -- SHA-256 of the file, as the sender has it
ALTER TABLE uploads ADD COLUMN state TEXT NOT NULL DEFAULT 'applied' CHECK (state IN ('applied', 'waiting', 'rejected', 'overtaken'));
ALTER TABLE uploads ADD COLUMN decided_at INTEGER;
ALTER TABLE uploads ADD COLUMN decided_by TEXT NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN current_flags INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN closing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN gap_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN gap_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN verdicts BLOB; -- on the rows, by line; they name nobody
ALTER TABLE uploads ADD COLUMN effects BLOB; -- one byte for each change
ALTER TABLE uploads ADD COLUMN spared BLOB; -- who is not to be taken for missing, while it waits; sealed
CREATE UNIQUE INDEX uploads_by_sequence ON uploads (authority, sequence) WHERE sequence > 0;
CREATE INDEX uploads_waiting ON uploads (authority) WHERE state = 'waiting';
CREATE INDEX flags_of_authority ON flags (authority, id) WHERE closed_at IS NULL;

-- The changes of an upload that waits for a person.
CREATE TABLE upload_changes (
	upload   TEXT NOT NULL REFERENCES uploads (id),
	position INTEGER NOT NULL,
	person   BLOB NOT NULL REFERENCES persons (token),
	content  BLOB NOT NULL, -- sealed
	PRIMARY KEY (upload, position)
) STRICT;
CREATE INDEX upload_changes_of_person ON upload_changes (person);

-- What a demographic service says of numbers, as an operator has imported it.
-- It says nothing of which number has taken another's place.
CREATE TABLE demographics (
	token    BLOB PRIMARY KEY, -- keyed hash of the NHS number; there need be no row in persons
	standing TEXT NOT NULL
) STRICT;

-- What authorities are to be told of numbers that are not in use any more.
CREATE TABLE inactive_numbers (
	position        INTEGER PRIMARY KEY,
	id              TEXT NOT NULL UNIQUE,
	person          BLOB NOT NULL REFERENCES persons (token),
	authority       TEXT NOT NULL,
	standing        TEXT NOT NULL,
	recorded_at     INTEGER NOT NULL,
	acknowledged_at INTEGER,
	acknowledged_by TEXT,
	UNIQUE (person, authority, standing)
) STRICT;
CREATE INDEX inactive_numbers_waiting ON inactive_numbers (authority, position) WHERE acknowledged_at IS NULL;
