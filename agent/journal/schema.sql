-- Times are milliseconds since 1970. state: 0 waiting, 1 settled, 2 ignored, 3 set aside.

CREATE TABLE entries (
	seq      INTEGER PRIMARY KEY,
	state    INTEGER NOT NULL,
	received INTEGER NOT NULL,
	settled  INTEGER,
	feed     TEXT    NOT NULL,
	charset  TEXT    NOT NULL,
	process  TEXT    NOT NULL, -- the feed's override of MSH-11
	origin   BLOB,             -- keyed hash of MSH-3, MSH-4 and MSH-10; null where they can not be read
	digest   BLOB    NOT NULL, -- keyed hash of the body
	reused   INTEGER NOT NULL, -- the origin came before with another body
	body     BLOB,             -- sealed; null once destroyed
	ack      BLOB    NOT NULL, -- sealed: the acknowledgement sent, replayed for a duplicate
	note     TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX entries_origin ON entries (origin) WHERE origin IS NOT NULL;
CREATE INDEX entries_waiting ON entries (seq) WHERE state = 0;

CREATE TABLE attendances (
	id      BLOB PRIMARY KEY,
	rev     INTEGER NOT NULL,
	patient BLOB    NOT NULL, -- keyed hash of the hospital number, else of the NHS number, else of the id
	open    INTEGER NOT NULL,
	begun   INTEGER NOT NULL,
	body    BLOB    NOT NULL  -- sealed
) WITHOUT ROWID;
CREATE INDEX attendances_patient ON attendances (patient, begun) WHERE open;

-- A visit that continues an earlier attendance, such as an admission from the emergency department.
CREATE TABLE continued (
	visit      BLOB PRIMARY KEY,
	attendance BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE outbox (
	id         INTEGER PRIMARY KEY,
	outbox     TEXT    NOT NULL, -- a sink's name, or the owed lookups
	attendance BLOB    NOT NULL,
	state      INTEGER NOT NULL,
	due        INTEGER NOT NULL,
	tries      INTEGER NOT NULL DEFAULT 0,
	queued     INTEGER NOT NULL,
	settled    INTEGER,
	control    TEXT    NOT NULL DEFAULT '', -- MSH-10 of what is sent
	code       TEXT    NOT NULL DEFAULT '', -- of the receipt
	body       BLOB                         -- sealed; null once settled
);
CREATE INDEX outbox_waiting ON outbox (outbox, attendance, id) WHERE state = 0;
CREATE INDEX outbox_due ON outbox (outbox, due) WHERE state = 0;
