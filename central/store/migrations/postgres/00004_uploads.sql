-- +goose Up

-- What an upload was, and what became of it.
ALTER TABLE uploads ADD COLUMN kind text NOT NULL DEFAULT 'changes' CHECK (kind IN ('changes', 'snapshot'));
ALTER TABLE uploads ADD COLUMN sequence bigint NOT NULL DEFAULT 0; -- the authority's running number; 0 for none
ALTER TABLE uploads ADD COLUMN digest bytea; -- of the rows: what a repeat is known by
ALTER TABLE uploads ADD COLUMN file_digest bytea; -- SHA-256 of the file, as the sender has it
ALTER TABLE uploads ADD COLUMN state text NOT NULL DEFAULT 'applied' CHECK (state IN ('applied', 'waiting', 'rejected', 'overtaken'));
ALTER TABLE uploads ADD COLUMN decided_at bigint;
ALTER TABLE uploads ADD COLUMN decided_by text NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN reason text NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN current_flags bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN closing bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN ended bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN withdrawn bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN gap_from bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN gap_to bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ADD COLUMN verdicts bytea; -- on the rows, by line; they name nobody
ALTER TABLE uploads ADD COLUMN effects bytea; -- one byte for each change
ALTER TABLE uploads ADD COLUMN spared bytea; -- who is not to be taken for missing, while it waits; sealed
CREATE UNIQUE INDEX uploads_by_sequence ON uploads (authority, sequence) WHERE sequence > 0;
CREATE INDEX uploads_waiting ON uploads (authority) WHERE state = 'waiting';
CREATE INDEX flags_of_authority ON flags (authority, id) WHERE closed_at IS NULL;

-- The changes of an upload that waits for a person.
CREATE TABLE upload_changes (
	upload   text NOT NULL REFERENCES uploads (id),
	position bigint NOT NULL,
	person   bytea NOT NULL REFERENCES persons (token),
	content  bytea NOT NULL, -- sealed
	PRIMARY KEY (upload, position)
);
CREATE INDEX upload_changes_of_person ON upload_changes (person);

-- What a demographic service says of numbers, as an operator has imported it.
-- It says nothing of which number has taken another's place.
CREATE TABLE demographics (
	token    bytea PRIMARY KEY, -- keyed hash of the NHS number; there need be no row in persons
	standing text NOT NULL
);

-- What authorities are to be told of numbers that are not in use any more.
CREATE TABLE inactive_numbers (
	position        bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	id              text NOT NULL UNIQUE,
	person          bytea NOT NULL REFERENCES persons (token),
	authority       text NOT NULL,
	standing        text NOT NULL,
	recorded_at     bigint NOT NULL,
	acknowledged_at bigint,
	acknowledged_by text,
	UNIQUE (person, authority, standing)
);
CREATE INDEX inactive_numbers_waiting ON inactive_numbers (authority, position) WHERE acknowledged_at IS NULL;
