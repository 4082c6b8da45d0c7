"""Planted mistakes of the engine, the core and the store: the simulation has to notice every one of them.

A mutant is a function that patches the code for one test; its name says what is wrong then. ``on`` names the shapes of
the corpus that it is looked for in. Nothing in the library knows of them.
"""

import asyncio
from collections.abc import Callable

import attrs
import pytest
from msgspec.structs import replace

from sagafsm.core import backward, decider, fold, forward, legality
from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.lifecycle import SagaState, StepState
from sagafsm.core.turn import Turn
from sagafsm.runtime import appending, driver, engine, invoke, journal, strays, worker
from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing.simulation.server import Server
from tests.core.mutants import folds, handles, wraps

Patch = pytest.MonkeyPatch


@attrs.frozen
class Mutant:
    name: str
    plant: Callable[[Patch], None]
    on: tuple[str, ...]


MUTANTS: list[Mutant] = []


def mutant(*on):
    def register(plant):
        MUTANTS.append(Mutant(plant.__name__, plant, on))
        return plant

    return register


def memory_store(patch, **methods):
    """Another store in the place of the reference."""
    kind = type("Mutant", (MemoryStore,), methods)
    patch.setattr(Server, "make_memory", lambda self: kind(clock=self.clock))


# --- the store ---


@mutant("sequence", "signals")
def no_version_check(patch):
    def append(self, new):
        saga = self._sagas.get(new.saga_id)
        if saga is not None and new.expected_version and not saga.wrote(new):
            new = replace(new, expected_version=saga.record.version)
        return MemoryStore._append(self, new)

    memory_store(patch, _append=append)


@mutant("sequence", "two_sagas")
def no_fence_check(patch):
    def append(self, new):
        saga = self._sagas.get(new.saga_id)
        if saga is not None and new.expected_version == saga.record.version:
            new = replace(new, fence=saga.record.fence)
        return MemoryStore._append(self, new)

    memory_store(patch, _append=append)


@mutant("sequence")
def the_fence_is_not_raised_by_a_claim(patch):
    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        found = await MemoryStore.claim(self, worker_id, kinds, limit=limit, saga_ids=saga_ids)
        taken = []
        for stored in found.sagas:
            saga = self._sagas[stored.record.saga_id]
            saga.record = replace(saga.record, fence=saga.record.fence - 1)
            taken.append(saga.stored())
        return replace(found, sagas=taken)

    memory_store(patch, claim=claim)


@mutant("sub_saga", "sleeps")
def release_is_unconditional(patch):
    """A release is an append without an owner: it is taken whatever the fence."""

    def append(self, new):
        saga = self._sagas.get(new.saga_id)
        if saga is not None and new.owner is None and not new.events:
            new = replace(new, fence=saga.record.fence, expected_version=saga.record.version)
        return MemoryStore._append(self, new)

    memory_store(patch, _append=append)


@mutant("sequence")
def renewing_revives_an_expired_lease(patch):
    """Who was replaced while it slept goes on as if its lease had never run out."""
    patch.setattr(engine.Engine, "lease_holds", lambda self: True)


@mutant("sequence")
def a_worker_judges_leases_by_its_own_clock(patch):
    original = Server.claim

    def claim(self, process, worker_id, kinds, limit, saga_ids):
        skew = {"worker-1": 86_400.0, "worker-2": -86_400.0}.get(process.partition(".")[0], 0.0)
        self.jump += skew
        try:
            return original(self, process, worker_id, kinds, limit, saga_ids)
        finally:
            self.jump -= skew

    patch.setattr(Server, "claim", claim)


@mutant("sequence")
def a_batch_is_split_in_two_writes(patch):
    """A crash between the two leaves the first half."""

    def write(self, saga, append):
        half = len(append.events) // 2
        torn = half and append.append_id[-1] in "37"
        answer = MemoryStore._write(self, saga, append)
        if torn:
            del saga.events[-half:], saga.append_ids[-half:]
            saga.record = replace(saga.record, version=len(saga.events))
        return answer

    memory_store(patch, _write=write)


# --- the journal ---


@mutant("sequence", "two_sagas")
def a_doubtful_append_is_sent_again_under_another_id(patch):
    original = journal.Journal._again

    async def again(self, appends, first):
        fresh = [replace(append, append_id=self._environment.append_id()) for append in appends]
        return await original(self, fresh, first)

    patch.setattr(journal.Journal, "_again", again)


@mutant("sequence", "two_sagas")
def a_doubtful_append_is_sent_again_for_the_version_that_is_there(patch):
    original = journal.Journal._again

    async def again(self, appends, first):
        found = await self._store.load([append.saga_id for append in appends])
        fresh = [
            replace(
                append,
                append_id=self._environment.append_id(),
                expected_version=found[append.saga_id].record.version if append.saga_id in found else 0,
            )
            for append in appends
        ]
        return await original(self, fresh, first)

    patch.setattr(journal.Journal, "_again", again)


# --- keys ---


@mutant("sequence")
def one_key_per_attempt(patch):
    original = Turn.key
    patch.setattr(Turn, "key", lambda self, name, purpose: f"{original(self, name, purpose)}-{self.progress.version}")


@mutant("sequence")
def one_key_per_fence(patch):
    seen = {}
    taken_over = decider._HANDLERS[c.TakenOver]

    def count(turn, given):
        seen[turn.progress.saga_id] = seen.get(turn.progress.saga_id, 0) + 1
        return taken_over(turn, given)

    original = Turn.key
    patch.setitem(decider._HANDLERS, c.TakenOver, count)
    patch.setattr(
        Turn,
        "key",
        lambda self, name, purpose: f"{original(self, name, purpose)}-{seen.get(self.progress.saga_id, 0)}",
    )


# --- compensation ---


@mutant("sequence")
def compensation_in_the_order_of_completion(patch):
    wraps(patch, backward, "due", lambda original, turn: original(turn)[::-1])


@mutant("unknown_compensated")
def an_unknown_step_is_not_undone(patch):
    patch.setattr(backward, "_DUE", tuple(s for s in backward._DUE if s is not StepState.UNKNOWN))


@mutant("sequence", "sleeps")
def a_step_that_never_started_is_undone(patch):
    patch.setattr(backward, "_DUE", (*backward._DUE, StepState.WAITING))


# --- outcomes ---


@mutant("sequence", "unknown_compensated")
def a_timeout_counts_as_a_failure(patch):
    patch.setitem(invoke._KINDS, "open", c.OutcomeKind.FAILED)


@mutant("sequence", "parallel")
def a_cancelled_call_counts_as_a_failure(patch):
    original = invoke.Invoker.call

    async def call(self, caller, call, *arguments):
        try:
            return await original(self, caller, call, *arguments)
        except asyncio.CancelledError as exc:
            error = invoke.failure_of(exc, call.step, self._now())
            return c.CallEnded(call=call, kind=c.OutcomeKind.REJECTED, error=error)

    patch.setattr(invoke.Invoker, "call", call)


# --- the end, and what comes after it ---


@mutant("sequence")
def a_terminal_saga_still_changes(patch):
    patch.setitem(legality.SAGA_STATES, e.SagaSuspended, tuple(SagaState))
    handles(patch, c.SuspendAsked, lambda original, turn, given: turn.emit(e.SagaSuspended(actor=given.actor)))


@mutant("sequence")
def an_abort_overwrites_a_completed_saga(patch):
    def abort(original, turn, asked):
        if turn.progress.state is SagaState.COMPLETED:
            turn.emit(e.CompensationStarted(cause=e.Failure(type="Aborted"), undo=True))
        else:
            original(turn, asked)

    handles(patch, c.AbortAsked, abort)


@mutant("sequence", "sleeps", "two_sagas")
def completion_overwrites_an_accepted_abort(patch):
    wraps(
        patch, forward, "_way_back", lambda original, turn: None if turn.progress.abort is not None else original(turn)
    )


# --- messages ---


@mutant("replies")
def a_late_reply_is_accepted(patch):
    handles(patch, c.ReplyArrived, lambda original, turn, given: original(turn, replace(given, attempt=None)))


@mutant("replies", "signals")
def a_duplicate_message_advances_twice(patch):
    patch.setattr(fold, "remembered", lambda p, message_id: p.message_ids)
    folds(patch, e.SignalReceived, lambda after, event, before: replace(after, message_ids=before.message_ids))


# --- attempts and time ---


@mutant("sequence")
def attempts_are_counted_when_they_fail_only(patch):
    def interrupted(original, turn, name, step):
        original(turn, name, replace(step, interruptions=0))

    wraps(patch, forward, "interrupted", interrupted)


@mutant("sequence", "fallback")
def the_due_time_is_not_stored_with_a_backoff(patch):
    def wake(original, definition, progress, *rest):
        waits = any(step.waiting == "backoff" for step in progress.steps.values())
        return None if waits else original(definition, progress, *rest)

    wraps(patch, driver, "next_wake", wake)


# --- recovery ---


@mutant("sequence")
def recovery_swallows_an_error(patch):
    patch.setattr(engine.Engine, "orphaned", lambda self, driver, cause: driver.abandon())


@mutant("poisoned")
def one_bad_saga_ends_the_sweep(patch):
    original = worker.Worker._claim

    async def claim(self, *arguments):
        claim = await original(self, *arguments)
        for stored in claim.sagas:
            self._engine.progress_of(stored)
        return claim

    patch.setattr(worker.Worker, "_claim", claim)


@mutant("pivot", "sequence")
def a_claim_whose_answer_was_lost_is_forgotten(patch):
    async def look(self):
        return

    patch.setattr(strays.Strays, "look", look)


@mutant("pivot", "sequence", "two_sagas")
def a_claim_that_arrives_after_its_answer_was_given_up_is_forgotten(patch):
    original = strays.Strays.lost

    def lost(self):
        original(self)
        self._until = 0.0

    patch.setattr(strays.Strays, "lost", lost)


@mutant("sub_saga")
def a_saga_that_was_let_go_under_a_writers_eyes_is_not_adopted(patch):
    async def adopt(self, saga_id):
        return

    patch.setattr(worker.Worker, "_adopt", adopt)


@mutant("told_in_parallel")
def what_was_told_elsewhere_lets_nothing_begin(patch):
    """Where a call ends at that moment, only what waits for that call is looked at."""
    original = driver.decide
    patch.setattr(driver, "decide", lambda *given, anew=False, **options: original(*given, **options))


@mutant("sequence", "stuck_compensation")
def a_snapshot_off_by_one(patch):
    patch.setattr(appending, "SNAPSHOT_EVERY", 3)

    def encode(original, progress):
        return original(replace(progress, version=progress.version - 1))

    wraps(patch, appending, "encode_snapshot", encode)
