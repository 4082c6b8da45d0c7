"""Those who wait for a saga to get somewhere: told by its driver, or by a look at the store now and then.

What must stay true: being told is a hint; a waiter that nobody tells finds out by looking. Nothing is kept for sagas
that nobody waits for.
"""

from __future__ import annotations

import asyncio

from ..core.errors import InvalidInput
from ..core.instance import SagaInstance


class Waiters:
    """Futures by saga id, each for the next news of that saga."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[SagaInstance]]] = {}
        self._closed = False

    def tell(self, saga_id: str, instance: SagaInstance) -> None:
        """There is news of a saga."""
        for future in self._waiting.pop(saga_id, ()):
            if not future.done():
                future.set_result(instance)

    def close(self) -> None:
        """There will be no more news."""
        self._closed = True
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(closed())
        self._waiting.clear()

    def expect(self, saga_id: str) -> asyncio.Future[SagaInstance]:
        """The next news of a saga. Whoever does not wait for it to the end says so. Raises InvalidInput if closed."""
        if self._closed:
            raise closed()
        future: asyncio.Future[SagaInstance] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(saga_id, []).append(future)
        return future

    def give_up(self, saga_id: str, future: asyncio.Future[SagaInstance]) -> None:
        """Nobody waits for this news any more."""
        left = self._waiting.get(saga_id)
        if left is not None and future in left:
            left.remove(future)
            if not left:
                del self._waiting[saga_id]

    async def news(self, saga_id: str, timeout: float | None) -> SagaInstance | None:
        """The next news of a saga, or None after ``timeout`` seconds. Raises InvalidInput when all is closed."""
        future = self.expect(saga_id)
        try:
            await asyncio.wait({future}, timeout=timeout)
            return future.result() if future.done() else None
        finally:
            self.give_up(saga_id, future)


def closed() -> InvalidInput:
    """What is said to those who still wait when all is closed."""
    return InvalidInput("the orchestrator was closed before the saga came to its end; another one goes on with it")
