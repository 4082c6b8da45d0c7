"""Which sagas belong together: a saga, its sub-sagas, and theirs.

What must stay true: a family moves as one. A parent that goes on without its sub-saga would begin it anew, or take it
for one that never was.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec

from ..store import Filter, Store
from .whole import Whole, read_whole


class _Start(msgspec.Struct):
    steps: Sequence[str]


_decode_start = msgspec.json.Decoder(_Start).decode


@attrs.define
class Family:
    """The sagas of one root: the live ones level by level, beginning with the root, and the ended ones."""

    root: str
    levels: list[list[Whole]] = attrs.field(factory=list)
    ended: list[Whole] = attrs.field(factory=list)
    busy: int = 0
    """So many of them somebody else holds."""

    def add(self, saga: Whole | None, depth: int) -> None:
        """Take in a saga of this family; None: it exists, and somebody else holds it."""
        if saga is None:
            self.busy += 1
        elif saga.ended:
            self.ended.append(saga)
        else:
            self.levels += [[] for _ in range(depth + 1 - len(self.levels))]
            self.levels[depth].append(saga)

    @property
    def live(self) -> list[Whole]:
        """The live ones."""
        return [saga for level in self.levels for saga in level]


async def children_of(store: Store, parents: Sequence[Whole]) -> list[Whole]:
    """The sub-sagas of these sagas that exist."""
    wanted: list[str] = []
    parent_ids = set()
    for parent in parents:
        parent_ids.add(parent.record.saga_id)
        wanted += await _possible(store, parent)
    found = (await read_whole(store, wanted)).values() if wanted else ()
    return [saga for saga in found if saga.record.parent_id in parent_ids]


async def _possible(store: Store, parent: Whole) -> list[str]:
    """Ids that its sub-sagas have if it has any: they are made of its own and the names of its steps."""
    saga_id = parent.record.saga_id
    try:
        steps = _decode_start(parent.events[0].data).steps
    except (msgspec.DecodeError, UnicodeError, IndexError):  # its log cannot be read: ask the index
        page = await store.find(Filter(parent_id=saga_id), limit=1000)
        return [record.saga_id for record in page.records]
    return [f"{saga_id}:{step}" for step in steps]
