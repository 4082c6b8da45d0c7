"""The verb that works until it is told to stop: ``worker``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .exits import Exit

if TYPE_CHECKING:
    from ..runtime.orchestrator import Orchestrator

LEVELS = ("debug", "info", "warning", "error")


def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE[:NAME]",
            help="An Orchestrator, a function without parameters that makes one, a saga, or a list of them.",
            show_default=False,
        ),
    ],
    store: options.Store = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Sagas in flight at once.", min=1, show_default=False)
    ] = None,
    drain_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long running calls are given to end.", min=0.0, show_default=False),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Answer GET /live and /ready there.", min=0, max=65535, show_default=False),
    ] = None,
    health_host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where that port is open.")] = "127.0.0.1",
    health_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write there every second how the worker is doing.", show_default=False),
    ] = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help=f"One of {', '.join(LEVELS)}.")] = "warning",
) -> None:
    """Take up sagas and run them until SIGTERM or Ctrl-C, then drain: running calls end, and all else is given back.

    Settings come from the environment and sagafsm.toml, unless MODULE:NAME is an Orchestrator, which has its own. A
    second SIGTERM or Ctrl-C cuts off what still runs; it goes on elsewhere. The exit code is 0 where everything was
    given back in time.

    Public method: Orchestrator.health.
    """
    from ..core.errors import InvalidInput
    from ..runtime.logs import log_to_stderr

    if log_level not in LEVELS:
        raise InvalidInput(f"--log-level is one of {', '.join(LEVELS)}, not {log_level!r}")
    log_to_stderr(log_level.upper(), "%(asctime)s %(levelname)s %(name)s: %(message)s")
    orchestrator = _orchestrator(target, store)
    orchestrator._adjust(worker=True, concurrency=concurrency, drain_timeout=drain_timeout)
    raise typer.Exit(asyncio.run(_work(orchestrator, health_port, health_host, health_file)))


def _orchestrator(target: str, store: str | None) -> Orchestrator:
    import attrs

    from ..core.errors import InvalidInput
    from ..runtime.orchestrator import Orchestrator
    from ..runtime.settings import Settings
    from .code import load_code

    code = load_code(target)
    if code.orchestrator is not None:
        if store is not None:
            raise InvalidInput(f"{target} has a store of its own; leave out --store, or name its sagas instead")
        return code.orchestrator
    settings = Settings.from_env()
    if store is not None:
        settings = attrs.evolve(settings, store=store)
    return Orchestrator(settings.store, sagas=code.definitions, settings=settings)


async def _work(orchestrator: Orchestrator, port: int | None, host: str, file: Path | None) -> Exit:
    from .output import say
    from .probes import answering, writing

    signals = _Signals()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(signals)
        if port is not None:
            port = await stack.enter_async_context(answering(orchestrator.health, host, port))
            say(f"health: http://{host}:{port}/live and /ready")
        if file is not None:
            await stack.enter_async_context(writing(orchestrator.health, file))
        await _unless_told(signals, orchestrator.__aenter__())
        if not signals.told:
            count = len(orchestrator.definitions)
            what = f"{count} definition{'' if count == 1 else 's'}"
            say(f"working on {what}, up to {orchestrator.settings.concurrency} sagas at once")
            await signals.first.wait()
            say(f"stopping: calls that run are given {orchestrator.drain_timeout:g} s to end")
        if await _unless_told_twice(signals, orchestrator.close()):
            say("stopped")
            return Exit.OK
        say("stopped at once: what was cut off is made again, with the same key, by whoever takes it up")
        return signals.told[-1]


async def _unless_told(signals: _Signals, work: Awaitable[object]) -> None:
    """Open the store, or give it up when somebody says stop meanwhile."""
    await _until(work, signals.first)


async def _unless_told_twice(signals: _Signals, work: Awaitable[object]) -> bool:
    """Close in good order; false where a second signal cut it short."""
    return await _until(work, signals.second)


async def _until(work: Awaitable[object], stop: asyncio.Event) -> bool:
    """Whether the work came to its end before it was to stop; raises what it raises."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    ended = task.done()
    if not ended:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return ended


class _Signals:
    """SIGTERM and Ctrl-C, counted."""

    def __init__(self) -> None:
        self.told: list[Exit] = []
        self.first, self.second = asyncio.Event(), asyncio.Event()

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number, code in ((signal.SIGTERM, Exit.TERMINATED), (signal.SIGINT, Exit.INTERRUPTED)):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends the process by an exception
                loop.add_signal_handler(number, self._tell, code)

    def _tell(self, code: Exit) -> None:
        self.told.append(code)
        (self.second if self.first.is_set() else self.first).set()

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
