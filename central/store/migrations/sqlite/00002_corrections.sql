-- +goose Up

-- An unscheduled lookup may be corrected: it should not have been made.
ALTER TABLE lookups ADD COLUMN corrected_at INTEGER; -- when the centre learnt of it
ALTER TABLE lookups ADD COLUMN corrected_as TEXT;    -- the reason

-- A notification may take another one back; at most one does.
ALTER TABLE notifications ADD COLUMN corrects TEXT; -- id of the one that it takes back
CREATE UNIQUE INDEX notifications_corrects ON notifications (corrects) WHERE corrects IS NOT NULL;
