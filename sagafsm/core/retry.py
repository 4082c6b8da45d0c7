"""How often a call is made and how long the saga waits in between.

What must stay true: pure arithmetic. The random part is handed in by the caller, so that a simulated run can be
repeated, and a policy can be compared, stored in a definition and shared between steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import attrs

from .errors import DefinitionError


def _exception_types(value: type[BaseException] | Sequence[type[BaseException]]) -> tuple[type[BaseException], ...]:
    if isinstance(value, type):
        return (value,)
    given: Any = value
    return tuple(given) if isinstance(given, Sequence) else (given,)


@attrs.frozen
class RetryPolicy:
    """When a failed call is made again. The names are Temporal's.

    ``max_attempts`` is the total number of calls that came to an end (``None``: without end). Waits are in seconds:
    ``initial_interval``, multiplied by ``backoff_coefficient`` each time, never above ``maximum_interval`` (or
    ``initial_interval``, where that is longer), spread by ``jitter`` (0.1: up to 10 % more or less).
    ``non_retryable``: exception types that count as :class:`~sagafsm.Rejected`. ``max_interruptions``: how often a
    call cut short by the end of its process is made again before its outcome counts as unknown.

    Raises :class:`~sagafsm.DefinitionError` for values that make no sense.
    """

    max_attempts: int | None = 3
    initial_interval: float = 1.0
    backoff_coefficient: float = 2.0
    maximum_interval: float = 60.0
    jitter: float = 0.1
    non_retryable: tuple[type[BaseException], ...] = attrs.field(default=(), converter=_exception_types)
    max_interruptions: int = 10

    def __attrs_post_init__(self) -> None:
        for wrong in self._not_numbers():
            raise DefinitionError(f"RetryPolicy: {wrong}")
        for problem in (
            self.max_attempts is not None and self.max_attempts < 1 and "max_attempts must be at least 1 (or None)",
            self.initial_interval < 0 and "initial_interval must not be negative",
            self.backoff_coefficient < 1 and "backoff_coefficient must be at least 1",
            self.maximum_interval < 0 and "maximum_interval must not be negative",
            not 0 <= self.jitter <= 1 and "jitter must be between 0 and 1",
            self.max_interruptions < 0 and "max_interruptions must not be negative",
        ):
            if problem:
                raise DefinitionError(f"RetryPolicy: {problem}; got {self}")
        for kind in self.non_retryable:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise DefinitionError(f"RetryPolicy: non_retryable takes exception types, got {kind!r}")

    def _not_numbers(self) -> Iterator[str]:
        for name in ("max_attempts", "max_interruptions"):
            count: Any = getattr(self, name)
            if count is None and name == "max_attempts":
                continue
            if isinstance(count, bool) or not isinstance(count, int):
                yield f"{name} is a whole number{' or None' if name == 'max_attempts' else ''}, got {count!r}"
        for name in ("initial_interval", "backoff_coefficient", "maximum_interval", "jitter"):
            number: Any = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                yield f"{name} is a finite number, got {number!r}"

    @classmethod
    def none(cls) -> Self:
        """One call, no retry."""
        return cls(max_attempts=1)

    def exhausted(self, attempts: int) -> bool:
        """Whether ``attempts`` ended calls are all this policy allows."""
        return self.max_attempts is not None and attempts >= self.max_attempts

    def delay(self, attempts: int, spread: float) -> float:
        """Seconds to wait after the ``attempts``-th ended call; ``spread`` in [-1, 1] is the caller's random number."""
        if self.initial_interval == 0:
            return 0.0
        longest = max(self.maximum_interval, self.initial_interval)
        try:
            wait = min(self.initial_interval * self.backoff_coefficient ** (attempts - 1), longest)
        except OverflowError:
            wait = longest
        return wait * (1 + self.jitter * spread)


ACTION_RETRY = RetryPolicy()
COMPENSATION_RETRY = RetryPolicy(max_attempts=10)
