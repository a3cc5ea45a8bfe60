-- +goose Up

-- Who alone may do something of which there is one for all processes.
CREATE TABLE leases (
	name   TEXT PRIMARY KEY,
	holder TEXT NOT NULL,
	until  INTEGER NOT NULL -- by the clock of the database
) STRICT;
