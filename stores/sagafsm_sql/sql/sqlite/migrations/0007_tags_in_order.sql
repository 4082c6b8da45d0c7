-- Tags in the order in which their sagas were created: a page of what bears a tag is read off the index, however many
-- sagas bear it.
ALTER TABLE saga_tags ADD COLUMN created_at REAL NOT NULL DEFAULT 0;

UPDATE saga_tags SET created_at = (SELECT s.created_at FROM sagas s WHERE s.id = saga_id);

DROP INDEX saga_tags_value;

CREATE INDEX saga_tags_value ON saga_tags (key, value, created_at, saga_id);

DROP TRIGGER saga_appends_tag;

CREATE TRIGGER saga_appends_tag INSTEAD OF INSERT ON saga_appends WHEN NEW.mode = 'tag' BEGIN
    INSERT INTO saga_tags (saga_id, key, value, created_at)
    SELECT NEW.id, NEW.type1, NEW.data1, s.created_at FROM sagas s WHERE s.id = NEW.id;
END;
