-- The books of the service `payments`. Runs at every start: everything here may be there already.
-- None of the tables forbids a second effect of one step: the audit must be able to see one.

CREATE SCHEMA IF NOT EXISTS payments;

-- A customer's money: what is free to spend and what is held for purchases under way. In cents.
CREATE TABLE IF NOT EXISTS payments.accounts (
    customer text PRIMARY KEY,
    balance  bigint NOT NULL CHECK (balance >= 0),
    held     bigint NOT NULL DEFAULT 0 CHECK (held >= 0)
) WITH (fillfactor = 60);

CREATE TABLE IF NOT EXISTS payments.holds (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga         uuid NOT NULL,
    step         text NOT NULL,
    customer     text NOT NULL,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    state        text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'released', 'captured', 'deposited'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS holds_saga ON payments.holds (saga);

-- Double entry: the rows of one movement sum to zero, and so does the whole ledger. The accounts are
-- `customer:<name>`, `held`, `revenue` (what the merchant captured) and `opening` (where it all came from).
CREATE TABLE IF NOT EXISTS payments.ledger (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    saga         uuid, -- none for the opening
    account      text NOT NULL,
    amount_cents bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS payments.effects (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    saga      uuid NOT NULL,
    step      text NOT NULL,
    operation text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('action', 'compensation')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The crashes on purpose that happened: an operation crashes once, and gets through when it comes again.
CREATE TABLE IF NOT EXISTS payments.crashes (
    saga      uuid NOT NULL,
    step      text NOT NULL,
    direction text NOT NULL,
    PRIMARY KEY (saga, step, direction)
);
