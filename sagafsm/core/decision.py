"""A decision: what the decider answers.

What must stay true: plain data; the progress in it is the one before, folded with its events.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .commands import Command, Delivery, Held
from .events import SagaEvent
from .progress import Progress


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What follows from one input: events to store, the progress after them, and commands to carry out then.

    ``held``: calls that would have begun as well, had their limits allowed it.
    """

    events: Sequence[SagaEvent]
    progress: Progress
    commands: Sequence[Command]
    delivery: Delivery
    held: Sequence[Held] = ()
