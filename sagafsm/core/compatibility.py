"""Whether sagas that were started with one definition fit another: shapes compared, and one saga's progress with them.

What must stay true: pure, and only about shapes, which is all that a running saga depends on. A saga fits where what
it has been through is the same in both, under the names of a map; what lies ahead of it may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from .lifecycle import SagaState, StepState
from .progress import Progress

Shape = Mapping[str, Any]
What = Literal["added", "removed", "renamed", "changed", "reordered", "saga"]


@attrs.frozen(kw_only=True)
class Change:
    """One difference between two shapes. ``step``: its name in the new one (in the old one, where it was removed)."""

    what: What
    step: str
    detail: str
    was: str | None = None

    def __str__(self) -> str:
        return self.detail

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return attrs.asdict(self)


def steps_of(shape: Shape) -> dict[str, Shape]:
    """The facts about each step, by name."""
    return {str(facts["name"]): facts for facts in shape.get("steps", ())}


def guessed_map(old: Shape, new: Shape) -> dict[str, str | None]:
    """Which step of the new shape each old one became; None: none of them.

    The same name, or else the same facts at the same place under another name.
    """
    before, after = steps_of(old), steps_of(new)
    found: dict[str, str | None] = {name: name if name in after else None for name in before}
    free = [name for name in after if name not in before]
    for name in [name for name, became in found.items() if became is None]:
        for candidate in free:
            if _alike(before[name], after[candidate], found):
                found[name] = candidate
                free.remove(candidate)
                break
    return found


def _alike(old: Shape, new: Shape, renamed: Mapping[str, str | None]) -> bool:
    before = {**old, "name": "", "after": sorted(renamed.get(name) or name for name in old.get("after", ()))}
    return before == {**new, "name": "", "after": sorted(new.get("after", ()))}


def changes_between(old: Shape, new: Shape) -> list[Change]:
    """What is different, in the order of the steps."""
    return [*_saga_changes(old, new), *_step_changes(old, new)]


def _saga_changes(old: Shape, new: Shape) -> Iterator[Change]:
    for option in ("on_compensation_failure", "parallel_compensation"):
        if old.get(option) != new.get(option):
            detail = f"{option} was {old.get(option)!r} and is {new.get(option)!r}"
            yield Change(what="saga", step="", detail=detail)


def _step_changes(old: Shape, new: Shape) -> Iterator[Change]:
    before, after = steps_of(old), steps_of(new)
    became = guessed_map(old, new)
    came_from = {target: name for name, target in became.items() if target is not None}
    for name, target in became.items():
        if target is None:
            yield Change(what="removed", step=name, detail=f"step {name} was removed")
    for name, facts in after.items():
        was = came_from.get(name)
        if was is None:
            yield Change(what="added", step=name, detail=f"step {name} was added")
            continue
        if was != name:
            yield Change(what="renamed", step=name, was=was, detail=f"step {was} seems to be called {name} now")
        different = _different(before[was], facts)
        if different:
            yield Change(what="changed", step=name, was=was, detail=f"step {name}: {'; '.join(different)}")
        waits, waited = sorted(facts.get("after", ())), _renamed(before[was].get("after", ()), became)
        if waits != waited:
            detail = f"step {name} came after {_names(waited)} and comes after {_names(waits)}"
            yield Change(what="reordered", step=name, was=was, detail=detail)


def _different(old: Shape, new: Shape) -> list[str]:
    """The facts about a step that differ; its name and its place are told elsewhere."""
    keys = [key for key in {**old, **new} if key not in ("name", "after")]
    return [
        f"{key} was {_shown(old.get(key))} and is {_shown(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _shown(value: object) -> str:
    return "False" if value is None else repr(value)


def _renamed(names: Sequence[str], became: Mapping[str, str | None]) -> list[str]:
    return sorted(became.get(name) or name for name in names)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def obstacles(old: Shape, new: Shape, progress: Progress) -> list[str]:
    """Why this saga could not go on with the new shape, even if its steps were renamed; none: it could.

    What it has been through must be there and the same, and what now comes before it must be done.
    """
    before, after = steps_of(old), steps_of(new)
    became = guessed_map(old, new)
    touched = {name for name, step in progress.steps.items() if step.state is not StepState.WAITING}
    found: list[str] = []
    for name in progress.steps:
        if name not in touched:
            continue
        target = became.get(name)
        if target is None or name not in before:
            found.append(f"it has been through step {name}, which was removed")
            continue
        different = _different(before[name], after[target])
        if different:
            found.append(f"it has been through step {name}, which was changed: {'; '.join(different)}")
        if progress.state is not SagaState.COMPENSATING:
            found += _skipped(name, target, after, became, progress)
    found += [str(change) for change in _saga_changes(old, new) if progress.state is SagaState.COMPENSATING]
    return found


def _skipped(
    name: str, target: str, after: Mapping[str, Shape], became: Mapping[str, str | None], progress: Progress
) -> Iterator[str]:
    """The steps that now come before one that has begun, and that the saga never did."""
    done = {became.get(other) for other, step in progress.steps.items() if step.done}
    for earlier in after[target].get("after", ()):
        if earlier not in done:
            yield f"it has begun step {name}, which now comes after {earlier}"
