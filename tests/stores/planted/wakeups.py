"""A memory store that tells of changes, and such stores that tell wrongly."""

import asyncio
from contextlib import suppress

from sagafsm.runtime.memory import MemoryStore


class Telling(MemoryStore):
    """Knows who wrote what; ``beside`` is what another process would have."""

    def __init__(self):
        super().__init__()
        self.writers = []
        self.seen = 0

    def beside(self):
        second = type(self)()
        vars(second).update(vars(self), seen=len(self.writers))
        return second

    async def commit(self, batch):
        self.writers.append(self)
        return await super().commit(batch)

    def news(self):
        new, self.seen = self.writers[self.seen :], len(self.writers)
        return any(writer is not self for writer in new)

    async def wait_for_change(self, timeout):
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.news():  # noqa: ASYNC110 - nothing in a toy is told of anything
                    await asyncio.sleep(0.001)
                return True
        return False


class NeverTells(Telling):
    def news(self):
        return False


class ListensFromNowOn(Telling):
    async def wait_for_change(self, timeout):
        self.seen = len(self.writers)
        return await super().wait_for_change(timeout)


class TellsOfItself(Telling):
    def news(self):
        new, self.seen = self.writers[self.seen :], len(self.writers)
        return bool(new)


class CannotBeStopped(Telling):
    async def wait_for_change(self, timeout):
        try:
            return await super().wait_for_change(timeout)
        except asyncio.CancelledError:
            return False


PLANTED = [
    (MemoryStore, "test_the_store_can_tell_of_changes"),
    (NeverTells, "test_waiting_ends_soon_after_another_has_written"),
    (ListensFromNowOn, "test_a_change_made_before_the_waiting_began_counts"),
    (TellsOfItself, "test_waiting_ends_without_a_change_after_the_timeout"),
    (CannotBeStopped, "test_waiting_can_be_cancelled"),
]
