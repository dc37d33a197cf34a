-- What the books of every service of the examples begin with; `__books__` is the service's schema. Runs at every
-- start: everything here may be there already. As in all of these books, no table forbids a second effect of
-- one step: the audit must be able to see one.

CREATE SCHEMA IF NOT EXISTS __books__;

-- One line for each effect. The step of an iteration is written `<step>:<number>`.
CREATE TABLE IF NOT EXISTS __books__.effects (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    saga      uuid NOT NULL,
    step      text NOT NULL,
    operation text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('action', 'compensation')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The crashes on purpose that happened: an operation crashes once, and gets through when it comes again.
CREATE TABLE IF NOT EXISTS __books__.crashes (
    saga      uuid NOT NULL,
    step      text NOT NULL,
    direction text NOT NULL,
    PRIMARY KEY (saga, step, direction)
);
