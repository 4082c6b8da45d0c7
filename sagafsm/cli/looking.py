"""The verbs that look at sagas: ``ls``, ``show``, ``history``, ``stats``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InvalidInput, StoreCorrupt, StoreTooNew
from . import options

if TYPE_CHECKING:
    from ..core.instance import SagaInstance
    from ..runtime.orchestrator import Orchestrator

PAGE = 100

State = Annotated[
    str | None,
    typer.Option(help="started, pending, compensating, completed or failed.", metavar="STATE", show_default=False),
]
Type = Annotated[
    str | None, typer.Option("--type", metavar="NAME", help="The name of the definition.", show_default=False)
]


def ls(
    store: options.Store = None,
    state: State = None,
    saga_type: Type = None,
    stuck: Annotated[
        bool | None, typer.Option("--stuck/--not-stuck", help="Only those that wait for a person.", show_default=False)
    ] = None,
    suspended: Annotated[
        bool | None,
        typer.Option("--suspended/--not-suspended", help="Only those that a person paused.", show_default=False),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Can be repeated: all must match.", show_default=False)
    ] = None,
    correlation: Annotated[
        str | None, typer.Option(metavar="ID", help="The correlation id.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Created before that: 2h, 30d.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.", min=0)] = PAGE,
    ids: Annotated[bool, typer.Option("--ids", help="Print the ids only, one a line.")] = False,
    json: options.Json = False,
) -> None:
    """List sagas, oldest first.

    Public method: Orchestrator.find.
    """
    from ..core.durations import parse_duration
    from .opening import Place, with_store
    from .output import print_json_array, say

    filters: dict[str, Any] = {
        "state": state,
        "saga_type": saga_type,
        "stuck": stuck,
        "suspended": suspended,
        "tags": dict(_tag(one) for one in tag or ()),
        "correlation_id": correlation,
        "older_than": None if older_than is None else parse_duration(older_than),
    }

    async def work(orchestrator: Orchestrator) -> None:
        found = orchestrator.find(**filters, limit=limit + 1 if limit else None)  # one more says whether there is more
        more = [False]

        async def limited() -> AsyncIterator[SagaInstance]:
            count = 0
            async for saga in found:
                count += 1
                if limit and count > limit:
                    more[0] = True
                    return
                yield saga

        if json:
            await print_json_array(saga.to_dict() async for saga in limited())
        elif ids:
            async for saga in limited():
                typer.echo(saga.saga_id)
        else:
            await _list(limited(), await orchestrator.store.now())
        if more[0]:
            say(f"there are more than {limit}; --limit 0 shows all of them")

    with_store(Place.of(store), work)


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--tag {text!r}: write KEY=VALUE")
    return key, value


async def _list(sagas: AsyncIterator[SagaInstance], now: float) -> None:
    from ..core.durations import span
    from .output import cell, console, say, state_text, table

    rows = table("saga", "type", "state", "age", "waits for", "error", right=("age",), whole=("saga",))
    async for saga in sagas:
        error = saga.stuck_reason if saga.stuck else saga.error
        rows.add_row(
            cell(saga.saga_id),
            cell(saga.saga_type),
            state_text(saga),
            span(now - saga.created_at),
            cell(waits_for(saga, now)),
            cell(error),
        )
    if rows.row_count:
        console().print(rows)
    else:
        say("no such saga")


def waits_for(saga: SagaInstance, now: float) -> str:
    """What a saga waits for, and how long yet."""
    from ..core.durations import span

    waiting = saga.waiting_for
    if waiting is None or saga.state.terminal:
        return ""
    name = f" {waiting.name}" if waiting.name else ""
    until = "" if waiting.until is None else f", {span(max(0.0, waiting.until - now))} yet"
    return f"{waiting.step}: {waiting.kind}{name}{until}"


def show(saga_id: options.SagaId, store: options.Store = None, json: options.Json = False) -> None:
    """Show one saga: where it stands, and its story call by call.

    Public methods: Orchestrator.get, Orchestrator.history and Orchestrator.remedies.
    """
    from ..core.timeline import timeline
    from .opening import Place, with_store
    from .output import console, print_json, say
    from .saga_view import head, print_remedies, story_rows

    async def work(orchestrator: Orchestrator) -> None:
        events = await orchestrator.history(saga_id)
        try:
            saga = await orchestrator.get(saga_id)
        except (StoreCorrupt, StoreTooNew):
            if not json:
                say("This is all that can be read of the saga:")
                console().print(story_rows(timeline(events)))
            raise
        story, remedies = timeline(events), await orchestrator.remedies(saga)
        if json:
            told = {"timeline": [one.to_dict() for one in story], "remedies": [one.to_dict() for one in remedies]}
            print_json({**saga.to_dict(), **told})
            return
        screen = console()
        screen.print(head(saga, await orchestrator.store.now()))
        screen.print()
        screen.print(story_rows(story))
        if remedies:
            screen.print("\nWhat you can do:")
            print_remedies(screen, remedies, store)

    with_store(Place.of(store), work)


def history(saga_id: options.SagaId, store: options.Store = None, json: options.Json = False) -> None:
    """Print every event of a saga, as stored.

    Public method: Orchestrator.history.
    """
    import msgspec

    from ..core.instance import iso
    from .opening import Place, with_store
    from .output import cell, compact, console, print_json, table

    async def work(orchestrator: Orchestrator) -> None:
        events = await orchestrator.history(saga_id)
        if json:
            print_json([{**msgspec.structs.asdict(event), "at": iso(event.at)} for event in events])
            return
        rows = table("seq", "at", "event", "step", "try", "data", right=("seq", "try"))
        for event in events:
            attempt = "" if event.attempt is None else str(event.attempt)
            data = compact(event.data) if event.data else ""
            rows.add_row(str(event.seq), cell(iso(event.at)), cell(event.type), cell(event.step), attempt, cell(data))
        console().print(rows)

    with_store(Place.of(store), work)


def stats(
    store: options.Store = None,
    over: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Count twice, so far apart, and tell how many ended.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Count sagas by definition, state and flags.

    Public method: Orchestrator.stats.
    """
    from ..core.durations import parse_duration
    from .opening import Place, with_store
    from .output import cell, console, print_json, state_style, table

    seconds = None if over is None else parse_duration(over)

    async def work(orchestrator: Orchestrator) -> None:
        found, rate = await orchestrator.stats(), None
        if seconds is not None:
            await asyncio.sleep(seconds)
            later = await orchestrator.stats()
            found, rate = later, later.finished_per_second(found)
        if json:
            print_json({**found.to_dict(), "finished_per_second": rate})
            return
        rows = table("sagas", "type", "version", "state", "flags", right=("sagas",))
        for count in found.counts:
            version = count.kind.partition("@")[2].partition("#")[0]
            flags = " ".join(flag for flag in ("stuck", "suspended") if getattr(count, flag))
            rows.add_row(
                str(count.count),
                cell(count.saga_type),
                cell(version),
                cell(count.state, state_style(count.state)),
                cell(flags, state_style("stuck" if count.stuck else "suspended")),
            )
        screen = console()
        if rows.row_count:
            screen.print(rows)
        parts = [f"{found.total} sagas", f"{found.live} unfinished", f"{found.stuck} stuck"]
        parts += [f"{found.suspended} suspended"]
        parts += [] if rate is None else [f"{rate:.1f} ended per second"]
        screen.print(", ".join(parts))

    with_store(Place.of(store), work)
