"""The logs of a saga and of its sub-sagas as one story.

What must stay true: each log keeps its order; what a sub-saga does comes after its parent made it do so, and before its
parent hears of it, also where clocks show the same instant for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from ...core import events as e
from ...core.definition import SagaDefinition
from ..account import Entry


@attrs.frozen(kw_only=True)
class Log:
    """The log of one saga. ``step``: the path of steps that leads to it from the saga that is told, "" for that one."""

    definition: SagaDefinition
    entries: Sequence[Entry]
    step: str = ""


def merged(logs: Sequence[Log]) -> Iterator[tuple[int, Entry]]:
    """Every entry, with the number of its log, in the order in which things happened."""
    merging = _Merging(logs)
    while (following := merging.next()) is not None:
        yield following


class _Merging:
    def __init__(self, logs: Sequence[Log]) -> None:
        self._logs = logs
        self._places = [0] * len(logs)
        self._numbers = {log.step: number for number, log in enumerate(logs)}
        self._begun: set[tuple[int, str]] = set()  # (log, step): its sub-saga was asked for
        self._undone: set[tuple[int, str]] = set()  # its undoing was
        self._turned: set[int] = set()  # logs that turned back, or were asked to
        self._ended: set[int] = set()

    def next(self) -> tuple[int, Entry] | None:
        heads = [
            (number, log.entries[self._places[number]]) for number, log in enumerate(self._logs) if self._left(number)
        ]
        if not heads:
            return None
        free = [head for head in heads if self._may(*head)] or heads
        number, entry = min(free, key=lambda head: (head[1].at, -head[0]))
        self._places[number] += 1
        self._note(number, entry.event)
        return number, entry

    def _left(self, number: int) -> bool:
        return self._places[number] < len(self._logs[number].entries)

    def _note(self, number: int, event: e.SagaEvent) -> None:
        if isinstance(event, e.AttemptStarted):
            self._begun.add((number, event.step))
        elif isinstance(event, e.CompensationAttemptStarted):
            self._undone.add((number, event.step))
        elif isinstance(
            event, e.AbortRequested | e.DeadlineExpired | e.CompensationStarted | e.StepFailed | e.StepUnknown
        ):
            self._turned.add(number)
        if isinstance(event, e.SagaCompleted | e.SagaFailed):
            self._ended.add(number)
        elif isinstance(event, e.CompensationStarted):
            self._ended.discard(number)

    def _may(self, number: int, entry: Entry) -> bool:
        """Whether what this entry follows from has happened."""
        event = entry.event
        above, _, step = self._logs[number].step.rpartition(":")
        if self._logs[number].step:
            parent = self._numbers.get(above, 0)
            if isinstance(event, e.SagaStarted):
                return (parent, step) in self._begun
            if isinstance(event, e.CompensationStarted) and event.undo:
                return (parent, step) in self._undone
            if isinstance(event, e.AbortRequested) and event.actor is None and event.outcome == "compensated":
                return parent in self._turned
        child = self._child(number, getattr(event, "step", None))
        if child is None:
            return True
        if isinstance(event, e.StepSucceeded | e.StepFailed) and event.attempt is not None:
            return child in self._ended or not self._left(child)
        if isinstance(event, e.StepCompensated):
            return child in self._ended or not self._left(child)
        return True

    def _child(self, number: int, step: str | None) -> int | None:
        """The log of a step's sub-saga."""
        if step is None:
            return None
        path = self._logs[number].step
        return self._numbers.get(f"{path}:{step}" if path else step)
