-- +goose Up

-- The tables as they are after the third migration of the embedded store.

-- What this store is. key_ring names the keys under which its persons are
-- hashed and sealed, key_mark is what they make of nothing: under other keys
-- every lookup would find nothing.
CREATE TABLE meta (
	name  text PRIMARY KEY,
	value text NOT NULL
);

-- Everyone with a flag, an access or a notification. What is kept about a person
-- is sealed under the person's key, so that deleting the key erases the person.
CREATE TABLE persons (
	token  bytea PRIMARY KEY, -- keyed hash of the NHS number
	key    bytea NOT NULL,    -- wrapped by the ring
	number bytea NOT NULL     -- the NHS number, sealed
);

CREATE TABLE uploads (
	id          text PRIMARY KEY,
	authority   text NOT NULL,
	sent_by     text NOT NULL,    -- identity of the certificate
	received_at bigint NOT NULL, -- Unix milliseconds, as every moment here
	row_count   bigint NOT NULL,
	loaded      bigint NOT NULL
);
CREATE INDEX uploads_by_authority ON uploads (authority, received_at);

-- Flags are never changed or removed by an upload: a row is closed, and another
-- takes its place. What was held at a moment are the rows recorded by then and
-- not closed by then.
CREATE TABLE flags (
	id          bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	person      bytea NOT NULL REFERENCES persons (token),
	authority   text NOT NULL,
	content     bytea NOT NULL, -- plan, start, end, date of birth; sealed
	recorded_at bigint NOT NULL,
	recorded_by text NOT NULL REFERENCES uploads (id),
	closed_at   bigint,
	closed_by   text REFERENCES uploads (id),
	closed_as   text CHECK (closed_as IN ('superseded', 'withdrawn')),
	CHECK ((closed_at IS NULL) = (closed_by IS NULL) AND (closed_at IS NULL) = (closed_as IS NULL))
);
CREATE INDEX flags_held ON flags (person) WHERE closed_at IS NULL;
CREATE INDEX flags_of_person ON flags (person, authority);

-- One row for each unscheduled lookup: the access history, and what makes a
-- repeated lookup the same one.
CREATE TABLE lookups (
	id           bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	organisation text NOT NULL,
	attendance   bytea NOT NULL,
	person       bytea NOT NULL REFERENCES persons (token),
	content      bytea NOT NULL, -- site, who answers for it, when; sealed
	recorded_at  bigint NOT NULL,
	UNIQUE (organisation, attendance, person)
);
CREATE INDEX lookups_of_person ON lookups (person, recorded_at);

CREATE TABLE notifications (
	position        bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	id              text NOT NULL UNIQUE,
	organisation    text NOT NULL,
	attendance      bytea NOT NULL,
	person          bytea NOT NULL REFERENCES persons (token),
	authority       text NOT NULL,
	content         bytea NOT NULL, -- sealed
	recorded_at     bigint NOT NULL,
	acknowledged_at bigint,
	acknowledged_by text,
	UNIQUE (organisation, attendance, person, authority)
);
CREATE INDEX notifications_waiting ON notifications (authority, position) WHERE acknowledged_at IS NULL;
