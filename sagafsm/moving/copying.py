"""Copies all sagas of one store into another: first those that live, then the ended, then a look whether all is there.

What must stay true: only verbs of the store protocol are used, so any two stores will do. Whoever is stopped runs it
again: what is there is recognised and left, what is there in part is gone on with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import attrs

from ..store import Filter, Record, Store
from .arriving import Arrivals
from .departing import Departures, Ends
from .following import Follower
from .lease import lease
from .marks import mark_of
from .report import CopyReport, NotCopied
from .whole import TERMINAL, Whole, log_hash, read_whole

PAGE = 500
LOADED_AT_ONCE = 50

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Wishes:
    """What is to be copied, and how. ``wait``: seconds to try again for live sagas that somebody else holds."""

    finished_only: bool = False
    keep: bool = False
    wait: float = 30.0
    verify: bool = True


async def copy_between(
    ends: Ends, wishes: Wishes, progress: Callable[[CopyReport], None] = lambda report: None
) -> CopyReport:
    """Copy; what became of it. ``progress`` is called now and then."""
    counts = await ends.source.counts()
    report = CopyReport(
        total=sum(count.count for count in counts if count.state in TERMINAL or not wishes.finished_only)
    )

    def told() -> None:
        progress(report)

    known = await ends.target.definitions()
    for kind, shape in (await ends.source.definitions()).items():
        if kind not in known:
            await ends.target.save_definition(kind, shape)
    arrivals = Arrivals(ends.target, ends.source_name, report)
    if not wishes.finished_only:
        async with AsyncExitStack() as leases:
            if not wishes.keep:
                for store in (ends.source, ends.target):
                    await leases.enter_async_context(lease(store, ends.worker_id))
            await Departures(ends, arrivals, report, keep=wishes.keep, told=told).run(wishes.wait)
    await _copy_finished(ends, arrivals, report, told)  # the last, for what lives may end meanwhile
    if wishes.verify:
        await _verify(ends, wishes, arrivals, report, told)
    told()
    return report


async def _copy_finished(ends: Ends, arrivals: Arrivals, report: CopyReport, told: Callable[[], None]) -> None:
    follower = Follower(ends.target, Filter())
    async for records in _pages(ends.source, Filter(live=False)):
        new: list[Record] = []
        known: list[Record] = []
        for record in records:
            there = await follower.beside(record)
            if there is None:
                new.append(record)
            elif _same(record, there):
                report.already += 1
            else:
                known.append(record)
        for unknown, part in ((True, new), (False, known)):
            for chunk in _chunks(part, LOADED_AT_ONCE):
                sagas = await read_whole(ends.source, [record.saga_id for record in chunk])
                ended = [saga for saga in sagas.values() if saga.ended]
                report.finished += len(await arrivals.bring(ended, unknown=unknown))
                told()
        told()


def _same(record: Record, there: Record) -> bool:
    """Whether an ended saga is at the target already, as far as records can tell."""
    names = ("digest", "kind", "version", "state", "outcome", "finished_at", "problem")
    return all(getattr(record, name) == getattr(there, name) for name in names)


async def _verify(ends: Ends, wishes: Wishes, arrivals: Arrivals, report: CopyReport, told: Callable[[], None]) -> None:
    """Read both stores and compare the logs of what was to be copied; what has come or ended since is copied now."""
    report.verified = 0
    where = Filter(live=False) if wishes.finished_only else Filter()
    async for records in _pages(ends.source, where):
        wanted = [record.saga_id for record in records if _is_due(ends, wishes, record)]
        for ids in _chunks(wanted, LOADED_AT_ONCE):
            sagas, there = await read_whole(ends.source, ids), await read_whole(ends.target, ids)
            refused = report.refused
            late = [saga for name, saga in sagas.items() if name not in there and name not in refused]
            late = [saga for saga in late if saga.ended or (wishes.keep and mark_of(saga.record) is None)]
            if late:
                arrived = await arrivals.bring(late)
                ended = sum(saga.ended for saga in late if saga.record.saga_id in arrived)
                report.finished += ended
                report.kept += len(arrived) - ended
                there = await read_whole(ends.target, ids)
                refused = report.refused
            for saga_id, saga in sagas.items():
                if saga_id in refused:
                    continue
                why = _difference(saga, there.get(saga_id))
                if why is None:
                    report.verified += 1
                else:
                    report.wrong.append(NotCopied(saga_id, why))
        told()


def _is_due(ends: Ends, wishes: Wishes, record: Record) -> bool:
    """Whether a saga of the source has to be at the target."""
    if record.state in TERMINAL:
        return True
    mark = mark_of(record)
    return wishes.keep if mark is None else mark.kind == "moved" and mark.place == ends.target_name


def _difference(saga: Whole, there: Whole | None) -> str | None:
    if there is None and mark_of(saga.record) is not None:
        return "it was moved there and is there no more: purged since, or that store was lost (then undo the copy)"
    if there is None:
        return "it is not there"
    shared = min(len(saga.events), len(there.events))
    if log_hash(saga.record, saga.events[:shared]) != log_hash(there.record, there.events[:shared]):
        return "its log there is another one"
    if saga.ended and saga.record.state != there.record.state:
        return "it is not there as it ended"
    # What was moved goes on there; what was only copied goes on here.
    kept = not saga.ended and mark_of(saga.record) is None
    return None if shared == len(saga.events) or kept else "the end of its log is missing there"


async def _pages(store: Store, where: Filter) -> AsyncIterator[Sequence[Record]]:
    cursor: str | None = None
    while True:
        page = await store.find(where, cursor=cursor, limit=PAGE)
        yield page.records
        cursor = page.cursor
        if cursor is None:
            return


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
