-- A batch of appends as one statement: one row of this view is one append (or a part of one), and the triggers do what it
-- says. The driver gives up the interpreter's lock once per statement and has to win it back after each one, against an
-- event loop that is busy with the sagas of the batch before; with a single statement, which is a transaction of its own,
-- all of the writing is done beside the loop. It also costs less than the statements that it stands for.
CREATE VIEW saga_appends (
    mode, id, expected, version, updated_at, fence, append_id, type1, at1, data1, type2, at2, data2,
    state, outcome, stuck, suspended, owner, due_at, attention, finished_at, problem,
    type, kind, correlation_id, parent_id, digest, created_at
) AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL;

-- A saga on its way: no column that an index holds is set, so no index is written.
CREATE TRIGGER saga_appends_steady INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'steady' BEGIN
    UPDATE sagas SET version = NEW.version, updated_at = NEW.updated_at
     WHERE id = NEW.id AND version = NEW.expected AND fence = NEW.fence;
    SELECT RAISE (ABORT, 'refused') WHERE changes() = 0;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 1, NEW.type1, NEW.at1, NEW.data1, NEW.append_id WHERE NEW.type1 IS NOT NULL;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at2, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

CREATE TRIGGER saga_appends_update INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'update' BEGIN
    UPDATE sagas
       SET version = NEW.version, state = NEW.state, outcome = NEW.outcome, stuck = NEW.stuck,
           suspended = NEW.suspended, owner = NEW.owner, due_at = NEW.due_at, attention = NEW.attention,
           updated_at = NEW.updated_at, finished_at = NEW.finished_at, problem = NEW.problem
     WHERE id = NEW.id AND version = NEW.expected AND fence = NEW.fence;
    SELECT RAISE (ABORT, 'refused') WHERE changes() = 0;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 1, NEW.type1, NEW.at1, NEW.data1, NEW.append_id WHERE NEW.type1 IS NOT NULL;
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at2, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

CREATE TRIGGER saga_appends_create INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'create' BEGIN
    INSERT INTO sagas (id, version, state, outcome, stuck, suspended, owner, due_at, attention, updated_at, finished_at,
                       problem, fence, type, kind, correlation_id, parent_id, digest, created_at)
    VALUES (NEW.id, NEW.version, NEW.state, NEW.outcome, NEW.stuck, NEW.suspended, NEW.owner, NEW.due_at, NEW.attention,
            NEW.updated_at, NEW.finished_at, NEW.problem, NEW.fence, NEW.type, NEW.kind, NEW.correlation_id,
            NEW.parent_id, NEW.digest, NEW.created_at);
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    VALUES (NEW.id, NEW.expected + 1, NEW.type1, NEW.at1, NEW.data1, NEW.append_id);
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at2, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

-- The third and fourth event of an append, and so on.
CREATE TRIGGER saga_appends_events INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'events' BEGIN
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    VALUES (NEW.id, NEW.expected + 1, NEW.type1, NEW.at1, NEW.data1, NEW.append_id);
    INSERT INTO saga_events (saga_id, seq, type, at, data, append_id)
    SELECT NEW.id, NEW.expected + 2, NEW.type2, NEW.at2, NEW.data2, NEW.append_id WHERE NEW.type2 IS NOT NULL;
END;

CREATE TRIGGER saga_appends_tag INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'tag' BEGIN
    INSERT INTO saga_tags (saga_id, key, value) VALUES (NEW.id, NEW.type1, NEW.data1);
END;

CREATE TRIGGER saga_appends_snapshot INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'snapshot' BEGIN
    INSERT INTO saga_snapshots (saga_id, version, data) VALUES (NEW.id, NEW.version, NEW.data1)
        ON CONFLICT (saga_id) DO UPDATE SET version = excluded.version, data = excluded.data;
END;
