-- The books of the service `mail`: the letters that went out.

-- `retracted`: another letter followed, which takes this one back. `bounced`: there was nobody to deliver it to.
CREATE TABLE IF NOT EXISTS __books__.letters (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga      uuid NOT NULL,
    step      text NOT NULL,
    recipient text NOT NULL,
    subject   text NOT NULL,
    state     text NOT NULL CHECK (state IN ('sent', 'retracted', 'bounced'))
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS letters_saga ON __books__.letters (saga);
