"""Decides about permits under limits, once a store has read what there is to know about them.

What must stay true: a function of what it is given; the store reads and writes in one transaction around it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sagafsm.rate import next_grant
from sagafsm.supports import CROWDED, Permit


class LimitState:
    """What is known of one limit: up to when its rate is filled, how many of the living hold it, and which tokens."""

    def __init__(self, filled_until: float | None, count: int, held: Collection[str]) -> None:
        self.filled_until = filled_until
        self.count = count
        self.held = set(held)


class Grants:
    """``names`` holds the state of every limit asked for, ``alive`` the workers whose lease holds.

    Afterwards ``holds`` are the permits (name, token, worker) to be written, ``filled`` the names whose rate has
    changed.
    """

    def __init__(self, names: Mapping[str, LimitState], alive: Collection[str], now: float) -> None:
        self.names = names
        self.holds: list[tuple[str, str, str]] = []
        self.filled: set[str] = set()
        self._alive = alive
        self._now = now

    def decide(self, permits: Sequence[Permit]) -> list[float]:
        """Per permit, in order, 0.0 (granted) or the seconds until asking again makes sense."""
        return [self._grant(permit) if permit.worker_id in self._alive else CROWDED for permit in permits]

    def _grant(self, permit: Permit) -> float:
        name = self.names[permit.name]
        if permit.concurrency is not None and permit.token in name.held:
            return 0.0
        wait = CROWDED if permit.concurrency is not None and name.count >= permit.concurrency else 0.0
        filled_until = name.filled_until
        if permit.rate is not None:
            until_then, filled_until = next_grant(name.filled_until, self._now, permit.rate, permit.burst)
            wait = max(wait, until_then)
        if wait:
            return wait
        if permit.concurrency is not None:
            name.held.add(permit.token)
            name.count += 1
            self.holds.append((permit.name, permit.token, permit.worker_id))
        if permit.rate is not None:
            name.filled_until = filled_until
            self.filled.add(permit.name)
        return 0.0
