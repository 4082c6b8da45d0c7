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


CROWDED = 0.1
"""Seconds to name where all places of a limit are taken: when one becomes free nobody knows."""


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """A request to begin one call under a limit that all workers share.

    ``name``: the limit, its key included (an id). ``token``: who asks (an id, another one for each call).
    ``concurrency``: how many tokens may hold the name at once (None: any number, and then nothing is held).
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
    """A store that counts calls for all workers, so that limits of concurrency and rate hold across processes.

    A permit under a limit of concurrency is held until it is given back, and counts no longer than the lease of its
    worker lives. Times are the store's. What is neither held nor fills a rate any more is forgotten in time:
    keys come and go.
    """

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        """Ask for permits, each on its own and in order; per permit 0.0 (granted) or the seconds until asking again
        makes sense (``CROWDED`` where all places are taken).

        A refused request changes nothing: it holds no place and uses up no rate. A token that holds the name is
        granted it again, at no cost. A worker whose record is missing or has expired is granted nothing.
        """
        ...

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        """Release what these tokens of the worker hold; tokens that hold nothing are passed over."""
        ...


@runtime_checkable
class SupportsTwin(Protocol):
    """A store that another thread can reach too, over a connection of its own: so beats the heart."""

    def twin(self) -> Store | None:
        """A second store on the same database, not yet opened, for use from another event loop in another thread.

        None where there is no second way in (a database in memory).
        """
        ...
