-- A version that is not started any more. Its row stays: sagas that ran on it are shown with it, and its number is never used again.
-- Older builds do not know of it, and start it as before; such a saga runs to its end like any other.
ALTER TABLE snorri.definitions
    ADD COLUMN removed_at timestamptz;
