"""Brings sagas into the target store.

What must stay true: what is at the target already is never overwritten: a log there is only ever made longer, where it
is the beginning of the one that comes and nobody works on it. Whatever else is found there is an answer, not a reason
to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..store import Append, AppendResult, Committed, Duplicate, Exists, Record, Refused, Store
from .marks import Mark, as_it_was, mark_of
from .report import CopyReport
from .whole import Whole, log_hash, read_whole
from .writing import Standing, appends_for, write_logs

DONE = (Committed, Duplicate)
TRIES = 5


class Arrivals:
    """Writes to the target. ``origin``: the name of the source, as marks have it."""

    def __init__(self, store: Store, origin: str, report: CopyReport) -> None:
        self._store = store
        self._origin = origin
        self._report = report

    async def bring(self, sagas: Iterable[Whole], *, unknown: bool = False) -> set[str]:
        """Copy sagas; return the ids of those that are at the target now: the ended as they are, the live marked.

        ``unknown``: they are probably not there yet, so do not ask first.
        """
        wanted = {saga.record.saga_id: saga for saga in sagas}
        there: Mapping[str, Whole] = {} if unknown else await read_whole(self._store, list(wanted))
        arrived: set[str] = set()
        for _ in range(TRIES):
            logs: dict[str, Iterator[Append]] = {}
            for saga_id, saga in wanted.items():
                log = self._log(saga, there.get(saga_id))
                if isinstance(log, str):
                    self._report.refuse(saga_id, log)
                elif log is None:
                    arrived.add(saga_id)
                else:
                    logs[saga_id] = log
            results = await write_logs(self._store, list(logs.values()))
            again = []
            for saga_id, result in zip(logs, results, strict=True):
                if isinstance(result, DONE):
                    arrived.add(saga_id)
                    self._report.events += len(wanted[saga_id].events)
                elif (why := _refusal(result)) is not None:
                    self._report.refuse(saga_id, why)
                else:
                    again.append(saga_id)  # it is there, or somebody wrote to it: look and decide again
            if not again:
                return arrived
            wanted = {saga_id: wanted[saga_id] for saga_id in again}
            there = await read_whole(self._store, again)
        for saga_id in wanted:
            self._report.refuse(saga_id, "somebody writes to it there all the time")
        return arrived

    def _log(self, saga: Whole, there: Whole | None) -> Iterator[Append] | str | None:
        """The appends that are missing there; None where none is; a text where it cannot be."""
        record = saga.record
        mark = Mark("arriving", self._origin, as_it_was(record)).to_problem()
        standing = Standing.of(record)
        marked = standing.marked(mark)
        if there is None:
            return appends_for(saga, 0, record.fence + 1, standing if saga.ended else marked, marked)
        found = there.record
        if log_hash(record, ()) != log_hash(found, ()):
            return "another saga has this id there"
        if not _begins_with(saga, there):
            return "its log there is another one"
        if saga.ended and len(there.events) == len(saga.events) and Standing.of(found) == standing:
            return None
        why = self._held(found, ended=there.ended)
        if why is not None:
            return why
        if not saga.ended and len(there.events) == len(saga.events) and found.problem == mark:
            return None
        return appends_for(saga, len(there.events), found.fence, standing if saga.ended else marked, marked)

    def _held(self, found: Record, *, ended: bool) -> str | None:
        """Why the saga that is at the target must be left alone; None where it may be made longer."""
        mark = mark_of(found)
        if mark is None:
            return None if ended else "it is at work there as well; look at both, and abort the wrong one"
        if mark.kind == "moved" or mark.place == self._origin:
            return None  # it was there once and comes back, or it is on its way from this source
        return f"it is on its way there from {mark.place}; let that copy end first"


def _begins_with(saga: Whole, there: Whole) -> bool:
    """Whether the log that is there is the beginning of the saga's."""
    return list(saga.events[: len(there.events)]) == list(there.events)


def _refusal(result: AppendResult) -> str | None:
    if isinstance(result, Refused):
        return f"the store refuses it: {result.reason}"
    if isinstance(result, Exists) and result.purged:
        return "its id was purged there, and is kept from being used again for a while"
    return None
