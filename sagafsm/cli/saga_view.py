"""One saga on a screen: its head, its story, and what can be done about it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.durations import span
from ..core.instance import SagaInstance
from ..core.timeline import Moment
from ..runtime.inspection import Remedy
from ..runtime.settings import redact
from .looking import waits_for
from .output import cell, clock, compact, state_style, state_text, table

ROLES = {"action": "", "fallback": " (fallback)", "probe": " (probe)", "compensation": " (undo)", "wait": ""}
COMMANDS = {"complete_step": "complete-step", "fail_step": "fail-step"}


def head(saga: SagaInstance, now: float) -> Table:
    """What is known of a saga, a fact a line."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")

    def row(name: str, value: str | Text | None) -> None:
        if value:
            rows.add_row(name, value if isinstance(value, Text) else cell(value))

    row("saga", saga.saga_id)
    row("type", f"{saga.saga_type} version {saga.definition_version}")
    row("state", state_text(saga))
    row("stuck", cell(saga.stuck_reason, state_style("stuck")) if saga.stuck else None)
    row("waits for", waits_for(saga, now))
    row("error", None if saga.error is None else str(saga.error))
    row("created", f"{clock(saga.created_at)} UTC ({span(now - saga.created_at)} ago)")
    if saga.finished_at is not None:
        row("ended", f"{clock(saga.finished_at)} UTC (after {span(saga.finished_at - saga.created_at)})")
    elif saga.deadline is not None:
        row("deadline", f"{clock(saga.deadline)} UTC")
    row("parent", saga.parent_id)
    row("correlation", saga.correlation_id if saga.correlation_id != saga.saga_id else None)
    row("tags", ", ".join(f"{key}={value}" for key, value in saga.tags.items()))
    row("input", compact(saga.to_dict()["data"]))
    return rows


def story_rows(story: Sequence[Moment]) -> Table:
    """A row a call or event; times are counted from the beginning of the saga."""
    rows = table("at", "took", "step", "try", "what happened", "error", right=("at", "took", "try"))
    for one in story:
        style = ""
        if one.what.startswith("STUCK"):
            style = state_style("stuck")
        elif one.what.startswith(("COMPLETED", "FAILED")):
            style = state_style(one.what.partition(" ")[0].lower())
        rows.add_row(
            f"+{span(one.at - story[0].at)}",
            "…" if one.running else "" if one.seconds is None else span(one.seconds),
            cell(f"{one.step or ''}{ROLES.get(one.role or '', '')}"),
            "" if one.attempt is None else str(one.attempt),
            cell(one.what, style),
            cell(one.error, "red"),
        )
    return rows


def print_remedies(screen: Console, remedies: Sequence[Remedy], store: str | None) -> None:
    """Each command on a line of its own, never broken, so that it can be copied; and when it is the right one."""
    for remedy in remedies:
        screen.print(cell(f"  {command(remedy, store)}"), soft_wrap=True)
        screen.print(cell(f"      {remedy.meaning}", "dim"))


def command(remedy: Remedy, store: str | None) -> str:
    """The command line of a remedy. ``store``: as it was given on the command line."""
    words = ["sagafsm", COMMANDS.get(remedy.verb, remedy.verb), remedy.saga_id]
    if remedy.step is not None:
        words.append(remedy.step)
    if remedy.verb != "complete_step":
        words += ["--error" if remedy.verb == "fail_step" else "--reason", "…"]
    if store is not None:
        words += ["--store", redact(store)]
    return shlex.join(words)
