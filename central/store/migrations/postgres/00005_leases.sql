-- +goose Up

-- Who alone may do something of which there is one for all processes.
CREATE TABLE leases (
	name   text PRIMARY KEY,
	holder text NOT NULL,
	until  bigint NOT NULL -- by the clock of the database
);
