"""What the property tests are made of: choices, and saga definitions drawn from them.

Every choice is a number below a bound, and 0 is the calm one (no fault, the plain step). So Hypothesis shrinks towards
short and quiet runs, and a plain seed drives the very same code where speed matters more than shrinking.
"""

import random
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st

from sagafsm.core.declaration import Compensation, Fallback, Sleep, Step, SubSaga, WaitFor
from sagafsm.core.definition import SagaDefinition
from sagafsm.core.errors import DefinitionWarning
from sagafsm.core.retry import RetryPolicy

T = TypeVar("T")


class Choices:
    """Where a run gets its decisions from."""

    def __init__(self, below: Callable[[int], int]) -> None:
        self.below = below

    @classmethod
    def of_seed(cls, seed: int) -> "Choices":
        return cls(random.Random(seed).randrange)

    @classmethod
    def of_data(cls, data: st.DataObject) -> "Choices":
        numbers = {}

        def below(bound: int) -> int:
            if bound not in numbers:
                numbers[bound] = st.integers(0, bound - 1)
            return data.draw(numbers[bound])

        return cls(below)

    def one_of(self, *options: T) -> T:
        return options[self.below(len(options))] if len(options) > 1 else options[0]

    def chance(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent

    def weighted(self, options: Sequence[tuple[int, T]]) -> T:
        """One of the options, each as often as its weight says; 0 draws the first."""
        number = self.below(sum(weight for weight, _ in options))
        for weight, option in options:
            if number < weight:
                return option
            number -= weight
        raise AssertionError


def act() -> None: ...
def undo() -> None: ...
def other_way() -> None: ...
def undo_other_way() -> None: ...
def look() -> None: ...
def holds() -> bool: ...


CHILD = SagaDefinition(name="Child", steps=[Step("inside", act, compensation=undo)])


def policy(choose: Choices) -> RetryPolicy | None:
    if choose.chance(30):
        return None
    return RetryPolicy(
        max_attempts=choose.one_of(2, 1, 3, None),
        initial_interval=choose.one_of(0, 1, 7),
        backoff_coefficient=choose.one_of(1, 2),
        jitter=choose.one_of(0, 0.5),
        max_interruptions=choose.one_of(2, 0, 1),
    )


def definition(choose: Choices, *, most: int = 7) -> SagaDefinition:
    """Any definition that is accepted: graphs, pivots, fallbacks, waits, children, all options."""
    count = 1 + choose.below(most)
    pivot = choose.below(count) if choose.chance(40) else None
    names = [f"s{number}" for number in range(1, count + 1)]
    items = [_item(choose, names[:place], place, pivot) for place in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DefinitionWarning)
        return SagaDefinition(
            name="Drawn",
            steps=items,
            deadline=choose.one_of(None, None, 20, 60),
            retry=policy(choose),
            compensation_retry=policy(choose),
            on_compensation_failure=choose.one_of("continue", "stick"),
            parallel_compensation=choose.chance(35),
        )


def _item(choose: Choices, earlier: list[str], place: int, pivot: int | None):
    """One step. Beside a pivot nothing may run: what comes before it leads to it, what comes after it follows it."""
    name = f"s{place + 1}"
    if place == pivot:
        after = tuple(earlier)
        kind = "action"
    else:
        first = pivot if pivot is not None and place > pivot else 0
        possible = earlier[first:]
        after = _after(choose, possible, may_be_root=first == 0 and not (pivot is not None and place > pivot))
        kind = choose.weighted([(12, "action"), (1, "signal"), (1, "sleep"), (2, "child")])
    when = holds if choose.chance(10) else None
    before_pivot = pivot is None or place < pivot
    if kind == "signal":
        timeout = choose.one_of(None, 5, 30)
        continues = timeout is not None and choose.chance(40)
        return WaitFor(
            name,
            signal=choose.one_of("paper", "stone"),
            timeout=timeout,
            on_timeout="continue" if continues else "fail",
            after=after,
            when=when,
        )
    if kind == "sleep":
        return Sleep(name, choose.one_of(1, 10), after=after, when=when)
    if kind == "child":
        return SubSaga(name, CHILD, after=after, when=when, compensatable=not before_pivot or not choose.chance(15))
    return _step(choose, name, after, when, is_pivot=place == pivot, before_pivot=before_pivot)


def _after(choose: Choices, possible: list[str], *, may_be_root: bool) -> tuple[str, ...]:
    if not possible:
        return ()
    if choose.chance(45):
        chosen = tuple(name for name in possible if choose.chance(50))
        return chosen if chosen or may_be_root else (possible[-1],)
    return (possible[-1],)


def _step(choose: Choices, name: str, after: tuple[str, ...], when, *, is_pivot: bool, before_pivot: bool) -> Step:
    undoable = not choose.chance(15) if before_pivot else choose.chance(40 if is_pivot else 10)
    fallback = None
    if choose.chance(25):
        own = undo_other_way if undoable and choose.chance(50) else None
        fallback = Fallback(other_way, compensation=own, retry=policy(choose))
    probe = look if choose.chance(30) else None
    on_unknown = choose.one_of(
        None, *(["compensate"] if undoable else []), "stick", *(["probe"] if probe is not None else [])
    )
    return Step(
        name,
        act,
        compensation=(
            Compensation(undo, retry=policy(choose), awaits_reply=choose.chance(12), timeout=choose.one_of(None, 5))
            if undoable
            else None
        ),
        fallback=fallback,
        probe=probe,
        after=after,
        when=when,
        retry=policy(choose),
        timeout=choose.one_of(None, 5),
        pivot=is_pivot,
        compensatable=undoable or is_pivot or not before_pivot,
        on_unknown=on_unknown,
        idempotent=not choose.chance(15),
        compensate_failed=undoable and choose.chance(12),
        awaits_reply=choose.chance(15),
    )
