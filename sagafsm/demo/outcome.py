"""How the saga of one order ended, as the job reports it."""

from __future__ import annotations

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the job's report.

    ``state``, ``outcome`` and ``stuck`` are the saga's, ``step`` and ``reason`` say why it failed. ``calls``: the
    attempts that ended, those of compensations included (calls that the kill cut short are not in it, so that a seed
    repeats it). ``forward_retries``: how often the step after the pivot had to be tried again. ``lifted``: how often
    an operator had to lift the saga out of being stuck.
    """

    order_id: str
    state: str
    outcome: str | None = None
    stuck: bool = False
    step: str | None = None
    reason: str | None = None
    calls: int = 0
    forward_retries: int = 0
    lifted: int = 0
