"""The world beside an explored saga: which effects may stand, by what its participants said.

What must stay true: participants never lie. "Rejected" is said of what did not and will not happen under its key, so
it settles earlier attempts too; "failed" only of the attempt it is about; everything else leaves the outcome open.
"""

from __future__ import annotations

from typing import NoReturn

from ...core.commands import Call, OutcomeKind, Role
from ...core.definition import SagaDefinition
from ...core.lifecycle import SagaState, StepState
from ...core.progress import Progress
from ...core.step import StepKind
from ..laws import Broken
from .state import Effect

K = OutcomeKind


class World:
    """The effects that may stand: by the ``current`` call of a step, or by an ``earlier`` one."""

    def __init__(self, definition: SagaDefinition, current: frozenset[Effect], earlier: frozenset[Effect]) -> None:
        self._definition = definition
        self.current = set(current)
        self.earlier = set(earlier)

    def begins(self, call: Call) -> None:
        """A new call: what the last one left open, no word about this one will settle."""
        effect = (call.step, call.via)
        if call.role is Role.FORWARD and effect in self.current:
            self.current.remove(effect)
            self.earlier.add(effect)

    def lost(self, call: Call) -> None:
        """Nobody will tell how this call ended."""
        if call.role is Role.FORWARD:
            self.current.add((call.step, call.via))

    def said(self, step: str, via: str, role: Role, kind: OutcomeKind, *, happened: bool = True, call: bool) -> None:
        """How a call (or a reply) says that it ended."""
        effect: Effect = (step, via)
        if role is Role.BACKWARD:
            if kind is K.SUCCEEDED and not (call and self._hands_over(step, via)):
                self._forget(effect)
        elif kind is K.REJECTED or not happened:
            self._forget(effect)
        elif kind is K.SUCCEEDED or (kind is K.UNKNOWN and role is Role.FORWARD):
            self.current.add(effect)
        elif role is Role.FORWARD:
            self.current.discard(effect)

    def _hands_over(self, step: str, via: str) -> bool:
        """Whether the end of this compensation's call is not yet the end of the undoing."""
        spec = self._definition.steps[step]
        handler = spec.backward(via)
        return spec.kind is StepKind.CHILD or (handler is not None and handler.awaits_reply)

    def _forget(self, effect: Effect) -> None:
        self.current.discard(effect)
        self.earlier.discard(effect)

    def check(self, progress: Progress) -> None:
        """Once a saga has ended, what stands is what its log says. Raises Broken."""
        if not progress.state.terminal:
            return
        for effect in self.current | self.earlier:
            name, via = effect
            if not self._is_accounted_for(progress, name, via):
                state = progress.steps[name].state.value
                _broken(f"{name} ({via}) may stand, but the saga is {progress.state.value}, and the step {state}")

    def _is_accounted_for(self, progress: Progress, name: str, via: str) -> bool:
        step = progress.steps[name]
        stays = progress.state is SagaState.COMPLETED or name not in self._definition.undoable
        if step.waived:
            return True
        if step.state in (StepState.SKIPPED, StepState.UNKNOWN):  # passed over by a person, or nobody can undo it
            return stays
        return step.state is StepState.SUCCEEDED and step.via == via and stays


def _broken(problem: str) -> NoReturn:
    raise Broken("net effect", problem)
