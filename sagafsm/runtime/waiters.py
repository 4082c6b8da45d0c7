"""Those who wait for a saga to get somewhere: told by its driver, or by a look at the store now and then.

What must stay true: being told is a hint; a waiter that nobody tells finds out by looking. Nothing is kept for sagas
that nobody waits for.
"""

from __future__ import annotations

import asyncio

from ..core.instance import SagaInstance


class Waiters:
    """Futures by saga id, each for the next news of that saga."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[SagaInstance]]] = {}

    def tell(self, saga_id: str, instance: SagaInstance) -> None:
        """There is news of a saga."""
        for future in self._waiting.pop(saga_id, ()):
            if not future.done():
                future.set_result(instance)

    async def news(self, saga_id: str, timeout: float | None) -> SagaInstance | None:
        """The next news of a saga, or None after ``timeout`` seconds."""
        future: asyncio.Future[SagaInstance] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(saga_id, []).append(future)
        try:
            if timeout is None:
                return await future
            await asyncio.wait({future}, timeout=timeout)
            return future.result() if future.done() else None
        finally:
            left = self._waiting.get(saga_id)
            if left is not None and future in left:
                left.remove(future)
                if not left:
                    del self._waiting[saga_id]
