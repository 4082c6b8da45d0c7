-- How many sagas there are of each kind and state, kept by triggers: counting a million finished sagas would read them all.
CREATE TABLE saga_counts (
    kind      TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    state     TEXT    NOT NULL,
    stuck     INTEGER NOT NULL,
    suspended INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (kind, type, state, stuck, suspended)
) WITHOUT ROWID;

INSERT INTO saga_counts (kind, type, state, stuck, suspended, count)
SELECT kind, type, state, stuck, suspended, count(*) FROM sagas GROUP BY kind, type, state, stuck, suspended;

CREATE TRIGGER saga_counts_insert AFTER INSERT ON sagas BEGIN
    INSERT INTO saga_counts (kind, type, state, stuck, suspended, count)
    VALUES (new.kind, new.type, new.state, new.stuck, new.suspended, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER saga_counts_update AFTER UPDATE OF state, stuck, suspended ON sagas
WHEN old.state <> new.state OR old.stuck <> new.stuck OR old.suspended <> new.suspended BEGIN
    UPDATE saga_counts SET count = count - 1
     WHERE kind = old.kind AND type = old.type AND state = old.state AND stuck = old.stuck AND suspended = old.suspended;
    INSERT INTO saga_counts (kind, type, state, stuck, suspended, count)
    VALUES (new.kind, new.type, new.state, new.stuck, new.suspended, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER saga_counts_delete AFTER DELETE ON sagas BEGIN
    UPDATE saga_counts SET count = count - 1
     WHERE kind = old.kind AND type = old.type AND state = old.state AND stuck = old.stuck AND suspended = old.suspended;
END;
