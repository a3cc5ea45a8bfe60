-- +goose Up

-- The upload that the flag came from which an authority is notified about: its
-- sequence number, or else its id. Null where it was owed before this was kept.
ALTER TABLE notifications ADD COLUMN upload TEXT;
