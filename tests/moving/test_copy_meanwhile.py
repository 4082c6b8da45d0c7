"""What comes, goes or is lost while sagas are copied, or between two copies: it is copied too, or told."""

import pytest

from sagafsm import copy_sagas
from sagafsm.moving import mark_of
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Exists, Filter
from sagafsm.testing.appends import create, finish

NAMES = {"source_name": "a", "target_name": "b", "wait": 0.0}


class GetsMore(MemoryStore):
    """A saga is started, and one ends, when the copy begins to compare."""

    comparing = False

    async def find(self, where, **options):
        if where == Filter() and not self.comparing:
            self.comparing = True
            await self.commit([create("new", due_at=1.0), create("ended", state="completed", finished_at=1.0)])
        return await super().find(where, **options)


async def test_a_rehearsal_copies_what_was_started_meanwhile():
    """It was called wrong: it is not there."""
    source, target = GetsMore(), MemoryStore()
    await source.commit([create("old", due_at=1.0)])
    report = await copy_sagas(source, target, **NAMES, keep=True)
    assert report.ok, report
    assert (report.kept, report.finished, report.verified) == (2, 1, 3)
    found = await target.load(["old", "new", "ended"])
    assert {name: mark_of(saga.record) and mark_of(saga.record).kind for name, saga in found.items()} == {
        "old": "arriving", "new": "arriving", "ended": None,
    }  # fmt: skip


async def test_what_was_started_meanwhile_lives_on_where_it_is():
    source, target = GetsMore(), MemoryStore()
    await source.commit([create("old", due_at=1.0)])
    report = await copy_sagas(source, target, **NAMES)
    assert (report.ok, report.moved, report.finished, report.verified) == (True, 1, 1, 2)
    assert not await target.load(["new"])
    assert mark_of((await source.load(["new"]))["new"].record) is None
    assert (await copy_sagas(source, target, **NAMES)).moved == 1


class Refuses(MemoryStore):
    """Takes one saga never."""

    async def commit(self, batch):
        results = await super().commit([append for append in batch if append.saga_id != "ended"])
        answers = iter(results)
        return [Exists(same=True, purged=True) if one.saga_id == "ended" else next(answers) for one in batch]


async def test_what_cannot_be_copied_is_told_once():
    source, target = GetsMore(), Refuses()
    report = await copy_sagas(source, target, **NAMES)
    assert [one.saga_id for one in report.not_copied] == ["ended"]
    assert report.wrong == []


async def test_what_was_moved_to_a_store_that_is_lost_is_told_with_the_way_out():
    source = MemoryStore()
    await source.commit([create("s", due_at=1.0)])
    assert (await copy_sagas(source, MemoryStore(), **NAMES)).moved == 1
    report = await copy_sagas(source, MemoryStore(), **NAMES)
    assert not report.ok
    assert [one.why for one in report.wrong] == [
        "it was moved there and is there no more: purged since, or that store was lost (then undo the copy)"
    ]


class Stopped(Exception):
    """The copier ends here."""


class StopsAtTheParent(MemoryStore):
    """The copier ends when it has freed the child, and is about to free its parent."""

    stopped = False

    async def commit(self, batch):
        if not self.stopped and any(one.saga_id == "p" and not one.events and one.problem is None for one in batch):
            self.stopped = True
            raise Stopped
        return await super().commit(batch)


async def test_a_child_that_ended_there_and_was_purged_holds_its_parent_up_no_longer():
    """The copier that had been killed could not be run again: it looked for the child, and ended with a KeyError."""
    source, target = MemoryStore(), StopsAtTheParent()
    await source.commit([create("p", due_at=1.0), create("p:c", parent_id="p", due_at=1.0)])
    with pytest.raises(Stopped):
        await copy_sagas(source, target, **NAMES)
    child = (await target.load(["p:c"]))["p:c"].record
    assert mark_of(child) is None
    await target.commit([finish(child, at=2.0)])
    assert await target.purge(3.0) == 1
    report = await copy_sagas(source, target, **NAMES)
    assert mark_of((await target.load(["p"]))["p"].record) is None
    assert [one.saga_id for one in report.wrong] == ["p:c"]
