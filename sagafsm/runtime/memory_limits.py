"""Permits in plain dictionaries: what :class:`~sagafsm.supports.SupportsLimits` means, for the memory store.

What must stay true: a permit counts while it is held by a worker that is alive, and not a moment longer; names of which
nothing is held and whose rate is not filled are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

from ..rate import next_grant
from ..supports import CROWDED, Permit

Alive = Callable[[str | None, float], bool]


class _Name:
    """What is known of one limit: who holds it, token by token, and up to when its rate is filled."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.filled_until: float | None = None


class MemoryLimits:
    """Every limit by its name. ``alive`` says whether a worker's lease holds at a time; the caller holds the lock."""

    def __init__(self, alive: Alive) -> None:
        self._alive = alive
        self._names: dict[str, _Name] = {}
        self._many = 64

    def acquire(self, permit: Permit, now: float) -> float:
        """0.0 where the permit is granted, else the seconds until asking again makes sense."""
        if not self._alive(permit.worker_id, now):
            return CROWDED
        self._forget(now)
        name = self._names.setdefault(permit.name, _Name())
        wait, filled_until = 0.0, None
        if permit.concurrency is not None:
            holders = {token for token, worker in name.holders.items() if self._alive(worker, now)}
            if permit.token in holders:
                return 0.0
            wait = CROWDED if len(holders) >= permit.concurrency else 0.0
        if permit.rate is not None:
            until_then, filled_until = next_grant(name.filled_until, now, permit.rate, permit.burst)
            wait = max(wait, until_then)
        if not wait:
            if permit.concurrency is not None:
                name.holders[permit.token] = permit.worker_id
            if filled_until is not None:
                name.filled_until = filled_until
        return wait

    def give_back(self, worker_id: str, tokens: set[str]) -> None:
        """Release what these tokens of the worker hold."""
        for name in self._names.values():
            for token in tokens & name.holders.keys():
                if name.holders[token] == worker_id:
                    del name.holders[token]

    def _forget(self, now: float) -> None:
        """Once there are twice as many names as were of use the last time."""
        if len(self._names) < self._many:
            return
        for name in self._names.values():
            name.holders = {token: worker for token, worker in name.holders.items() if self._alive(worker, now)}
        self._names = {
            key: name for key, name in self._names.items() if name.holders or (name.filled_until or 0.0) > now
        }
        self._many = max(64, 2 * len(self._names))
