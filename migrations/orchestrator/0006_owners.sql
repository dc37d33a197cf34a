-- no-transaction
-- What a replica has under way: for a takeover, and for sending again. What is at rest is not in it, and what has ended neither.
CREATE INDEX CONCURRENTLY IF NOT EXISTS sagas_owner ON snorri.sagas (owner, id) WHERE wake_at IS NOT NULL AND NOT resting
