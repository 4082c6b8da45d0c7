"""A store whose process dies at the n-th command that writes: before the server has it, or after it has done it."""

from contextlib import contextmanager


class Died(BaseException):
    """As when the process is killed: nothing that the code does about errors is done."""


@contextmanager
def dying(store, at, *, done):
    """Within the block, the store's ``at``-th write dies; ``done``: after the server has done it."""
    database = store._parts.database
    run, seen = database.run, 0

    async def stumble(command):
        nonlocal seen
        seen += 1
        if seen < at:
            return await run(command)
        if seen == at and done:
            await run(command)
        raise Died

    database.run = stumble
    try:
        yield lambda: seen >= at
    finally:
        del database.run


@contextmanager
def meanwhile(store, at, call):
    """Within the block, something else happens just before the store's ``at``-th write."""
    database = store._parts.database
    run, seen = database.run, 0

    async def let_them(command):
        nonlocal seen
        seen += 1
        if seen == at:
            await call()
        return await run(command)

    database.run = let_them
    try:
        yield
    finally:
        del database.run
