-- The books of the service `orders`. Runs at every start: everything here may be there already.
-- None of the tables forbids a second effect of one step: the audit must be able to see one.

CREATE SCHEMA IF NOT EXISTS orders;

CREATE TABLE IF NOT EXISTS orders.orders (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga         uuid NOT NULL,
    step         text NOT NULL,
    order_id     text NOT NULL,
    customer     text NOT NULL,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    units        bigint NOT NULL,
    state        text NOT NULL DEFAULT 'placed' CHECK (state IN ('placed', 'cancelled', 'confirmed')),
    receipt      text,
    tracking     text
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS orders_saga ON orders.orders (saga);

CREATE TABLE IF NOT EXISTS orders.effects (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    saga      uuid NOT NULL,
    step      text NOT NULL,
    operation text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('action', 'compensation')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The crashes on purpose that happened: an operation crashes once, and gets through when it comes again.
CREATE TABLE IF NOT EXISTS orders.crashes (
    saga      uuid NOT NULL,
    step      text NOT NULL,
    direction text NOT NULL,
    PRIMARY KEY (saga, step, direction)
);
