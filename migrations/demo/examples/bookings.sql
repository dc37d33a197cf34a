-- The books of hotels, of flights and of cars: three services, each with a schema of its own for `__books__`.

-- For every town: free + booked is what there was at the opening.
CREATE TABLE IF NOT EXISTS __books__.capacity (
    town        text PRIMARY KEY,
    free        bigint NOT NULL CHECK (free >= 0),
    booked      bigint NOT NULL DEFAULT 0 CHECK (booked >= 0),
    price_cents bigint NOT NULL CHECK (price_cents > 0) -- of one unit for a day
) WITH (fillfactor = 40);

CREATE TABLE IF NOT EXISTS __books__.bookings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga        uuid NOT NULL,
    step        text NOT NULL,
    customer    text NOT NULL,
    town        text NOT NULL,
    units       bigint NOT NULL CHECK (units > 0),
    price_cents bigint NOT NULL CHECK (price_cents > 0),
    state       text NOT NULL DEFAULT 'booked' CHECK (state IN ('booked', 'cancelled'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS bookings_saga ON __books__.bookings (saga);
