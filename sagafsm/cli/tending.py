"""The verbs that look after a store: ``stuck``, ``purge``, ``doctor``, ``migrate``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import SagaError
from . import options
from .exits import Exit

if TYPE_CHECKING:
    from ..core.instance import SagaInstance
    from ..runtime.diagnosis import Diagnosis
    from ..runtime.orchestrator import Orchestrator
    from .opening import Place

MARKS = {"problem": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


def stuck(
    store: options.Store = None,
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.", min=0)] = 100,
    json: options.Json = False,
) -> None:
    """List the sagas that wait for a person, why, and what would mend each. Exit code 3 where there are any.

    Public methods: Orchestrator.find(stuck=True) and Orchestrator.remedies.
    """
    from .opening import Place, with_store
    from .output import print_json_array, say

    async def work(orchestrator: Orchestrator) -> int:
        async def found() -> AsyncIterator[dict[str, Any]]:
            async for saga in orchestrator.find(stuck=True, limit=limit or None):
                told = [one.to_dict() for one in await orchestrator.remedies(saga)]
                yield {**saga.to_dict(), "remedies": told}

        if json:
            return await print_json_array(found())
        count = 0
        now = await orchestrator.store.now()
        async for saga in orchestrator.find(stuck=True, limit=limit or None):
            await _show_stuck(orchestrator, saga, now, store)
            count += 1
        total = (await orchestrator.stats()).stuck
        some = f"{count or 'no'} stuck saga{'' if count == 1 else 's'}"
        say(f"{count} of {total} shown; --limit 0 shows all" if count < total else some)
        return count

    if with_store(Place.of(store), work):
        raise typer.Exit(Exit.STUCK)


async def _show_stuck(orchestrator: Orchestrator, saga: SagaInstance, now: float, store: str | None) -> None:
    from ..core.durations import span
    from .output import cell, console, state_text
    from .saga_view import print_remedies

    screen = console()
    line = cell(saga.saga_id, "bold").append(f"  {saga.saga_type}  ").append_text(state_text(saga))
    screen.print(line.append(f"  for {span(max(0.0, now - saga.updated_at))}"))
    screen.print(cell(f"  {saga.stuck_reason}"))
    print_remedies(screen, await orchestrator.remedies(saga), store)
    screen.print()


def purge(
    older_than: Annotated[
        str, typer.Option(metavar="SPAN", help="Ended longer ago than this: 30d, 12h.", show_default=False)
    ],
    store: options.Store = None,
    limit: Annotated[int | None, typer.Option(help="Delete at most so many.", min=1, show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    keep_ids: options.KeepIds = None,
    json: options.Json = False,
) -> None:
    """Delete sagas that have ended, each with its whole history. Unfinished ones are never touched.

    Their ids stay taken for a while, so that a start that comes late does not run a saga again.

    Public method: Orchestrator.purge.
    """
    from ..core.durations import parse_duration
    from .opening import Place, with_store
    from .output import print_json

    seconds = parse_duration(older_than)
    kept = None if keep_ids is None else parse_duration(keep_ids)
    count = with_store(
        Place.of(store),
        lambda orchestrator: orchestrator.purge(finished_before=seconds, limit=limit, dry_run=dry_run, keep_ids=kept),
    )
    if json:
        print_json({"purged": 0 if dry_run else count, "found": count, "dry_run": dry_run})
    else:
        typer.echo(f"{count} would be deleted" if dry_run else f"{count} deleted")


def migrate(store: options.Store = None, json: options.Json = False) -> None:
    """Make a store, or bring its schema up to date. Changes no saga.

    Public method: Store.setup.
    """
    from .opening import Place, opened
    from .output import print_json

    place = Place.of(store)

    async def main() -> str:
        async with opened(place, migrate=True) as orchestrator:
            return (await orchestrator.store.check()).description

    description = asyncio.run(main())
    if json:
        print_json({"store": place.shown, "schema": "up to date", "description": description})
    else:
        typer.echo(f"{place.shown} is up to date ({description})")


def doctor(store: options.Store = None, app: options.App = None, json: options.Json = False) -> None:
    """Say what is wrong with the store, its workers and its sagas, and how to mend it. Exit code 1 for a problem.

    With --app it also says which sagas your code could not run.

    Public method: Orchestrator.doctor.
    """
    from .opening import Place
    from .output import print_json

    place = Place.of(store, app)
    found = _diagnosis(place)
    if json:
        print_json({"store": place.shown, **found.to_dict()})
    else:
        _show_diagnosis(place.shown, found)
    if not found.ok:
        raise typer.Exit(Exit.FAILED)


def _diagnosis(place: Place) -> Diagnosis:
    """The diagnosis; a store that cannot be opened is the first finding of one."""
    from ..runtime.diagnosis import Diagnosis, Finding, versions
    from .opening import with_store

    try:
        return with_store(place, lambda orchestrator: orchestrator.doctor())
    except SagaError as exc:
        mend = " ".join(getattr(exc, "__notes__", ())) or "see the message"
        return Diagnosis(
            facts={"versions": versions(), "settings": place.settings.shown()},
            findings=[Finding(level="problem", about="store", what=str(exc), mend=mend)],
        )


def _show_diagnosis(shown: str, found: Diagnosis) -> None:
    from rich.table import Table

    from .output import cell, console

    facts = found.facts
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        rows.add_row(name, cell(value))

    row("store", shown)
    if "store" in facts:
        row("", facts["store"]["durability"])
        row("", "writes survive a power failure" if facts["store"]["synced"] else "writes can be lost")
        row("schema", facts["store"]["schema"])
    row("versions", _pairs(facts["versions"]))
    row("settings", _pairs(facts["settings"], "="))
    if "sagas" in facts:
        row("sagas", _pairs(facts["sagas"]) or "none")
        row("definitions", ", ".join(kind.partition("#")[0].replace("@", " version ") for kind in facts["definitions"]))
        workers = [
            f"{one['worker_id'].rpartition(':')[2]}: {'alive' if one['alive'] else 'gone'}, {one['sagas']} sagas"
            for one in facts["workers"]
        ]
        row("workers", "\n".join(workers) or "none")
    screen = console()
    screen.print(rows)
    screen.print()
    for finding in found.findings:
        mark, style = MARKS[finding.level]
        screen.print(cell(f"{mark} {finding.about}: {finding.what}", style))
        if finding.mend:
            screen.print(cell(f"    {finding.mend}"))
    problems = sum(finding.level == "problem" for finding in found.findings)
    screen.print(cell("all is well", "green") if not problems else cell(f"{problems} to mend", "bold red"))


def _pairs(values: Mapping[str, Any], between: str = " ") -> str:
    return ", ".join(f"{key}{between}{value}" for key, value in values.items())
