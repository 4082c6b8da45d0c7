-- The view of migration 0003 with its columns in the order of how often they are needed. A row is written with its first
-- 11, 16, 22 or all 26 of them; those that are left out are NULL. Each value that is bound costs time under the
-- interpreter's lock, in which neither the event loop nor SQLite gets on.
DROP VIEW saga_appends;

CREATE VIEW saga_appends (
    mode, id, expected, version, fence, append_id, at, type1, data1, type2, data2,
    state, outcome, owner, due_at, finished_at,
    type, kind, correlation_id, parent_id, digest, created_at,
    stuck, suspended, attention, problem
) AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL;

-- A saga on its way: no column that an index holds is set, so no index is written.
CREATE TRIGGER saga_appends_steady INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'steady' BEGIN
    UPDATE sagas SET version = NEW.version, updated_at = NEW.at
     WHERE id = NEW.id AND version = NEW.expected AND fence = NEW.fence;
    SELECT RAISE (ABORT, 'refused') WHERE changes() = 0;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 1, NEW.type1, NEW.at, NEW.data1, NEW.append_id WHERE NEW.type1 IS NOT NULL;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

CREATE TRIGGER saga_appends_update INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'update' BEGIN
    UPDATE sagas
       SET version = NEW.version, state = NEW.state, outcome = NEW.outcome, stuck = ifnull(NEW.stuck, 0),
           suspended = ifnull(NEW.suspended, 0), owner = NEW.owner, due_at = NEW.due_at,
           attention = ifnull(NEW.attention, 0), updated_at = NEW.at, finished_at = NEW.finished_at,
           problem = NEW.problem
     WHERE id = NEW.id AND version = NEW.expected AND fence = NEW.fence;
    SELECT RAISE (ABORT, 'refused') WHERE changes() = 0;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 1, NEW.type1, NEW.at, NEW.data1, NEW.append_id WHERE NEW.type1 IS NOT NULL;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

CREATE TRIGGER saga_appends_create INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'create' BEGIN
    INSERT INTO sagas (id, version, state, outcome, stuck, suspended, owner, due_at, attention, updated_at, finished_at,
                       problem, fence, type, kind, correlation_id, parent_id, digest, created_at)
    VALUES (NEW.id, NEW.version, NEW.state, NEW.outcome, ifnull(NEW.stuck, 0), ifnull(NEW.suspended, 0), NEW.owner,
            NEW.due_at, ifnull(NEW.attention, 0), NEW.at, NEW.finished_at, NEW.problem, NEW.fence, NEW.type, NEW.kind,
            NEW.correlation_id, NEW.parent_id, NEW.digest, NEW.created_at);
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 1, NEW.type1, NEW.at, NEW.data1, NEW.append_id WHERE NEW.type1 IS NOT NULL;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

-- The third event of an append and those after it, and all whose time is not that of the append.
CREATE TRIGGER saga_appends_events INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'events' BEGIN
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    VALUES (NEW.id, NEW.expected + 1, NEW.type1, NEW.at, NEW.data1, NEW.append_id);
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

CREATE TRIGGER saga_appends_tag INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'tag' BEGIN
    INSERT INTO saga_tags (saga_id, key, value) VALUES (NEW.id, NEW.type1, NEW.data1);
END;

CREATE TRIGGER saga_appends_snapshot INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'snapshot' BEGIN
    INSERT INTO saga_snapshots (saga_id, version, data) VALUES (NEW.id, NEW.version, NEW.data1)
        ON CONFLICT (saga_id) DO UPDATE SET version = excluded.version, data = excluded.data;
END;
