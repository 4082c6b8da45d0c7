"""What operators and the outside world say to a saga: the verbs and the messages.

What must stay true: every argument is checked before anything is stored; a verb returns when its event is stored and
does not wait for the work that follows.
"""

from __future__ import annotations

from typing import Any

from ..core import commands as c
from ..core.commands import Delivery
from ..core.errors import InvalidInput
from ..core.events import NULL, Failure
from ..core.instance import SagaInstance
from ..store import check_id
from .invoke import failure_of
from .logs import LOGGER
from .outside import read, tell, unpark
from .session import Session


class Operating(Session):
    """The verbs that act on sagas which exist."""

    async def resume(self, saga_id: str, *, actor: str | None = None, reason: str | None = None) -> SagaInstance:
        """Lift a suspension and take the saga up now. Changes nothing on a finished or a stuck one."""
        _, instance = await tell(self._engine, check_id(saga_id), c.ResumeAsked(actor=actor, reason=reason))
        if self._works and not (instance.state.terminal or instance.stuck):
            await self._worker.take([saga_id])
        return instance

    async def resume_all(self) -> list[str]:
        """One sweep: take up everything that is due and owned by nobody alive; return the ids taken up."""
        await self._worker.ensure_lease()
        return await self._worker.sweep_all()

    async def abort(
        self, saga_id: str, reason: str, *, actor: str | None = None, cut: bool = False, compensate: bool = True
    ) -> SagaInstance:
        """Stop forward work, undo what was done, end ``failed`` with outcome ``aborted``.

        ``cut`` also cancels running calls (their outcome is then unknown). ``compensate`` false undoes nothing: every
        compensation due is recorded as waived by ``actor``, and the outcome is ``forced``. Changes nothing on a saga
        that compensates or has failed. Raises SagaFinished, PastPivot, InvalidInput.
        """
        asked = c.AbortAsked(reason=_text(reason, "reason"), actor=actor, cut=cut, compensate=compensate)
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    async def compensate(self, saga_id: str, reason: str) -> SagaInstance:
        """Undo a running saga: as :meth:`abort`, but the outcome is ``compensated``."""
        asked = c.AbortAsked(reason=_text(reason, "reason"), outcome="compensated")
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    async def retry(self, saga_id: str, *, actor: str, reason: str) -> SagaInstance:
        """Grant new attempts to what is stuck, and only to that. Changes nothing on a saga that is not stuck."""
        asked = c.RetryAsked(actor=_text(actor, "actor"), reason=_text(reason, "reason"))
        engine = self._engine
        stored = await read(engine, check_id(saga_id))
        if stored.record.problem is not None:
            engine.progress_of(stored)  # still unreadable: the error says why
            if not await unpark(engine, stored.record):
                return await self.retry(saga_id, actor=actor, reason=reason)
            # What is wrong with its log may not be mended by adding to it.
            LOGGER.warning("saga %s was set aside and goes on; %s says: %s", saga_id, asked.actor, asked.reason)
            return await self._reader.get(saga_id)
        progress = engine.progress_of(stored)
        if progress.stuck and progress.stuck_child is not None:
            child = await self.retry(progress.stuck_child, actor=actor, reason=reason)
            if child.stuck:
                return await self._reader.get(saga_id)
            told = c.ChildUnstuck(step=progress.stuck_step or "", child_id=child.saga_id)
            return (await tell(engine, saga_id, told))[1]
        return (await tell(engine, saga_id, asked))[1]

    async def skip(self, saga_id: str, step: str, *, actor: str, reason: str) -> SagaInstance:
        """Waive a stuck compensation, or pass over a stuck step after the pivot (its result is then None).

        Raises InvalidInput where that step is not stuck, or lies before the pivot.
        """
        asked = c.SkipAsked(step=step, actor=_text(actor, "actor"), reason=_text(reason, "reason"))
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    async def suspend(self, saga_id: str, *, actor: str, reason: str) -> SagaInstance:
        """Pause a saga: running calls end and are recorded, nothing new starts until :meth:`resume`."""
        asked = c.SuspendAsked(actor=_text(actor, "actor"), reason=_text(reason, "reason"))
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    # --- messages ---

    async def signal(self, saga_id: str, name: str, payload: Any = None, *, message_id: str | None = None) -> Delivery:
        """Deliver an outside event; the same ``message_id`` twice counts once. Raises SagaNotFound, InvalidInput."""
        raw = self._encode(payload, f"the payload of signal {name!r}")
        given = c.SignalArrived(name=_text(name, "name"), payload=raw, message_id=_message_id(message_id))
        return (await tell(self._engine, check_id(saga_id), given))[0]

    async def complete_step(
        self,
        saga_id: str,
        step: str,
        result: Any = None,
        *,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
    ) -> Delivery:
        """The reply to a step (or its compensation) that awaits one: it is done. No ``attempt``: the current one."""
        given = c.ReplyArrived(
            step=step,
            kind=c.OutcomeKind.SUCCEEDED,
            backward=compensation,
            attempt=attempt,
            result=self._encode(result, f"the result of step {step!r}") if result is not None else NULL,
            message_id=_message_id(message_id),
        )
        return (await tell(self._engine, check_id(saga_id), given))[0]

    async def fail_step(
        self,
        saga_id: str,
        step: str,
        error: str | BaseException,
        *,
        retryable: bool = False,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
    ) -> Delivery:
        """The reply to a step that awaits one: it did not happen, and (unless ``retryable``) will not."""
        now = self._engine.clock()
        if isinstance(error, BaseException):
            failure = failure_of(error, step, now)
        else:
            failure = Failure(type="Rejected", message=_text(error, "error"), step=step, at=now)
        given = c.ReplyArrived(
            step=step,
            kind=c.OutcomeKind.FAILED if retryable else c.OutcomeKind.REJECTED,
            backward=compensation,
            attempt=attempt,
            error=failure,
            message_id=_message_id(message_id),
        )
        return (await tell(self._engine, check_id(saga_id), given))[0]


def _text(value: str, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{what} must be a text that says something, got {value!r}")
    if len(value) > 2000:
        raise InvalidInput(f"{what} is too long: {len(value)} characters, at most 2000")
    return value.encode("utf-8", "replace").decode()


def _message_id(value: str | None) -> str | None:
    return None if value is None else check_id(value, "message id")
