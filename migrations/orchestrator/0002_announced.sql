-- Up to when the ends that a replica committed are announced, as its heartbeat says; an end after it is announced once more by who
-- follows a replica that is gone. It counts only if the incarnation that runs wrote it: older builds do not know of it.
ALTER TABLE snorri.replicas
    ADD COLUMN announced_until timestamptz,
    ADD COLUMN announced_by    uuid;
