-- +goose Up

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
CREATE INDEX flags_closed ON flags (closed_at) WHERE closed_at IS NOT NULL;

-- One row for each unscheduled lookup: the access history, and what makes a
-- repeated lookup the same one.
CREATE TABLE lookups (
	id           bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	organisation text NOT NULL,
	attendance   bytea NOT NULL,
	person       bytea NOT NULL REFERENCES persons (token),
	content      bytea NOT NULL, -- site, who answers for it, when; sealed
	recorded_at  bigint NOT NULL,
	UNIQUE (person, organisation, attendance)
);
CREATE INDEX lookups_recorded ON lookups (recorded_at);

-- The id follows from organisation, attendance, person and authority, and so is
-- what makes a repeated notification the same one.
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
	acknowledged_by text
);
CREATE INDEX notifications_waiting ON notifications (authority, position) WHERE acknowledged_at IS NULL;
CREATE INDEX notifications_acknowledged ON notifications (acknowledged_at) WHERE acknowledged_at IS NOT NULL;
CREATE INDEX notifications_of_person ON notifications (person);

-- The audit: chains of entries, one chain for each process that wrote, each
-- entry bound to the one before by its hash.
CREATE TABLE audit (
	chain   text NOT NULL,
	seq     bigint NOT NULL, -- from 1, without a gap
	at      bigint NOT NULL,
	body    bytea NOT NULL,    -- JSON, as it was hashed
	hash    bytea NOT NULL,    -- SHA-256 of body
	subject bytea,             -- keyed hash of the person that the entry is about
	salt    bytea,             -- with which body commits to subject; erasure removes both
	PRIMARY KEY (chain, seq)
);

-- +goose StatementBegin
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'UPDATE' THEN
		IF (NEW.chain, NEW.seq, NEW.at, NEW.body, NEW.hash) IS NOT DISTINCT FROM (OLD.chain, OLD.seq, OLD.at, OLD.body, OLD.hash)
			AND NEW.subject IS NULL AND NEW.salt IS NULL THEN
			RETURN NEW;
		END IF;
	END IF;
	RAISE EXCEPTION 'the audit is append-only';
END;
$$;
-- +goose StatementEnd

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
	FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
	FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- How far each chain has come, so that one that was cut off is noticed.
CREATE TABLE audit_heads (
	chain    text PRIMARY KEY,
	seq      bigint NOT NULL,
	hash     bytea NOT NULL,
	mac      bytea NOT NULL,    -- by the ring
	anchored bigint NOT NULL  -- up to where an entry of another chain names it
);

-- Who takes part. Words are lists joined by a comma; days are YYYY-MM-DD.
CREATE TABLE organisations (
	code text PRIMARY KEY,
	name text NOT NULL
);

CREATE TABLE sites (
	organisation     text NOT NULL REFERENCES organisations (code),
	code             text NOT NULL,
	name             text NOT NULL,
	settings         text NOT NULL, -- words
	accountable_name text NOT NULL,
	accountable_role text NOT NULL,
	policy           text NOT NULL, -- JSON
	stage            text NOT NULL CHECK (stage IN ('invited', 'testing', 'observe', 'live')),
	source           text NOT NULL CHECK (source IN ('configuration', 'operator')),
	changed_at       bigint NOT NULL,
	PRIMARY KEY (organisation, code)
);

CREATE TABLE authorities (
	code                 text PRIMARY KEY,
	gss                  text NOT NULL,
	name                 text NOT NULL,
	emergency_duty_phone text NOT NULL,
	office_hours_phone   text NOT NULL,
	opened               text NOT NULL, -- a day, or empty
	closed               text NOT NULL, -- a day, or empty
	successors           text NOT NULL, -- words
	stage                text NOT NULL CHECK (stage IN ('invited', 'testing', 'observe', 'live')),
	source               text NOT NULL CHECK (source IN ('configuration', 'operator')),
	changed_at           bigint NOT NULL
);
