"""The search: every state that can be reached, those with the fewest faults first, and the way to each.

What must stay true: a state is expanded once, by a path with the fewest faults to it, and of those the shortest; what
was not expanded is counted and said. An expanded state keeps only how it was reached: a path is played again when it
is to be shown.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Hashable, Iterator

import attrs

from ...core.definition import SagaDefinition
from .bounds import Bounds, outline
from .moves import PERSONS, Move, moves
from .play import Answer, Failed, Played, play
from .state import State, initial, key_of

TELL_EVERY = 500


@attrs.define(slots=True, eq=False)
class Node:
    """One state: how it was first reached, and what it can lead to."""

    parent: int
    move: Move | None
    answers: tuple[tuple[str, Answer], ...]
    faults: int
    depth: int
    resting: bool
    ended: bool
    state: State | None = None
    expanded: bool = False
    cut: bool = False  # some of what it can lead to has more faults than was asked for
    calm: list[int] = attrs.field(factory=list)
    led: list[int] = attrs.field(factory=list)  # by a person


@attrs.frozen(kw_only=True)
class Explored:
    """What was seen so far. ``waiting``: states that were reached and not looked at."""

    states: int
    transitions: int
    waiting: int
    faults: int
    depth: int
    seconds: float
    complete: bool
    faults_done: int | None
    """Every path with at most so many faults was followed to its end (None: not even those without any)."""


class Exploration:
    """The states of one saga. ``watch`` is shown every transition, with the number of the state it leads to."""

    def __init__(
        self,
        definition: SagaDefinition,
        bounds: Bounds,
        watch: Callable[[int, Played], None],
        told: Callable[[Explored], None] = lambda explored: None,
    ) -> None:
        self.definition = outline(definition, bounds)
        self.bounds = bounds
        self.nodes: list[Node] = []
        self.transitions = 0
        self.failed: tuple[int, Failed] | None = None
        self._watch = watch
        self._told = told
        self._known: dict[Hashable, int] = {}
        self._queue: list[tuple[int, int, int, int]] = []
        self._order = itertools.count()
        self._began = time.monotonic()
        self._expanded = 0

    def run(self) -> Explored:
        """Look at everything within the bounds, or until a law is broken."""
        self._reach(initial(self.definition), -1, None)
        while self._queue:
            if self._expanded >= self.bounds.states or self.seconds > self.bounds.seconds:
                break
            faults, depth, _, number = heapq.heappop(self._queue)
            node = self.nodes[number]
            if node.expanded or (node.faults, node.depth) != (faults, depth):
                continue
            try:
                self._expand(number, node)
            except Failed as failed:
                self.failed = (number, failed)
                break
            if self._expanded % TELL_EVERY == 0:
                self._told(self.explored())
        found = self.explored()
        self._told(found)
        return found

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    def explored(self) -> Explored:
        """What was seen so far."""
        waiting = [node for node in self.nodes if not node.expanded]
        expanded = [node for node in self.nodes if node.expanded]
        least = min((node.faults for node in waiting), default=None)
        done = self.bounds.faults if least is None else least - 1
        return Explored(
            states=len(expanded),
            transitions=self.transitions,
            waiting=len(waiting),
            faults=max((node.faults for node in expanded), default=0),
            depth=max((node.depth for node in expanded), default=0),
            seconds=self.seconds,
            complete=not waiting and self.failed is None and not any(node.cut for node in expanded),
            faults_done=None if done is not None and done < 0 else done,
        )

    def _expand(self, number: int, node: Node) -> None:
        state = node.state
        assert state is not None  # noqa: S101 - only expanded states give theirs up
        node.expanded, node.state = True, None
        self._expanded += 1
        for move in moves(self.definition, state, self.bounds):
            for played in play(self.definition, state, move, self.bounds):
                self.transitions += 1
                faults = node.faults + played.faults
                if self.bounds.faults is not None and faults > self.bounds.faults:
                    node.cut = True
                    continue
                reached = self._reach(played.state, number, played)
                self._watch(reached, played)
                if not played.faults:
                    node.calm.append(reached)
                if not played.faults or move.kind in PERSONS or (move.kind == "reply" and state.progress.stuck):
                    node.led.append(reached)

    def _reach(self, state: State, parent: int, played: Played | None) -> int:
        key = key_of(self.definition, state)
        above = self.nodes[parent] if played is not None else None
        faults = 0 if above is None or played is None else above.faults + played.faults
        depth = 0 if above is None else above.depth + 1
        number = self._known.get(key)
        if number is not None:
            node = self.nodes[number]
            if node.expanded or (node.faults, node.depth) <= (faults, depth):
                return number
        progress = state.progress
        made = Node(
            parent=parent,
            move=None if played is None else played.move,
            answers=() if played is None else played.answers,
            faults=faults,
            depth=depth,
            resting=progress.state.terminal or progress.stuck,
            ended=progress.state.terminal,
            state=state,
        )
        if number is None:
            number = self._known[key] = len(self.nodes)
            self.nodes.append(made)
        else:
            self.nodes[number] = made
        heapq.heappush(self._queue, (faults, depth, next(self._order), number))
        return number

    # --- paths ---

    def way_to(self, number: int) -> list[tuple[Move, tuple[tuple[str, Answer], ...]]]:
        """The moves that lead to a state, and what the conditions answered on the way."""
        way: list[tuple[Move, tuple[tuple[str, Answer], ...]]] = []
        while number >= 0:
            node = self.nodes[number]
            if node.move is not None:
                way.append((node.move, node.answers))
            number = node.parent
        return way[::-1]

    def replay(self, way: list[tuple[Move, tuple[tuple[str, Answer], ...]]]) -> Iterator[Played]:
        """The moves of a path, played again. Raises Failed where the last of them breaks a law."""
        state = initial(self.definition)
        for move, answers in way:
            wanted = next(
                one for one in play(self.definition, state, move, self.bounds) if one.answers[: len(answers)] == answers
            )
            state = wanted.state
            yield wanted

    # --- ends ---

    def never_ending(self) -> int | None:
        """A state from which, although nothing goes wrong any more, no end and no person is reached; None: none."""
        return self._cannot_reach(lambda node: node.resting, lambda node: node.calm)

    def hopeless(self) -> int | None:
        """A state from which nobody can bring the saga to an end, whatever is decided; None: none."""
        return self._cannot_reach(lambda node: node.ended, lambda node: node.led)

    def _cannot_reach(self, goal: Callable[[Node], bool], ways: Callable[[Node], list[int]]) -> int | None:
        """The first state from which no way leads to a goal; what was not looked at counts as one."""
        before: list[list[int]] = [[] for _ in self.nodes]
        for number, node in enumerate(self.nodes):
            for target in ways(node):
                before[target].append(number)
        good = [number for number, node in enumerate(self.nodes) if goal(node) or not node.expanded or node.cut]
        seen = set(good)
        while good:
            for number in before[good.pop()]:
                if number not in seen:
                    seen.add(number)
                    good.append(number)
        bad = [number for number in range(len(self.nodes)) if number not in seen]
        return min(bad, key=lambda number: (self.nodes[number].faults, self.nodes[number].depth), default=None)
