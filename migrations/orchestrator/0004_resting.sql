-- A saga that waits for long is at rest: nothing of it is out, no replica has it in memory, and its wake-up is set to shortly
-- before something is due. Whatever moves it takes the mark away. How far away a wake-up is says nothing, since clocks jump.
SET LOCAL lock_timeout = '10s';
ALTER TABLE snorri.sagas
    ADD COLUMN resting boolean NOT NULL DEFAULT false;
