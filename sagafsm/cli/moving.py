"""The verbs that move sagas out of a store: ``archive`` and ``copy``."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ..moving import Archived, CopyReport

SHOWN = 20
"""Sagas that could not be copied, each with a line."""


def archive(
    older_than: Annotated[
        str, typer.Option(metavar="SPAN", help="Ended longer ago than this: 30d, 12h.", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="A folder, or a URL such as s3://bucket/sagas.", show_default=False),
    ],
    store: options.Store = None,
    limit: Annotated[int | None, typer.Option(help="At most so many.", min=1, show_default=False)] = None,
    compress: Annotated[bool, typer.Option("--gzip", help="Compress the files.")] = False,
    keep_ids: options.KeepIds = None,
    json: options.Json = False,
) -> None:
    """Write sagas that have ended to files (JSON Lines), then delete them from the store.

    A saga is deleted only after the file with it was written and closed. Interrupted, run it again.

    Public functions: Orchestrator.archive and sagafsm.read_archive.
    """
    from ..core.durations import parse_duration
    from ..core.errors import SettingsError
    from ..core.secrets import redact
    from .opening import Place, with_store
    from .output import print_json, say

    seconds = parse_duration(older_than)
    if to.startswith("memory:"):  # fsspec knows it, and what was deleted for it would be gone
        raise SettingsError(f"{to} is in the memory of this process, which ends now; name a folder that stays")

    def told(done: Archived) -> None:
        if not json:
            say(f"{done.sagas} sagas, {done.files} files, {done.bytes:,} bytes")

    done = with_store(
        Place.of(store),
        lambda orchestrator: orchestrator.archive(
            finished_before=seconds,
            to=to,
            limit=limit,
            compress=compress,
            keep_ids=None if keep_ids is None else parse_duration(keep_ids),
            progress=told,
        ),
    )
    if json:
        print_json({"archived": done.sagas, "files": done.files, "bytes": done.bytes, "to": redact(to)})
    else:
        typer.echo(f"{done.sagas} archived in {redact(to)}")


def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="The store to copy from: its URL, or env:NAME for the variable that holds it, password and all.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO", help="The store to copy to, likewise; made where there is none.", show_default=False
        ),
    ],
    finished_only: Annotated[bool, typer.Option("--finished-only", help="Leave alone what has not ended.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave live sagas alive in FROM; their copies are set aside in TO.")
    ] = False,
    wait: Annotated[
        str, typer.Option(metavar="SPAN", help="How long to try for live sagas that a worker of FROM holds.")
    ] = "30s",
    verify: Annotated[bool, typer.Option(help="Compare the logs in both stores at the end.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is.")] = False,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="TO is lost for good: free in FROM what was moved there. Copies nothing."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Copy the sagas of one store into another. What has ended stays in FROM; what lives moves, and goes on in TO.

    Interrupted, or with sagas left, run it again: it goes on where it was. Exit code 1: something could not be copied,
    or is not the same in both; 3: live sagas are left, because workers of FROM hold them.

    Public functions: sagafsm.copy_sagas and sagafsm.undo_copy.
    """
    from ..core.durations import parse_duration
    from ..core.errors import InvalidInput, SettingsError
    from ..runtime.transfer import copy_sagas, undo_copy
    from .output import print_json

    source, target = _url(source), _url(target)
    for url in (source, target):
        if url.startswith("memory:"):
            raise SettingsError(f"{url} is in the memory of this process, which ends now; name a store that stays")
    if undo and (dry_run or keep or finished_only):
        raise InvalidInput("--undo frees what was moved, and takes none of --dry-run, --keep, --finished-only")
    if undo:
        freed = asyncio.run(undo_copy(source, target))
        print_json({"freed": freed}) if json else typer.echo(f"{freed} freed")
        return
    if dry_run:
        ended, live = asyncio.run(_count(source))
        live = 0 if finished_only else live
        if json:
            print_json({"ended": ended, "live": live})
        else:
            typer.echo(f"{ended} that have ended would be copied, {live} live ones {'copied' if keep else 'moved'}")
        return
    with _bar(quiet=json) as told:
        report = asyncio.run(
            copy_sagas(
                source,
                target,
                finished_only=finished_only,
                keep=keep,
                wait=parse_duration(wait),
                verify=verify,
                progress=told,
            )
        )
    if json:
        print_json(report.to_dict())
    else:
        _show(report)
    if report.not_copied or report.wrong:
        raise typer.Exit(Exit.FAILED)
    if report.busy:
        raise typer.Exit(Exit.STUCK)


def _url(given: str) -> str:
    """The URL of a store. Whoever may list processes reads command lines, so it can lie in the environment."""
    from ..core.errors import SettingsError

    if not given.startswith("env:"):
        return given
    name = given.removeprefix("env:")
    if not os.environ.get(name):
        raise SettingsError(f"{given}: there is no variable {name!r} in the environment that holds a URL")
    return os.environ[name]


async def _count(source: str) -> tuple[int, int]:
    """How many sagas have ended, and how many live."""
    from ..store import open_store

    store = open_store(source)
    try:
        await store.setup(migrate=False)
        counts = await store.counts()
    finally:
        await store.close()
    ended = sum(count.count for count in counts if count.state in ("completed", "failed"))
    return ended, sum(count.count for count in counts) - ended


def _bar(*, quiet: bool) -> AbstractContextManager[Callable[[CopyReport], None] | None]:
    """A progress bar on stderr, where a person looks at it."""
    from .output import console

    screen = console(stderr=True)
    return nullcontext() if quiet or not screen.is_terminal else _Bar()


class _Bar:
    """How far the copy is; then how far the comparison is."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from .output import console

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console(stderr=True),
        )
        self._copying = self._progress.add_task("copying", total=None)
        self._comparing = self._progress.add_task("comparing", total=None, visible=False)

    def __enter__(self) -> Callable[[CopyReport], None]:
        self._progress.start()
        return self.show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, report: CopyReport) -> None:
        self._progress.update(self._copying, completed=report.done, total=max(report.total, report.done))
        if report.verified is not None:
            done = report.verified + len(report.wrong)
            self._progress.update(self._comparing, completed=done, total=max(report.total, done), visible=True)


def _show(report: CopyReport) -> None:
    from .output import cell, console, say

    parts = {
        "that have ended copied": report.finished,
        "live ones moved": report.moved,
        "live ones copied and set aside": report.kept,
        "there already": report.already,
        "in another store": report.elsewhere,
        "held by workers": report.busy,
    }
    typer.echo(", ".join(f"{count} {what}" for what, count in parts.items() if count) or "nothing to copy")
    if report.verified is not None:
        typer.echo(f"{report.verified} are the same in both stores")
    screen = console(stderr=True)
    for what, sagas in (("not copied", report.not_copied), ("WRONG", report.wrong)):
        for one in sagas[:SHOWN]:
            screen.print(cell(f"{what}: {one.saga_id}: {one.why}", "red"))
        if len(sagas) > SHOWN:
            say(f"… and {len(sagas) - SHOWN} more; --json lists all")
    if report.busy:
        say("run it again when the workers have let go of them, or stop the workers")
