-- The books of the service `inventory`. Runs at every start: everything here may be there already.
-- None of the tables forbids a second effect of one step: the audit must be able to see one.

CREATE SCHEMA IF NOT EXISTS inventory;

-- For every sku: free + reserved + shipped is what was delivered at the opening.
CREATE TABLE IF NOT EXISTS inventory.stock (
    sku      text PRIMARY KEY,
    free     bigint NOT NULL CHECK (free >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    shipped  bigint NOT NULL DEFAULT 0 CHECK (shipped >= 0)
) WITH (fillfactor = 40); -- few rows, changed by every order: the room keeps the updates on their page

CREATE TABLE IF NOT EXISTS inventory.reservations (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga       uuid NOT NULL,
    step       text NOT NULL,
    skus       text[] NOT NULL,
    quantities bigint[] NOT NULL,
    units      bigint NOT NULL,
    state      text NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'released', 'shipped'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS reservations_saga ON inventory.reservations (saga);

CREATE TABLE IF NOT EXISTS inventory.effects (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    saga      uuid NOT NULL,
    step      text NOT NULL,
    operation text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('action', 'compensation')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The crashes on purpose that happened: an operation crashes once, and gets through when it comes again.
CREATE TABLE IF NOT EXISTS inventory.crashes (
    saga      uuid NOT NULL,
    step      text NOT NULL,
    direction text NOT NULL,
    PRIMARY KEY (saga, step, direction)
);
