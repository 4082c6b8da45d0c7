"""The verbs that run sagas: ``demo`` and ``run``."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from ..core.errors import InvalidInput, StoreError, StoreUnavailable
from . import options
from .exits import Exit

if TYPE_CHECKING:
    from ..core.definition import SagaDefinition
    from .batch import Lines, Tally
    from .opening import Place

SHOWN = 10
IN_MEMORY = 8_388_608  # bytes of what can be read only once


def demo(
    seed: Annotated[int, typer.Option(help="Repeats the faults.")] = 1,
    orders: Annotated[int, typer.Option(help="How many orders.", min=1, max=1000)] = 1000,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", help="Where its sagas go. Default: a file of its own.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the books, the store and the logs there.", show_default=False),
    ] = None,
    fail_rate: Annotated[float, typer.Option(help="Share of calls that go wrong.", min=0.0, max=0.5)] = 0.15,
    concurrency: Annotated[int, typer.Option(help="Orders under way at once.", min=1)] = 64,
    kill: Annotated[bool, typer.Option(help="Kill the orchestrating process midway.")] = True,
) -> None:
    """Run a thousand orders against three failing services, kill the job midway, audit the books.

    Public function: sagafsm.demo.demo.run_demo.
    """
    from .output import complain

    try:
        from ..demo.children import ChildFailed
        from ..demo.demo import run_demo
    except ModuleNotFoundError as exc:
        raise InvalidInput(f"the demo needs {exc.name}: pip install 'sagafsm[demo]'") from exc

    try:
        code = run_demo(
            seed=seed,
            orders=orders,
            store=store,
            keep=keep,
            fail_rate=fail_rate,
            concurrency=concurrency,
            kill=kill,
        )
    except StoreUnavailable as exc:
        exc.add_note("Is --store right, and does its server run? Without --store the demo makes a file of its own.")
        raise
    except ChildFailed as exc:
        complain(RuntimeError(f"the demo came to no end: {exc}"))
        raise typer.Exit(Exit.FAILED) from exc
    raise typer.Exit(code)


def run(
    saga: Annotated[str, typer.Argument(metavar="MODULE:SAGA", help="The saga to run.", show_default=False)],
    input: Annotated[  # noqa: A002
        str,
        typer.Option("--input", "-i", metavar="FILE", help="JSON Lines: one input a line; - is standard input."),
    ],
    store: options.Store = None,
    id_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The field of the input that is the saga's id.", show_default=False),
    ] = None,
    id_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What ids begin with; without --id-field the line number follows. Default: SAGA-FILE-.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Sagas under way at once.", min=1)] = 100,
    json: options.Json = False,
) -> None:
    """Run one saga per line of a file, and count what they came to.

    Every line is checked before the first saga starts. Run the same command again after it was interrupted: what has
    ended is not run again, what was under way goes on. The exit code tells of the most urgent of what happened.

    Public methods: Orchestrator.start and Orchestrator.execute.
    """
    from .batch import Lines, prefix_for
    from .code import load_saga
    from .opening import Place

    definition = load_saga(saga)
    place = Place.of(store, None, definition)
    with _file(input) as file:
        if input == "-" and id_field is None and id_prefix is None:
            raise InvalidInput("standard input has no name to make ids of: say --id-field NAME or --id-prefix TEXT")
        prefix = id_prefix if id_prefix is not None else "" if id_field else prefix_for(definition, Path(input).stem)
        lines = Lines(definition=definition, id_field=id_field, prefix=prefix, limit=place.settings.payload_limit)
        code = _run_file(place, definition, lines, file, min(concurrency, place.settings.concurrency), json=json)
    raise typer.Exit(code)


@contextlib.contextmanager
def _file(name: str) -> Iterator[BinaryIO]:
    """The input, so that it can be read twice."""
    with contextlib.ExitStack() as stack:
        try:
            file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            if name == "-" or not file.seekable():  # a pipe, such as <(zcat orders.gz)
                spool = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
                shutil.copyfileobj(file, spool)
                file = cast(BinaryIO, spool)
        except OSError as exc:
            raise InvalidInput(f"{name} cannot be read: {exc.strerror or exc}") from exc
        yield file


def _run_file(
    place: Place, definition: SagaDefinition, lines: Lines, file: BinaryIO, concurrency: int, *, json: bool
) -> Exit:
    from .batch import Tally, rewound, run_batch
    from .opening import opened
    from .output import print_json, say

    tally = Tally(total=lines.check(rewound(file)))
    stopped: list[Exit] = []

    async def main() -> None:
        _cancel_on_sigterm(stopped)
        async with opened(place, worker=True, migrate=True) as orchestrator:
            try:
                with _bar(tally) as told:
                    inputs = lines.read(rewound(file))
                    await run_batch(orchestrator, definition, inputs, tally, concurrency=concurrency, told=told)
            except asyncio.CancelledError:
                say("stopping: calls that run are given 10 s to end")
                raise

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        stopped.append(Exit.INTERRUPTED)
    except asyncio.CancelledError:
        if not stopped:
            raise
    except StoreError as exc:
        exc.add_note(f"{tally.ended} of {tally.total} have ended; run the same command again, and the rest goes on.")
        raise
    if json:
        print_json(
            {
                "saga": definition.name,
                "version": definition.version,
                "store": place.shown,
                **tally.to_dict(),
                "interrupted": bool(stopped),
            }
        )
    else:
        _show(tally)
    if stopped:
        say(f"interrupted: {tally.ended} of {tally.total} have ended; run the same command again, and the rest goes on")
        return stopped[0]
    return tally.exit


def _cancel_on_sigterm(stopped: list[Exit]) -> None:
    """End on SIGTERM as on Ctrl-C: let calls end, give up what is owned."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def stop() -> None:
        stopped.append(Exit.TERMINATED)
        if task is not None:
            task.cancel()

    with contextlib.suppress(NotImplementedError):  # Windows has no such signal
        loop.add_signal_handler(signal.SIGTERM, stop)


@contextlib.contextmanager
def _bar(tally: Tally) -> Iterator[Callable[[], None]]:
    """A progress bar where somebody looks; to be told that the tally has changed."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .output import console

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("", total=tally.total, said="")

        def told() -> None:
            rate = tally.ended / tally.seconds if tally.seconds else 0.0
            said = "  ".join(f"{count} {outcome}" for outcome, count in tally.outcomes.most_common())
            progress.update(task, completed=tally.ended, said=f"{said}  {rate:.0f}/s")

        yield told


def _show(tally: Tally) -> None:
    from ..core.durations import span
    from .output import cell, console, state_style, table

    screen = console()
    if tally.not_completed:
        rows = table("line", "saga", "came to", "because", right=("line",))
        for one in tally.not_completed[:SHOWN]:
            style = state_style(one.outcome.split()[0])
            rows.add_row(str(one.line), cell(one.saga_id), cell(one.outcome, style), cell(one.error))
        screen.print(rows)
        if len(tally.not_completed) > SHOWN:
            screen.print(f"… and {len(tally.not_completed) - SHOWN} more; --json tells all")
        screen.print()
    counts = table("sagas", "came to", right=("sagas",))
    for outcome, count in tally.outcomes.most_common():
        counts.add_row(str(count), cell(outcome, state_style(outcome.split()[0])))
    screen.print(counts)
    rate = tally.ended / tally.seconds if tally.seconds else 0.0
    existed = f", {tally.existed} of them existed before" if tally.existed else ""
    screen.print(f"{tally.ended} of {tally.total} in {span(tally.seconds)} ({rate:.0f}/s){existed}")
