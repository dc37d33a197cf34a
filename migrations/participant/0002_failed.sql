-- A failure is kept too, with the attempt that it answered, so that this attempt cannot run when it is delivered again after all.
-- Only adds, and looks at no row: replicas of both versions work on it side by side. The lock is waited for shortly, since all
-- commands wait behind it; who does not get it tries again.
SET LOCAL lock_timeout = '2s';
ALTER TABLE snorri_participant.barrier
    -- Of the command whose turn it was. Null in older rows, and in tombstones.
    ADD COLUMN attempt integer,
    -- New is failed: that attempt and those before it must not run any more; a later one may take the turn.
    DROP CONSTRAINT barrier_outcome_check,
    ADD CONSTRAINT barrier_outcome_check
        CHECK (outcome IN ('ok', 'rejected', 'partial', 'empty', 'tombstone', 'failed')) NOT VALID;
