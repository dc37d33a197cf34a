-- The books of the service `catalogue`: imports, and the articles that came with them.

-- Whose articles are taken in.
CREATE TABLE IF NOT EXISTS __books__.suppliers (
    supplier text PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS __books__.imports (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga     uuid NOT NULL,
    step     text NOT NULL,
    supplier text NOT NULL,
    articles bigint, -- how many were published; nothing before that
    state    text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'published', 'discarded')),
    CHECK ((state = 'published') = (articles IS NOT NULL))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS imports_saga ON __books__.imports (saga);

-- `staged` until its import is published: nobody sees half of an import.
CREATE TABLE IF NOT EXISTS __books__.articles (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga        uuid NOT NULL,
    step        text NOT NULL,
    import_id   bigint NOT NULL REFERENCES __books__.imports,
    sku         text NOT NULL, -- of all that are not removed, no two have the same
    price_cents bigint NOT NULL CHECK (price_cents > 0),
    state       text NOT NULL DEFAULT 'staged' CHECK (state IN ('staged', 'listed', 'removed'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS articles_saga ON __books__.articles (saga);
CREATE INDEX IF NOT EXISTS articles_import ON __books__.articles (import_id);
CREATE INDEX IF NOT EXISTS articles_sku ON __books__.articles (sku);
