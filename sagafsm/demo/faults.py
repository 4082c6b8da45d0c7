"""Which calls go wrong, and how: drawn anew for each call from a seed, never from a clock or a shared generator.

What must stay true: a draw depends on the seed, the order, the operation and the attempt, and on nothing else. So a
call that is made again because the orchestrator was killed meets the fault it met before, and the fate of an order
does not depend on when the kill came. Nothing heavy is imported: the participants read this at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random


class Fault(Enum):
    """What happens to one call."""

    NONE = "none"
    REFUSE = "refused (503)"  # nothing is done, and the caller is told so
    LOSE_REPLY = "reply lost"  # done, then the connection is closed without an answer
    HANG_BEFORE = "hung, then done"  # the caller gives up; later it is done all the same
    HANG_AFTER = "done, then hung"
    HANG_ONLY = "hung, never done"
    SLOW = "slow"


HANGS = (Fault.HANG_BEFORE, Fault.HANG_AFTER, Fault.HANG_ONLY)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How often calls go wrong: the share of calls for each kind of fault, and for how long a hang lasts (seconds)."""

    seed: int = 1
    refuse: float = 0.0
    lose_reply: float = 0.0
    hang: float = 0.0
    slow: float = 0.0
    hang_seconds: float = 1.4
    slow_seconds: float = 0.1

    @classmethod
    def spread(cls, seed: int, fail_rate: float) -> FaultPlan:
        """A plan in which the share ``fail_rate`` of all calls goes wrong, in the usual mix.

        Raises ValueError for a rate below 0 or above 0.5 (beyond that few orders would ever get through).
        """
        if not 0 <= fail_rate <= 0.5:
            raise ValueError(f"the fail rate is a share of all calls, from 0 to 0.5; got {fail_rate}")
        return cls(
            seed=seed,
            refuse=0.50 * fail_rate,
            lose_reply=0.30 * fail_rate,
            hang=0.08 * fail_rate,
            slow=0.12 * fail_rate,
        )

    def draw(self, order_id: str, operation: str, attempt: int) -> Fault:
        """The fault that this call meets."""
        random = Random(f"{self.seed}:{order_id}:{operation}:{attempt}")
        share = random.random()
        for fault, rate in (
            (Fault.REFUSE, self.refuse),
            (Fault.LOSE_REPLY, self.lose_reply),
            (random.choice(HANGS), self.hang),
            (Fault.SLOW, self.slow),
        ):
            if share < rate:
                return fault
            share -= rate
        return Fault.NONE
