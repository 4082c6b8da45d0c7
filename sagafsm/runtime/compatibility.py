"""Whether new code fits the sagas that are there: which go on, which a map could carry over, which must drain.

What must stay true: it only looks, and never makes a store remember the new definitions. A saga goes on exactly where
its definition is among those given; for every other one the reason is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import msgspec

from ..core.codec import decode_snapshot, replay
from ..core.compatibility import Change, Shape, changes_between, guessed_map, obstacles
from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput, StoreCorrupt, StoreTooNew
from ..core.progress import Progress
from ..declare import definition_of
from ..store import Filter, Record, Store, StoredSaga
from .session import Definable

PAGE = 500
EXAMPLES = 5
FORMAT = 1

Fate = Literal["goes on", "needs a map", "must drain"]


@attrs.frozen(kw_only=True)
class Group:
    """Live sagas of one definition with one fate. ``because``: why; ``examples``: some of their ids."""

    kind: str
    fate: Fate
    count: int
    because: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Known:
    """One definition that the store (or the file) remembers, held against the code.

    ``now``: the definition of the same name in the code, if any; ``changes``: what is different in it; ``map``: its
    skeleton of a migration map: the new name of each old step (None: there is none).
    """

    kind: str
    name: str
    version: int
    now: str | None
    changes: tuple[Change, ...] = ()
    map: Mapping[str, str | None] = {}

    @property
    def registered(self) -> bool:
        """Whether the code has exactly this definition."""
        return self.now == self.kind

    @property
    def same_version(self) -> bool:
        """Whether the shape was changed and the version was not."""
        return not self.registered and self.now is not None and _version(self.now) == self.version


@attrs.frozen(kw_only=True)
class Compatibility:
    """What new code means for the sagas that are there. ``live``: sagas were looked at, not only definitions."""

    known: Sequence[Known]
    added: Sequence[str]
    groups: Sequence[Group] = ()
    live: bool = False

    @property
    def ok(self) -> bool:
        """Whether every saga goes on: no live one is left alone, and no shape was changed under its old version.

        Without a store nobody knows what lives: then every definition of the file must still be there.
        """
        if any(one.same_version for one in self.known):
            return False
        if self.live:
            return all(group.fate == "goes on" for group in self.groups)
        return all(one.registered for one in self.known)

    def count(self, fate: Fate) -> int:
        """How many live sagas have this fate."""
        return sum(group.count for group in self.groups if group.fate == fate)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": self.ok,
            "definitions": [
                {
                    "kind": one.kind,
                    "registered": one.registered,
                    "now": one.now,
                    "same_version": one.same_version,
                    "changes": [change.to_dict() for change in one.changes],
                    "map": dict(one.map),
                }
                for one in self.known
            ],
            "added": list(self.added),
            "live": [attrs.asdict(group) for group in self.groups] if self.live else None,
        }


# --- shapes ---


def shapes_of(sagas: Iterable[Definable]) -> dict[str, Shape]:
    """The shapes of these sagas and of their sub-sagas, by kind."""
    found: dict[str, Shape] = {}
    queue: list[SagaDefinition] = [definition_of(saga) for saga in sagas]
    for definition in queue:  # grows by the sub-sagas
        if definition.kind not in found:
            found[definition.kind] = definition.shape
            queue.extend(step.child for step in definition.steps.values() if step.child is not None)
    return found


def write_shapes(path: Path, sagas: Iterable[Definable]) -> int:
    """Write the shapes to a file that :func:`compare_shapes` takes, to be kept under version control; how many."""
    shapes = shapes_of(sagas)
    document = {"format": FORMAT, "shapes": dict(sorted(shapes.items()))}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return len(shapes)


def read_shapes(path: Path) -> dict[str, Shape]:
    """The shapes of a file. Raises InvalidInput."""
    try:
        document = msgspec.json.decode(path.read_bytes())
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except msgspec.DecodeError as exc:
        raise InvalidInput(f"{path} is not JSON: {exc}") from exc
    shapes = document.get("shapes") if isinstance(document, dict) and document.get("format") == FORMAT else None
    if not isinstance(shapes, dict) or not all(_is_shape(shape) for shape in shapes.values()):
        raise InvalidInput(
            f"{path} holds no shapes; `sagafsm check-compat MODULE --write-shapes FILE` writes such a file"
        )
    return shapes


def _is_shape(shape: object) -> bool:
    if (
        not isinstance(shape, dict)
        or not isinstance(shape.get("name"), str)
        or not isinstance(shape.get("version"), int)
    ):
        return False
    steps = shape.get("steps")
    return isinstance(steps, list) and all(
        isinstance(step, dict) and isinstance(step.get("name"), str) for step in steps
    )


def compare_shapes(old: Mapping[str, Shape], sagas: Iterable[Definable]) -> Compatibility:
    """Hold definitions against remembered shapes, without a store."""
    new = shapes_of(sagas)
    known = [_known(kind, shape, new) for kind, shape in sorted(old.items())]
    return Compatibility(known=known, added=[kind for kind in new if kind not in old])


def _known(kind: str, shape: Shape, new: Mapping[str, Shape]) -> Known:
    name, version = str(shape["name"]), int(shape["version"])
    now = kind if kind in new else _successor(name, version, new)
    if now is None or now == kind:
        return Known(kind=kind, name=name, version=version, now=now)
    return Known(
        kind=kind,
        name=name,
        version=version,
        now=now,
        changes=tuple(changes_between(shape, new[now])),
        map=guessed_map(shape, new[now]),
    )


def _successor(name: str, version: int, new: Mapping[str, Shape]) -> str | None:
    """The definition of that name in the code: the same version, else the next one."""
    versions = {int(shape["version"]): kind for kind, shape in new.items() if shape["name"] == name}
    later = sorted(one for one in versions if one >= version)
    return versions[later[0]] if later else versions[max(versions)] if versions else None


def _version(kind: str) -> int:
    found = kind.rpartition("#")[0].rpartition("@")[2]
    return int(found) if found.isdigit() else 0


# --- live sagas ---


async def check_compatibility(
    store: Store, sagas: Iterable[Definable], *, told: Callable[[int, int], None] = lambda seen, total: None
) -> Compatibility:
    """Hold definitions against what an open store remembers, and against every live saga in it.

    Live sagas whose definition the code has are counted; of the others each is read, a page at a time. ``told`` is
    called with how many were looked at, and how many there are. Raises what the store raises.
    """
    sagas = list(sagas)
    old = {kind: _decoded(kind, data) for kind, data in (await store.definitions()).items()}
    counts = [count for count in await store.counts() if count.state not in ("completed", "failed")]
    total, seen = sum(count.count for count in counts), 0
    report = compare_shapes(old, sagas)
    survey = _Survey(old, shapes_of(sagas))
    cursor: str | None = None
    while True:
        page = await store.find(Filter(live=True), cursor=cursor, limit=PAGE)
        unknown = [record.saga_id for record in page.records if record.kind not in survey.new]
        stored = await store.load(unknown) if unknown else {}
        for record in page.records:
            survey.add(record, stored.get(record.saga_id))
        seen, cursor = seen + len(page.records), page.cursor
        told(seen, max(seen, total))
        if cursor is None:
            return attrs.evolve(report, groups=survey.groups(), live=True)


def _decoded(kind: str, data: bytes) -> Shape:
    try:
        shape = msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise StoreCorrupt(f"the shape of {kind} cannot be read: {exc}") from exc
    if not _is_shape(shape):
        raise StoreCorrupt(f"the shape of {kind} does not have the right form")
    found: Shape = shape
    return found


class _Survey:
    """Counts live sagas by definition, fate and reason."""

    def __init__(self, old: Mapping[str, Shape], new: Mapping[str, Shape]) -> None:
        self.new = new
        self._old = old
        self._counts: Counter[tuple[str, Fate, tuple[str, ...]]] = Counter()
        self._examples: dict[tuple[str, Fate, tuple[str, ...]], list[str]] = {}

    def add(self, record: Record, stored: StoredSaga | None) -> None:
        if record.kind in self.new:
            fate: Fate = "goes on"
            because: tuple[str, ...] = ()
        elif stored is None:
            return  # it was purged meanwhile
        else:
            fate, because = self._fate(record.kind, stored)
        key = (record.kind, fate, because)
        self._counts[key] += 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < EXAMPLES:
            examples.append(record.saga_id)

    def _fate(self, kind: str, stored: StoredSaga) -> tuple[Fate, tuple[str, ...]]:
        old = self._old.get(kind)
        if old is None:
            return "must drain", ("the store does not remember its definition",)
        successor = _successor(str(old["name"]), int(old["version"]), self.new)
        if successor is None:
            return "must drain", (f"the code has no {old['name']} any more",)
        try:
            progress = _progress(stored)
        except (StoreCorrupt, StoreTooNew) as exc:
            return "must drain", (f"it cannot be read: {type(exc).__name__}",)
        found = obstacles(old, self.new[successor], progress)
        return ("must drain", tuple(found)) if found else ("needs a map", (f"it could go on as {_title(successor)}",))

    def groups(self) -> list[Group]:
        order: dict[Fate, int] = {"must drain": 0, "needs a map": 1, "goes on": 2}
        found = sorted(self._counts.items(), key=lambda item: (order[item[0][1]], item[0][0], -item[1]))
        return [
            Group(kind=key[0], fate=key[1], count=count, because=key[2], examples=tuple(self._examples[key]))
            for key, count in found
        ]


def _progress(stored: StoredSaga) -> Progress:
    saga_id, snapshot = stored.record.saga_id, stored.snapshot
    start = None if snapshot is None else decode_snapshot(saga_id, snapshot.data)
    return replay(saga_id, stored.events, start)


def _title(kind: str) -> str:
    name, _, rest = kind.partition("@")
    return f"{name} version {rest.partition('#')[0]}"
