"""Memory stores, each with one bug in how it reads."""

from msgspec.structs import replace

from sagafsm.core.errors import InvalidInput
from sagafsm.runtime import memory
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Page
from tests.stores.planted.register import planted


@planted("test_load_leaves_out_ids_that_do_not_exist")
class LoadRaises(MemoryStore):
    async def load(self, saga_ids):
        return {saga_id: self._sagas[saga_id].stored() for saga_id in saga_ids}


@planted("test_load_reads_many_sagas_whole")
class LoadReadsTen(MemoryStore):
    async def load(self, saga_ids):
        return await super().load(saga_ids[:10])


class Finds(MemoryStore):
    """A store that finds by another filter than the one it was asked for."""

    def changed(self, where):
        return where

    async def find(self, where, *, cursor=None, limit=100):
        return await super().find(self.changed(where), cursor=cursor, limit=limit)


def ignoring(**defaults):
    name = "Ignores" + "".join(part.title() for part in next(iter(defaults)).split("_"))
    store = type(name, (Finds,), {"changed": lambda self, where: replace(where, **defaults)})
    planted("test_each_filter_finds_what_matches_and_nothing_else")(store)


for default in (
    {"state": None}, {"saga_type": None}, {"stuck": None}, {"suspended": None}, {"live": None}, {"tags": {}},
    {"correlation_id": None}, {"parent_id": None}, {"older_than": None},
    {"finished_before": None},
):  # fmt: skip
    ignoring(**default)


@planted("test_only_what_has_ended_finished_before_a_time", "test_each_filter_finds_what_matches_and_nothing_else")
class FinishedIsAnyTime(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(replace(where, finished_before=None), cursor=cursor, limit=limit)
        if where.finished_before is None:
            return page
        return Page([r for r in page.records if (r.finished_at or 0) <= where.finished_before], page.cursor)


@planted("test_every_condition_must_match")
class OneTagIsEnough(Finds):
    def changed(self, where):
        return replace(where, tags=dict(list(where.tags.items())[:1]))


@planted("test_records_found_are_whole")
class FindsWithoutTags(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(where, cursor=cursor, limit=limit)
        return Page([replace(record, tags={}) for record in page.records], page.cursor)


@planted("test_a_record_is_found_as_it_is_now")
class StaleIndex(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(replace(where, state=None, live=None), cursor=cursor, limit=limit)
        return Page([record for record in page.records if where.state in (None, "started")], page.cursor)


@planted("test_records_come_in_the_order_of_creation_then_id")
class OrderOfInsertion(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(where, cursor=cursor, limit=limit)
        return Page(sorted(page.records, key=lambda record: record.saga_id), page.cursor)


class Offsets(MemoryStore):
    """Pages by counting."""

    async def find(self, where, *, cursor=None, limit=100):
        start = int(cursor) if cursor and cursor.isdigit() else 0
        page = await super().find(where, limit=10_000)
        end = str(start + limit) if start + limit < len(page.records) else None
        return Page(page.records[start : start + limit], end)


planted("test_pages_stay_whole_while_records_come_and_go")(Offsets)


@planted("test_a_text_that_is_no_cursor_is_refused")
class BadCursorsBeginAgain(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        try:
            return await super().find(where, cursor=cursor, limit=limit)
        except InvalidInput:
            return await super().find(where, limit=limit)


@planted("test_pages_hold_every_record_once")
class CursorWithoutTheId(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(where, cursor=cursor, limit=limit)
        if page.cursor is None:
            return page
        return Page(page.records, memory.make_cursor(page.records[-1].created_at, "zzz"))


@planted("test_pages_go_on_through_a_second_store")
class CursorsOfItsOwn(MemoryStore):
    """It remembers where a page ended, as a server does with an open cursor."""

    def beside(self):
        second = type(self)()
        second._sagas = self._sagas
        return second

    async def find(self, where, *, cursor=None, limit=100):
        known = vars(self).setdefault("_ends", {})
        page = await super().find(where, cursor=known.get(cursor, "") if cursor else None, limit=limit)
        name = page.cursor and str(len(known))
        known[name] = page.cursor
        return Page(page.records, name)


@planted("test_the_last_page_has_no_cursor")
class AlwaysACursor(MemoryStore):
    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(where, cursor=cursor, limit=limit)
        last = page.records[-1] if page.records else None
        return Page(page.records, memory.make_cursor(last.created_at, last.saga_id) if last else None)


@planted("test_sagas_are_counted_by_kind_state_and_flags")
class CountsByStateOnly(MemoryStore):
    async def counts(self):
        return [replace(count, stuck=False, suspended=False) for count in await super().counts()]


@planted("test_counts_follow_flags_duplicates_and_purges")
class CountsForEver(MemoryStore):
    async def purge(self, finished_before, **options):
        self._kept = [*getattr(self, "_kept", []), *await super().counts()]
        return await super().purge(finished_before, **options)

    async def counts(self):
        return [*await super().counts(), *getattr(self, "_kept", [])]


@planted("test_definitions_are_remembered_and_never_change")
class DefinitionsCanChange(MemoryStore):
    async def save_definition(self, kind, shape):
        self._definitions[kind] = shape
