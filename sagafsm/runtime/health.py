"""How a process is doing, for whoever watches over it: is it alive, and should it be given work?

What must stay true: asking costs nothing and waits for nothing; the store's answers of the last moments are what it is
judged by. A store that is away makes a process not ready; it never makes it dead, for a restart would mend nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from .engine import Engine
    from .worker import Worker

LOOKS_MISSED = 5  # of those for work, after which something is wrong


@attrs.frozen(kw_only=True)
class Health:
    """The answer. ``live``: it works, or could; if not, it should be started anew. ``ready``: it takes up work now.

    ``reasons`` say why it is not. ``in_flight`` of at most ``concurrency`` sagas are in this process's memory.
    ``lease_left``: seconds for which calls may begin without another heartbeat.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    in_flight: int
    concurrency: int
    draining: bool
    lease_left: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**attrs.asdict(self), "reasons": list(self.reasons)}


def health_of(engine: Engine, worker: Worker) -> Health:
    """How an open orchestrator is doing."""
    lease_left = max(0.0, engine.lease_left)
    dead = worker.broken
    reasons = [f"{name} has ended: see the log" for name in dead]
    if engine.draining:
        reasons.append("it is shutting down")
    elif worker.works:
        silent = worker.silent
        if not lease_left:
            reasons.append("the lease has run out: the store does not answer, or the event loop was held up")
        if silent > LOOKS_MISSED * worker.poll_interval:
            reasons.append(f"the store has not been asked for work with success for {silent:.0f} s")
    return Health(
        live=not dead,
        ready=not reasons,
        reasons=tuple(reasons),
        in_flight=len(engine.drivers),
        concurrency=engine.settings.concurrency,
        draining=engine.draining,
        lease_left=round(lease_left, 3),
    )


def closed(concurrency: int) -> Health:
    """Of an orchestrator that is not open."""
    return Health(
        live=True,
        ready=False,
        reasons=("it is not open",),
        in_flight=0,
        concurrency=concurrency,
        draining=False,
        lease_left=0.0,
    )
