"""Many inputs, one saga each: reading them, running them a few at a time, counting what they came to.

What must stay true: every line is checked before the first saga starts. The id of a saga follows from its line, so a
batch that was cut off is run again with the same command: what exists is not started twice.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import attrs
import msgspec

from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput, OutcomeUnknown, SagaError, StoreUnavailable
from ..core.instance import SagaInstance
from ..core.payload import NotReadable, NotStorable, decode, encode
from ..runtime.orchestrator import Orchestrator
from ..store import check_id
from .exits import Exit
from .opening import error_of
from .operating import refuse_unknown

COMPLAINTS = 10
NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._:-]+")


@attrs.frozen
class Input:
    """One line: the saga's id and input."""

    line: int
    saga_id: str
    data: Any


@attrs.frozen(kw_only=True)
class Lines:
    """How lines become inputs. ``id_field``: the field that holds the id; else it is ``prefix`` + line number."""

    definition: SagaDefinition
    id_field: str | None
    prefix: str
    limit: int

    def read(self, lines: Iterable[bytes]) -> Iterator[Input]:
        """The inputs. Raises InvalidInput at the first line that is none."""
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield self.input(number, line)

    def input(self, number: int, line: bytes) -> Input:
        """One input. Raises InvalidInput."""
        try:
            data = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise InvalidInput(f"line {number} is no JSON: {exc}") from exc
        try:
            decode(encode(data, what="it", limit=self.limit), self.definition.input)
        except (NotReadable, NotStorable) as exc:
            raise InvalidInput(f"line {number} is no input of {self.definition.name}: {exc}") from exc
        return Input(number, self._id(number, data), data)

    def _id(self, number: int, data: Any) -> str:
        if self.id_field is None:
            return check_id(f"{self.prefix}{number}")
        value = data.get(self.id_field) if isinstance(data, dict) else None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"line {number} has no text or whole number in {self.id_field!r} to be the saga's id")
        try:
            return check_id(f"{self.prefix}{value}")
        except InvalidInput as exc:
            raise InvalidInput(f"line {number}: {exc}") from exc

    def check(self, lines: Iterable[bytes]) -> int:
        """Look at every line; return how many inputs there are. Raises InvalidInput, with all that is wrong."""
        complaints: list[str] = []
        wrong = 0
        seen: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                found = self.input(number, line)
                if found.saga_id in seen:
                    raise InvalidInput(f"line {number} has the id of line {seen[found.saga_id]}: {found.saga_id}")
                seen[found.saga_id] = number
            except InvalidInput as exc:
                wrong += 1
                complaints += [str(exc)] if wrong <= COMPLAINTS else []
        if wrong:
            more = [f"… and {wrong - COMPLAINTS} more"] if wrong > COMPLAINTS else []
            raise InvalidInput("\n  ".join([f"nothing was started, {wrong} lines cannot be used:", *complaints, *more]))
        if not seen:
            raise InvalidInput("there are no inputs: write one JSON value a line")
        return len(seen)


def prefix_for(definition: SagaDefinition, name: str) -> str:
    """What ids begin with where nothing else was asked for: the saga, and the name of the file."""
    return NOT_IN_AN_ID.sub("-", f"{definition.name}-{name}-")


@attrs.frozen(kw_only=True)
class NotCompleted:
    """One input that did not come to a completed saga, and why."""

    line: int
    saga_id: str
    outcome: str
    error: str | None


@attrs.define
class Tally:
    """What the sagas of a batch came to."""

    total: int
    outcomes: Counter[str] = attrs.field(factory=Counter)
    not_completed: list[NotCompleted] = attrs.field(factory=list)
    existed: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """How many inputs have been seen to their end."""
        return sum(self.outcomes.values())

    @property
    def exit(self) -> Exit:
        """The exit code: what is most urgent."""
        if self.outcomes["stuck"] or self.outcomes["suspended"]:
            return Exit.STUCK
        if self.outcomes["refused"]:
            return Exit.REFUSED
        return Exit.FAILED if any(outcome.startswith("failed") for outcome in self.outcomes) else Exit.OK

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "total": self.total,
            "ended": self.ended,
            "existed": self.existed,
            "seconds": round(self.seconds, 3),
            "outcomes": dict(self.outcomes),
            "not_completed": [attrs.asdict(one) for one in self.not_completed],
        }

    def add(self, given: Input, saga: SagaInstance) -> None:
        """A saga has come to rest."""
        outcome = outcome_of(saga)
        self.outcomes[outcome] += 1
        if outcome != "completed":
            why = saga.stuck_reason if saga.stuck else str(saga.error) if saga.error else None
            self._note(given, outcome, why)

    def refuse(self, given: Input, error: SagaError) -> None:
        """An input was not accepted."""
        self.outcomes["refused"] += 1
        self._note(given, "refused", str(error))

    def _note(self, given: Input, outcome: str, error: str | None) -> None:
        self.not_completed.append(NotCompleted(line=given.line, saga_id=given.saga_id, outcome=outcome, error=error))


def outcome_of(saga: SagaInstance) -> str:
    """What a saga came to, in a word or two."""
    if saga.stuck:
        return "stuck"
    if saga.suspended and not saga.state.terminal:
        return "suspended"
    if saga.state.terminal:
        return f"{saga.state.value} ({saga.outcome})" if saga.outcome else saga.state.value
    return "waiting"


async def run_batch(
    orchestrator: Orchestrator,
    definition: SagaDefinition,
    inputs: Iterator[Input],
    tally: Tally,
    *,
    concurrency: int,
    told: Callable[[], None],
) -> None:
    """Run one saga per input, so many at a time; ``told`` after each. Raises what the store raises."""
    began = time.monotonic()

    async def lane() -> None:
        for given in inputs:
            try:
                handle = await orchestrator.start(definition, given.data, saga_id=given.saga_id)
                if not handle.created:
                    tally.existed += 1
                    refuse_unknown(orchestrator, await handle.instance())
                tally.add(given, await orchestrator.execute(given.saga_id))
            except (StoreUnavailable, OutcomeUnknown):
                raise
            except SagaError as exc:
                tally.refuse(given, exc)
            tally.seconds = time.monotonic() - began
            told()

    try:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(concurrency):
                lanes.create_task(lane())
    except BaseExceptionGroup as group:
        raise error_of(group) from group
    finally:
        tally.seconds = time.monotonic() - began


def rewound(file: BinaryIO) -> Iterable[bytes]:
    """The lines of a file from its beginning."""
    file.seek(0)
    return file
