"""What the commands print: text for people through rich, JSON for scripts past it.

What must stay true: what is stored is data, never markup and never commands to a terminal: it is shown as it is, with
control characters made visible. JSON goes to stdout alone; everything that is no result goes to stderr.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from ..core.secrets import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..core.instance import SagaInstance

PIPE_WIDTH = 200  # columns where nobody looks: a line stays a line for grep
STYLES = {
    "started": "cyan",
    "pending": "cyan",
    "compensating": "yellow",
    "completed": "green",
    "failed": "red",
    "stuck": "bold red",
    "suspended": "magenta",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def console(*, stderr: bool = False) -> Console:
    """A console for the stream as it is now."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not made.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        made.width = PIPE_WIDTH
    return made


def clean(text: object) -> str:
    """A text from outside without power over the terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def cell(text: object, style: str = "") -> Text:
    """A text from outside, for a table."""
    from rich.text import Text

    return Text("" if text is None else clean(text), style=style)


def table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A plain table; numbers stand to the ``right``, and what is ``whole`` is folded last."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in right,
            ratio=None,
            min_width=min(12, len(column)) if column in whole else None,
        )
    return made


def say(text: str) -> None:
    """Something that is no result."""
    typer.echo(clean(text), err=True)


def complain(error: BaseException) -> None:
    """An error, in a line, and what was noted about it."""
    typer.echo(f"error: {clean(redact(str(error)))}", err=True)
    for note in getattr(error, "__notes__", ()):
        typer.echo(clean(redact(note)), err=True)


def print_json(value: Any) -> None:
    """One JSON value."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


async def print_json_array(items: AsyncIterator[Any]) -> int:
    """A JSON array that is printed while it is read, one item a line; return how many there were."""
    count = 0
    async for item in items:
        typer.echo(("[" if not count else ",\n") + msgspec.json.encode(item).decode(), nl=False)
        count += 1
    typer.echo("]" if count else "[]")
    return count


@cache
def state_style(state: str) -> str:
    """The colour of a state or a flag."""
    return STYLES.get(state, "")


def state_text(saga: SagaInstance) -> Text:
    """The state, the outcome and the flags of a saga."""
    text = cell(saga.state.value, state_style(saga.state.value))
    if saga.outcome:
        text.append(f" ({clean(saga.outcome)})", style=state_style("failed"))
    for flag in ("stuck", "suspended"):
        if getattr(saga, flag):
            text.append(f" {flag}", style=state_style(flag))
    return text


def clock(at: float | None) -> str:
    """A time for people, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def compact(value: Any, limit: int = 300) -> str:
    """A JSON value on one line, shortened for people."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
