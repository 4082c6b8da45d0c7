-- Ids of purged sagas that are not free yet. The trigger knows no time: it refuses every id that stands here, and the
-- creation is then tried again by itself, which removes one whose time has come.
CREATE TABLE saga_purged (
    id     TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    until  REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX saga_purged_until ON saga_purged (until);

CREATE TRIGGER saga_purged_guard AFTER INSERT ON sagas BEGIN
    SELECT RAISE (ABORT, 'refused') FROM saga_purged WHERE id = NEW.id;
END;
