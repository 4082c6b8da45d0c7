"""Moves live sagas from the source to the target, family by family.

What must stay true: at no moment can a saga be taken up in both stores. The order is: held at the source (claimed, so
that whoever worked on it can write nothing more); brought to the target, marked as arriving; marked at the source as
moved, under the version that was brought; only then freed at the target, sub-sagas before their parents. Whoever is
stopped in between leaves a saga that the next run brings on from where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import attrs

from ..core.errors import StoreUnavailable
from ..store import Append, Conflict, Filter, Record, Store
from .arriving import DONE, Arrivals
from .family import Family, children_of
from .marks import Mark, as_it_was, mark_of
from .report import CopyReport
from .whole import TERMINAL, Whole, read_whole
from .writing import Standing, commit_all, record_only, surely

FAMILIES = 50
"""At once: what is held, and lies in memory."""

MARKINGS = 20
PAUSE = 0.5


@attrs.frozen(kw_only=True)
class Ends:
    """The two stores, what they are called in marks, and under which worker's id sagas are held."""

    source: Store
    target: Store
    source_name: str
    target_name: str
    worker_id: str


class Departures:
    """Moves what lives. ``keep``: only copies it, and leaves it alive at the source."""

    def __init__(
        self, ends: Ends, arrivals: Arrivals, report: CopyReport, *, keep: bool, told: Callable[[], None]
    ) -> None:
        self._ends = ends
        self._arrivals = arrivals
        self._report = report
        self._keep = keep
        self._told = told
        self._refused: set[str] = set()
        self._counted: set[str] = set()

    async def run(self, wait: float) -> None:
        """Go through the live sagas until all of them are moved, or for ``wait`` seconds those that others hold."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            self._report.busy = 0
            await self._once()
            if not self._report.busy or loop.time() >= deadline:
                return
            await asyncio.sleep(min(PAUSE, max(0.0, deadline - loop.time())))

    async def _once(self) -> None:
        cursor: str | None = None
        while True:
            page = await self._ends.source.find(Filter(live=True), cursor=cursor, limit=FAMILIES)
            await self._families([record for record in page.records if record.saga_id not in self._refused])
            cursor = page.cursor
            if cursor is None:
                return

    async def _families(self, records: Sequence[Record]) -> None:
        roots = await self._roots(records)
        if not roots:
            return
        families = await self._gather(roots)
        whole = []
        for family in families:
            if family.busy:
                self._report.busy += family.busy + len(family.live)
                await self._let_go(family)
            else:
                whole.append(family)
        whole = await self._bring(whole)
        if self._keep:
            self._count([saga for family in whole for saga in family.live], "kept")
            return
        whole = [family for family in whole if await self._mark(family)]
        await self._free(whole)

    async def _roots(self, records: Sequence[Record]) -> list[Record]:
        """Those of the records that are to be moved, and do not go with a parent of theirs."""
        parents = sorted({record.parent_id for record in records if record.parent_id is not None})
        above = [saga.record for saga in (await self._ends.source.load(parents)).values()] if parents else []
        marked = [record.saga_id for record in (*records, *above) if self._ours(record)]
        there = await self._ends.target.load(marked) if marked else {}
        on_their_way = {name for name, saga in there.items() if self._on_its_way(saga.record)}

        def goes(record: Record) -> bool:
            """Whether this saga is still to be moved."""
            unmarked = record.state not in TERMINAL and mark_of(record) is None
            return record.saga_id in on_their_way if self._ours(record) else unmarked

        with_parents = {record.saga_id for record in above if goes(record)}
        for record in records:
            if not goes(record):
                self._skip(record, "already" if self._ours(record) else "elsewhere")
        return [record for record in records if goes(record) and record.parent_id not in with_parents]

    def _ours(self, record: Record) -> bool:
        """Whether it was marked as moved to this target."""
        mark = mark_of(record)
        return mark is not None and mark.kind == "moved" and mark.place == self._ends.target_name

    def _on_its_way(self, found: Record) -> bool:
        """Whether it is at the target, and not yet free there."""
        mark = mark_of(found)
        return mark is not None and mark.kind == "arriving" and mark.place == self._ends.source_name

    def _skip(self, record: Record, what: str) -> None:
        if record.saga_id not in self._counted:
            self._counted.add(record.saga_id)
            setattr(self._report, what, getattr(self._report, what) + 1)

    def _count(self, sagas: Iterable[Whole], what: str) -> None:
        for saga in sagas:
            self._skip(saga.record, what)
        self._told()

    # --- holding ---

    async def _gather(self, roots: Sequence[Record]) -> list[Family]:
        """The families of these roots, held where they are to be moved."""
        families = {record.saga_id: Family(record.saga_id) for record in roots}
        belongs = {record.saga_id: families[record.saga_id] for record in roots}
        level, depth = list(roots), 0
        while level:
            held = await self._hold(level)
            below: list[Record] = []
            for record in level:
                belongs[record.saga_id].add(held.get(record.saga_id), depth)
            depth += 1
            for child in await children_of(self._ends.source, list(held.values())):
                family = belongs[child.record.parent_id or ""]
                belongs[child.record.saga_id] = family
                below.append(child.record)
            level = below
        return list(families.values())

    async def _hold(self, records: Sequence[Record]) -> dict[str, Whole]:
        """Claim those that live, and read them all; those that somebody else holds are missing."""
        source = self._ends.source
        free = [record for record in records if record.state not in TERMINAL and mark_of(record) is None]
        others = [record.saga_id for record in records if record.state in TERMINAL or self._ours(record)]
        if self._keep:
            return await read_whole(source, [record.saga_id for record in free] + others)
        if free:
            kinds = sorted({record.kind for record in free})
            ids = [record.saga_id for record in free]
            claim = await surely(lambda: source.claim(self._ends.worker_id, kinds, limit=len(ids), saga_ids=ids))
            others += [saga.record.saga_id for saga in claim.sagas]
            # A claim whose answer was lost holds: what is ours already is not claimed again.
            missing = [saga_id for saga_id in ids if saga_id not in others]
            found = await source.load(missing) if missing else {}
            ended = [name for name, saga in found.items() if saga.record.state in TERMINAL]
            others += ended + [name for name, saga in found.items() if self._is_held(saga.record)]
        return await read_whole(source, others)

    def _is_held(self, record: Record) -> bool:
        return record.owner == self._ends.worker_id

    async def _let_go(self, family: Family) -> None:
        for saga in family.live:
            if self._is_held(saga.record):
                await self._ends.source.release(
                    saga.record.saga_id, worker_id=self._ends.worker_id, fence=saga.record.fence
                )

    # --- bringing, marking, freeing ---

    async def _bring(self, families: Sequence[Family]) -> list[Family]:
        """Copy them, the ended first; return the families that are all there."""
        await self._arrivals.bring(saga for family in families for saga in family.ended)
        live = [saga for family in families for saga in family.live]
        # What is marked is at the target: it was brought before, and may even be at work there.
        arrived = {saga.record.saga_id for saga in live if mark_of(saga.record) is not None}
        arrived |= await self._arrivals.bring(saga for saga in live if mark_of(saga.record) is None)
        return [family for family in families if await self._has_arrived(family, arrived)]

    async def _has_arrived(self, family: Family, arrived: set[str]) -> bool:
        if all(saga.record.saga_id in arrived for saga in family.live):
            return True
        self._refused.add(family.root)
        for saga in family.live:
            self._refused.add(saga.record.saga_id)
            if saga.record.saga_id in arrived:
                self._report.refuse(saga.record.saga_id, "another saga of its family cannot be moved")
        await self._let_go(family)
        return False

    async def _mark(self, family: Family) -> bool:
        """Mark each as moved, at the version that was brought; what was said to one meanwhile is brought first."""
        source = self._ends.source
        for _ in range(MARKINGS):
            left = [saga for saga in family.live if mark_of(saga.record) is None]
            if not left:
                return True
            results = await commit_all(source, [self._marking(saga.record) for saga in left])
            if not all(isinstance(result, (*DONE, Conflict)) for result in results):
                break
            found = await read_whole(source, [saga.record.saga_id for saga in family.live])
            family.levels = [[found[saga.record.saga_id] for saga in level] for level in family.levels]
            if any(mark_of(saga.record) is None and not self._is_held(saga.record) for saga in family.live):
                break
            rest = [saga for saga in family.live if mark_of(saga.record) is None]
            if len(await self._arrivals.bring(rest)) < len(rest):
                break
        # Our lease ran out in the middle: somebody else works on it, and the next look finds out how far it is.
        self._report.busy += len(family.live)
        await self._let_go(family)
        return False

    def _marking(self, record: Record) -> Append:
        mark = Mark("moved", self._ends.target_name, as_it_was(record))
        return record_only(record, Standing.of(record).marked(mark.to_problem()))

    async def _free(self, families: Sequence[Family]) -> None:
        """Let the target go on with them, those below first."""
        depth = max((len(family.levels) for family in families), default=0)
        for level in range(depth - 1, -1, -1):
            sagas = [saga for family in families if level < len(family.levels) for saga in family.levels[level]]
            await self._free_all(sagas)
            self._count(sagas, "moved")

    async def _free_all(self, sagas: Sequence[Whole]) -> None:
        target = self._ends.target
        going = {saga.record.saga_id: saga.record for saga in sagas}
        while going:
            found = await target.load(list(going))
            appends = []
            for saga_id, record in list(going.items()):
                if saga_id not in found or not self._on_its_way(found[saga_id].record):
                    del going[saga_id]  # another copier did it; since then it may even have ended, and been purged
                    continue
                there = await self._fence_above(found[saga_id].record, record.fence)
                appends.append(record_only(there, Standing.of(record).unmarked(as_it_was(record))))
            results = await commit_all(target, appends)
            for append, result in zip(appends, results, strict=True):
                if isinstance(result, DONE):
                    del going[append.saga_id]

    async def _fence_above(self, there: Record, fence: int) -> Record:
        """The target's record with a fence above the source's: fences never fall, also from store to store."""
        target, worker_id = self._ends.target, self._ends.worker_id
        for _ in range(there.fence, fence + 1):
            await target.release(there.saga_id, worker_id=worker_id, fence=there.fence)
            await target.claim(worker_id, [there.kind], limit=1, saga_ids=[there.saga_id])
            there = (await target.load([there.saga_id]))[there.saga_id].record
        if there.fence <= fence:
            raise StoreUnavailable(f"saga {there.saga_id} cannot be claimed in the store it is moved to; run it again")
        return there
