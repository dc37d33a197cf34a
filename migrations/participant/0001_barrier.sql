-- The barrier: what became of each effect, written in the same transaction as the business's own rows.
-- It makes every duplicate, late or overtaking command harmless.
CREATE TABLE snorri_participant.barrier (
    saga_id  uuid    NOT NULL,
    step     text    NOT NULL,
    -- false: the action; true: the compensation.
    undo     boolean NOT NULL,
    -- What was answered: ok, rejected, partial (rejected, but an effect may be left) or empty (nothing was there to
    -- undo); on an action's row also tombstone: it must never run. Null only inside the transaction that works on it.
    outcome  text CHECK (outcome IN ('ok', 'rejected', 'partial', 'empty', 'tombstone')),
    -- The reply's body as it was sent, to be sent again when the command comes again.
    reply    text,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga_id, step, undo)
)
-- Every row is inserted and updated once in one transaction: the room keeps the update in the page and out of the index.
WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
