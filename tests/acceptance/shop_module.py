"""A user's module for the command ``sagafsm worker``, written into the folder of a test.

What must stay true: every call leaves two lines in ``calls``, written whole: who began it when, and who ended it when,
by a clock that all processes of a machine share.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import attrs

NAME = "shop"
SOURCE = '''
import asyncio
import contextlib
import os
import time
from pathlib import Path

from sagafsm import Limit, Saga, StepContext, step

HERE = Path(__file__).parent


@contextlib.contextmanager
def noted(ctx, key=""):
    def note(what):
        line = f"{what} {ctx.saga_type} {ctx.saga_id} {os.getpid()} {time.monotonic()} {key}\\n"
        with (HERE / "calls").open("a") as file:
            file.write(line)

    note("begin")
    yield
    note("end")


class Gated(Saga[dict]):
    """Runs until the file ``gate`` is there."""

    @step(compensatable=False)
    async def go(self, data: dict, ctx: StepContext) -> int:
        with noted(ctx):
            while not (HERE / "gate").exists():
                await asyncio.sleep(0.01)
        return os.getpid()


class Blocking(Saga[dict]):
    """The same, and meanwhile nothing else runs in its process."""

    @step(compensatable=False)
    async def go(self, data: dict, ctx: StepContext) -> int:
        with noted(ctx):
            while not (HERE / "gate").exists():
                time.sleep(0.01)
        return os.getpid()


class Alone(Saga[dict]):
    """The same, one at a time."""

    @step(compensatable=False, limit=Limit(concurrency=1))
    async def go(self, data: dict, ctx: StepContext) -> int:
        with noted(ctx):
            while not (HERE / "gate").exists():
                await asyncio.sleep(0.01)
        return os.getpid()


class Three(Saga[dict]):
    """Three at once."""

    @step(compensatable=False, limit=Limit(concurrency=3))
    async def go(self, data: dict, ctx: StepContext) -> None:
        with noted(ctx):
            await asyncio.sleep(0.05)


class OnePerCustomer(Saga[dict]):
    """One at a time for each customer."""

    @step(compensatable=False, limit=Limit(concurrency=1, key=lambda data: data["customer"]))
    async def go(self, data: dict, ctx: StepContext) -> None:
        with noted(ctx, data["customer"]):
            await asyncio.sleep(0.05)


class TwentyASecond(Saga[dict]):
    """No more than twenty a second."""

    @step(compensatable=False, limit=Limit(rate=20))
    async def go(self, data: dict, ctx: StepContext) -> None:
        with noted(ctx):
            pass
'''


@attrs.frozen
class Call:
    """One call, as its two lines tell. ``ended`` is infinite where it has not."""

    saga_type: str
    saga_id: str
    pid: int
    begun: float
    ended: float
    key: str


@contextmanager
def shop(folder: Path) -> Iterator[ModuleType]:
    """Write the module, and import it here too."""
    path = folder / f"{NAME}.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[NAME]


def calls(folder: Path) -> list[Call]:
    """What was called so far, in the order in which it began."""
    file = folder / "calls"
    found: list[Call] = []
    for line in file.read_text().splitlines() if file.exists() else ():
        what, saga_type, saga_id, pid, at, *key = line.split(" ")
        if what == "begin":
            found.append(Call(saga_type, saga_id, int(pid), float(at), float("inf"), " ".join(key)))
        else:
            mine = (saga_type, saga_id, int(pid), float("inf"))
            position = next(
                n for n, one in enumerate(found) if (one.saga_type, one.saga_id, one.pid, one.ended) == mine
            )
            found[position] = attrs.evolve(found[position], ended=float(at))
    return found


def most_at_once(of: list[Call]) -> int:
    """How many of these calls were under way at the same time."""
    return max(sum(one.begun <= call.begun < one.ended for one in of) for call in of)
