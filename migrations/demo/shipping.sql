-- The books of the service `shipping`. Runs at every start: everything here may be there already.
-- None of the tables forbids a second effect of one step: the audit must be able to see one.

CREATE SCHEMA IF NOT EXISTS shipping;

-- Where parcels can be sent to.
CREATE TABLE IF NOT EXISTS shipping.towns (
    town text PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS shipping.shipments (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga  uuid NOT NULL,
    step  text NOT NULL,
    town  text NOT NULL,
    units bigint NOT NULL,
    state text NOT NULL DEFAULT 'booked' CHECK (state IN ('booked', 'cancelled'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS shipments_saga ON shipping.shipments (saga);

CREATE TABLE IF NOT EXISTS shipping.effects (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    saga      uuid NOT NULL,
    step      text NOT NULL,
    operation text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('action', 'compensation')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The crashes on purpose that happened: an operation crashes once, and gets through when it comes again.
CREATE TABLE IF NOT EXISTS shipping.crashes (
    saga      uuid NOT NULL,
    step      text NOT NULL,
    direction text NOT NULL,
    PRIMARY KEY (saga, step, direction)
);
