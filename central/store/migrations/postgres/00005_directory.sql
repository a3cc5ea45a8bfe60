-- +goose Up

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
