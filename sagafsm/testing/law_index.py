"""Which laws have anything to say about which events: most look at one or two kinds, and a simulation asks millions.

What must stay true: a law that is left out here for an event would have returned at once. The thorough checks ask every
law about every event, so that an entry that is too narrow shows as a difference between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..core import events as e
from . import laws

_CALLS = (e.AttemptStarted, e.ProbeStarted, e.CompensationAttemptStarted)
_KEYED = (e.AttemptStarted, e.CompensationAttemptStarted)

ABOUT: Mapping[laws.Law, tuple[type[e.SagaEvent], ...]] = {
    laws.completed_means_done: (e.SagaCompleted,),
    laws.failed_means_undone: (e.SagaFailed,),
    laws.no_way_back_past_the_pivot: (e.AbortRequested, e.DeadlineExpired, e.CompensationStarted),
    laws.steps_wait_for_their_dependencies: (*laws.STARTING, e.StepSkipped, e.StepFailed),
    laws.nothing_new_starts_on_the_way_back: (e.AttemptStarted, e.WaitStarted),
    laws.nothing_starts_while_halted: laws.STARTING,
    laws.siblings_end_before_compensation: (e.CompensationStarted,),
    laws.only_what_is_due_is_undone: (e.CompensationAttemptStarted, e.CompensationWaived),
    laws.undone_in_reverse_order: (e.CompensationAttemptStarted,),
    laws.keys_are_stable: _KEYED,
    laws.calls_are_numbered: _CALLS,
    laws.attempts_within_limits: _CALLS,
    laws.backoff_is_kept: _KEYED,
    laws.backoff_is_stored: (e.AttemptFailed, e.CompensationAttemptFailed),
    laws.what_is_not_idempotent_is_not_repeated: (e.AttemptStarted,),
    laws.no_fallback_while_unknown: (e.AttemptStarted,),
    laws.only_what_is_stuck_is_granted: (e.SagaUnstuck,),
}


@cache
def laws_about(kind: type[e.SagaEvent]) -> tuple[laws.Law, ...]:
    """The laws that may have something to say about events of this kind, in their order."""
    return tuple(law for law in laws.LAWS if law not in ABOUT or kind in ABOUT[law])
