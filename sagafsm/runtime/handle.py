"""What ``start`` returns: a reference to a saga that runs somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import SagaFailed, SagaStuck
from ..core.instance import SagaInstance
from ..core.lifecycle import SagaState

if TYPE_CHECKING:
    from .blocking import SyncOrchestrator
    from .orchestrator import Orchestrator


class Handle:
    """A started saga. ``created`` is false where the very same saga existed already."""

    def __init__(self, orchestrator: Orchestrator, saga_id: str, *, created: bool) -> None:
        self._orchestrator = orchestrator
        self.saga_id = saga_id
        self.created = created

    async def result(self, timeout: float | None = None) -> SagaInstance:
        """Wait for the end and return the finished saga.

        Raises SagaFailed or SagaStuck (both carry ``.instance``), TimeoutError after ``timeout`` seconds: the saga
        goes on.
        """
        instance = await self._orchestrator.wait(self.saga_id, timeout=timeout)
        if instance.state is SagaState.COMPLETED:
            return instance
        if instance.state is SagaState.FAILED:
            raise SagaFailed(f"saga {self.saga_id} failed ({instance.outcome}): {instance.error}", instance)
        raise SagaStuck(f"saga {self.saga_id} is stuck: {instance.stuck_reason}", instance)

    async def instance(self) -> SagaInstance:
        """The saga as it stands now."""
        return await self._orchestrator.get(self.saga_id)

    def __repr__(self) -> str:
        return f"<Handle {self.saga_id}>"


class SyncHandle:
    """A started saga. ``created`` is false where the very same saga existed already."""

    def __init__(self, owner: SyncOrchestrator, handle: Handle) -> None:
        self._owner = owner
        self._handle = handle
        self.saga_id = handle.saga_id
        self.created = handle.created

    def result(self, timeout: float | None = None) -> SagaInstance:
        """See :meth:`Handle.result`."""
        return self._owner._wait(self._handle.result(timeout))

    def instance(self) -> SagaInstance:
        """See :meth:`Handle.instance`."""
        return self._owner._wait(self._handle.instance())

    def __repr__(self) -> str:
        return f"<SyncHandle {self.saga_id}>"
