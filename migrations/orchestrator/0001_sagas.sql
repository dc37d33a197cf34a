-- Schema of the orchestrator. Forward-only: an applied file is never edited.

CREATE SCHEMA IF NOT EXISTS snorri;

-- Definitions are immutable: a changed one is the next version.
CREATE TABLE snorri.definitions (
    name         text        NOT NULL,
    version      integer     NOT NULL CHECK (version > 0),
    digest       bytea       NOT NULL,
    body         json        NOT NULL,
    submitted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

-- A projection of the journal for lists, filters and wake-ups: written at the start of a saga, when its
-- status changes, and when another replica takes it over.
CREATE TABLE snorri.sagas (
    id             uuid        PRIMARY KEY,
    definition     text        NOT NULL,
    version        integer     NOT NULL,
    status         text        NOT NULL
        CHECK (status IN ('running', 'compensating', 'blocked', 'completed', 'compensated', 'closed')),
    tags           jsonb       NOT NULL,
    started_at     timestamptz NOT NULL,
    deadline       timestamptz NOT NULL,
    changed_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    cause          text,
    blocked_reason text,
    owner          text        NOT NULL,
    wake_at        timestamptz,
    quarantine     text,
    -- The database itself refuses to forget a saga: what has not ended has a time at which it is looked at.
    CONSTRAINT live_sagas_wake CHECK ((ended_at IS NULL) = (wake_at IS NOT NULL)),
    CONSTRAINT ended_sagas_have_an_end
        CHECK ((ended_at IS NOT NULL) = (status IN ('completed', 'compensated', 'closed')))
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- The live ones, and nothing else: small whatever the table's size.
CREATE INDEX sagas_wake ON snorri.sagas (wake_at) WHERE wake_at IS NOT NULL;
-- For the announcements of a dead replica's last seconds. A few pages, whatever the table's size.
CREATE INDEX sagas_ended ON snorri.sagas USING brin (ended_at) WITH (pages_per_range = 16, autosummarize = on);

-- The truth. Its key is the only guard against two writers; one row is one transition.
CREATE TABLE snorri.journal (
    saga_id uuid        NOT NULL,
    seq     integer     NOT NULL CHECK (seq > 0),
    at      timestamptz NOT NULL,
    replica text        NOT NULL,
    events  json        NOT NULL,
    PRIMARY KEY (saga_id, seq)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5);

-- Idempotency keys of starts.
CREATE TABLE snorri.start_keys (
    key         text  PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    saga_id     uuid  NOT NULL
);

-- Who is alive. A replica whose heartbeat is old has its sagas taken over.
CREATE TABLE snorri.replicas (
    name         text        PRIMARY KEY,
    incarnation  uuid        NOT NULL,
    version      text        NOT NULL,
    started_at   timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    left_at      timestamptz
);

-- Messages that could not be used, with the reason, for a look. They block no stream.
CREATE TABLE snorri.dead_letters (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    subject text        NOT NULL,
    reason  text        NOT NULL,
    detail  text        NOT NULL,
    headers text        NOT NULL,
    payload bytea       NOT NULL,
    bytes   bigint      NOT NULL
);
