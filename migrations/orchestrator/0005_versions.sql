-- no-transaction
-- How many sagas run on a version, and whether any does: asked when versions are listed, submitted and removed.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sagas_versions ON snorri.sagas (definition, version) WHERE wake_at IS NOT NULL
