-- +goose Up

-- What was removed by the rules of retention, and when. It names nobody.
CREATE TABLE retention_runs (
	id      bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	began   bigint NOT NULL,
	ended   bigint NOT NULL,
	who     text NOT NULL,
	rule    text NOT NULL, -- JSON
	removed text NOT NULL, -- JSON
	failed  text NOT NULL  -- why it ended early; empty where it did not
);


-- When somebody last attended at the site, as the latest lookup for an attendance
-- said; refreshes of answers say nothing of that. attended_as is the keyed hash of
-- the NHS number with the date of birth that it was made with, so that who knows
-- only one of the two finds nothing. Both null where no lookup said so.
ALTER TABLE asked ADD COLUMN attended_at bigint;
ALTER TABLE asked ADD COLUMN attended_as bytea;

-- Which members of staff are signed in to view flags.
CREATE TABLE staff_sessions (
	id           bytea PRIMARY KEY, -- SHA-256 of what the browser holds
	subject      text NOT NULL,    -- the provider's own name for the person
	name         text NOT NULL,
	role         text NOT NULL,    -- in words
	source       text NOT NULL,    -- the provider that vouches
	organisation text NOT NULL,
	rights       text NOT NULL,    -- words
	opened       bigint NOT NULL,
	seen         bigint NOT NULL
);

-- Views of people who had not attended at the organisation, for its privacy
-- officer to review.
CREATE TABLE break_glass (
	position     bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	organisation text NOT NULL,
	site         text NOT NULL,
	look         bytea NOT NULL,   -- names the view; a repeat is the same
	person       bytea NOT NULL REFERENCES persons (token),
	content      bytea NOT NULL,   -- who, why and what was found; sealed
	at           bigint NOT NULL,
	reviewed_at  bigint,
	reviewed_by  text,
	review       bytea,            -- what the review found; sealed
	UNIQUE (organisation, look, person),
	CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (review IS NULL))
);
CREATE INDEX break_glass_waiting ON break_glass (organisation, position) WHERE reviewed_at IS NULL;
CREATE INDEX break_glass_of_person ON break_glass (person);
