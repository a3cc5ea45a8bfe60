-- +goose Up

-- Which site asked about whom, and when it did so last; so that it, and no other,
-- can be told when the person's flags change. There need be no row in persons.
CREATE TABLE asked (
	person       bytea NOT NULL, -- keyed hash of the NHS number
	organisation text NOT NULL,
	site         text NOT NULL,
	at           bigint NOT NULL,
	PRIMARY KEY (person, organisation, site)
);
CREATE INDEX asked_at ON asked (at);

-- Whose flags changed, in the order in which it came to be. Positions are never
-- used again.
CREATE TABLE changes (
	position bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	person   bytea, -- keyed hash; null once the person is erased
	at       bigint NOT NULL
);
CREATE INDEX changes_of_person ON changes (person) WHERE person IS NOT NULL;
CREATE INDEX changes_at ON changes (at);
