-- The books of the service `accounts`: who signed up.

CREATE TABLE IF NOT EXISTS __books__.accounts (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga  uuid NOT NULL,
    step  text NOT NULL,
    name  text NOT NULL, -- of all that are not removed, no two have the same
    email text NOT NULL,
    plan  text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'active', 'removed'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS accounts_saga ON __books__.accounts (saga);
CREATE INDEX IF NOT EXISTS accounts_name ON __books__.accounts (name);
