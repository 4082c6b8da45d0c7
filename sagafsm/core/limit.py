"""Limits: how many calls may be under way at once, and how often one may begin, for all workers together.

What must stay true: plain data. A limit is no part of a saga's shape: it may be changed while sagas run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from .errors import DefinitionError

if TYPE_CHECKING:
    from .definition import SagaDefinition
    from .step import Handler

_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")
BURST_TIME = 0.1  # seconds' worth of a rate that may come at once, where nobody says how many


@attrs.frozen
class Limit:
    """A bound on the calls of a step, which all workers on one store keep together.

    ``concurrency``: calls under way at once. ``rate``: calls begun per ``per`` seconds in the long run, of which
    ``burst`` may come at once (default: those of a tenth of a second, at least one). ``key``: a plain function with
    the parameters of the step's action; each of its values (text or a whole number) is bounded by itself. Limits of
    the same ``name`` are one; without a name a limit belongs to the function that it is given to.

    What is bounded are calls, retries included, from their beginning to their end: not the wait for a reply, nor a
    probe. A call that has to wait has not begun: it uses up no attempt, and no task.
    """

    name: str | None = None
    concurrency: int | None = attrs.field(default=None, kw_only=True)
    rate: float | None = attrs.field(default=None, kw_only=True)
    per: float = attrs.field(default=1.0, kw_only=True)
    burst: int | None = attrs.field(default=None, kw_only=True)
    key: Callable[..., Any] | None = attrs.field(default=None, kw_only=True, eq=False)


@attrs.frozen(kw_only=True)
class CallLimit:
    """A limit as the engine sees it: ``rate`` in calls per second. ``key`` None: the same for every saga."""

    name: str | None
    concurrency: int | None
    rate: float | None
    burst: int
    key: Handler | None = attrs.field(default=None, eq=False)


def call_limit(limit: Limit, key: Handler | None) -> CallLimit:
    """What a declared limit comes to."""
    rate = None if limit.rate is None else limit.rate / limit.per
    burst = limit.burst or max(1, math.floor((rate or 0.0) * BURST_TIME))
    return CallLimit(name=limit.name, concurrency=limit.concurrency, rate=rate, burst=burst, key=key)


def limit_problems(what: str, limit: Any) -> Iterator[str]:
    """What is wrong with a limit, said of the option ``what``."""
    if limit is None:
        return
    if not isinstance(limit, Limit):
        yield f"{what} takes a Limit, such as Limit(concurrency=5), got {limit!r}"
        return
    name: Any = limit.name
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"{what}: a limit's name is 1 to 80 of A-Z a-z 0-9 . _ -, got {name!r}"
    if limit.concurrency is None and limit.rate is None:
        yield f"{what} limits nothing; give it a concurrency, a rate, or both"
    for option in ("concurrency", "burst"):
        value = getattr(limit, option)
        if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            yield f"{what}: {option} is a whole number from 1 up, got {value!r}"
    for option in ("rate", "per"):
        value = getattr(limit, option)
        if value is not None and not (_is_number(value) and value > 0 and math.isfinite(value)):
            yield f"{what}: {option} is a number above 0, got {value!r}"
    if limit.rate is None and (limit.burst is not None or limit.per != 1.0):
        yield f"{what}: burst and per belong to a rate; give it one"


def check_limits(definitions: Iterable[SagaDefinition]) -> None:
    """Raise DefinitionError where two limits have the same name and say different things."""
    known: dict[str, tuple[CallLimit, str]] = {}
    for definition in definitions:
        for step in definition.steps.values():
            for handler in (step.action, step.compensation, step.fallback, step.fallback_compensation):
                limit = None if handler is None else handler.limit
                if limit is None or limit.name is None:
                    continue
                first, where = known.setdefault(limit.name, (limit, f"{definition.name}.{step.name}"))
                if first != limit:
                    raise DefinitionError(
                        f"two limits are named {limit.name!r} and differ, at {where} and at "
                        f"{definition.name}.{step.name}; give both the same numbers, or one of them another name"
                    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
