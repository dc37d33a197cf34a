-- The books of a bank: `bank-a` and `bank-b`, each with a schema of its own for `__books__`.

CREATE TABLE IF NOT EXISTS __books__.accounts (
    account text PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance >= 0), -- free to spend, in cents
    held    bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    is_open boolean NOT NULL DEFAULT true
) WITH (fillfactor = 60);

-- `held` until it is `released` or `settled`; `deposited` is what came in from another bank.
CREATE TABLE IF NOT EXISTS __books__.movements (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga         uuid NOT NULL,
    step         text NOT NULL,
    account      text NOT NULL,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    state        text NOT NULL CHECK (state IN ('held', 'released', 'settled', 'deposited'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS movements_saga ON __books__.movements (saga);

-- Double entry: the whole ledger sums to zero. The accounts are `account:<name>`, `held`, `clearing` (what the other
-- banks are owed; below zero: what they owe) and `opening` (where it all came from). When no transfer is on its
-- way, the clearing of all banks together is zero, and so no cent was made or lost between them.
CREATE TABLE IF NOT EXISTS __books__.ledger (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    saga         uuid, -- none for the opening
    account      text NOT NULL,
    amount_cents bigint NOT NULL
);
