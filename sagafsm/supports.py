"""What a store may do beyond the protocol; the runtime looks for each ability and does without where it is missing.

What must stay true: each ability is a protocol of its own, tested by its own class of the conformance kit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from .store import Store


@runtime_checkable
class SupportsWakeups(Protocol):
    """A store that can tell of changes made by other processes. A hint only: polling stays the truth."""

    async def wait_for_change(self, timeout: float) -> bool:
        """Return soon after another process has written, at the latest after ``timeout`` seconds."""
        ...


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """A request to begin one call under a limit that all workers share.

    ``name``: the limit, its key included (an id). ``token``: who asks (an id, another one for each call); asking again
    with a token that holds the permit grants it again. A permit is held until it is released, and no longer than the
    lease of ``worker_id`` lives. ``concurrency``: how many tokens may hold the name at once (None: any number).
    ``rate``: grants per second in the long run, at most ``burst`` at once (None: any number; the generic cell rate
    algorithm of ATM networks).
    """

    name: str
    token: str
    worker_id: str
    concurrency: int | None = None
    rate: float | None = None
    burst: int = 1


@runtime_checkable
class SupportsLimits(Protocol):
    """A store that counts calls for all workers, so that limits of concurrency and rate hold across processes."""

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        """Ask for permits, each on its own; per permit 0.0 (granted) or the seconds until asking again makes sense.

        A refused request changes nothing: it holds no place and uses up no rate.
        """
        ...

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        """Release what these tokens of the worker hold; tokens that hold nothing are passed over."""
        ...


@runtime_checkable
class SupportsTwin(Protocol):
    """A store that another thread can reach too, over a connection of its own: so beats the heart."""

    def twin(self) -> Store:
        """A second store on the same database, not yet opened, for use from another event loop in another thread."""
        ...
