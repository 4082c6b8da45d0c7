"""The options that several verbs share."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated

import typer

from ..core.errors import InvalidInput

SagaId = Annotated[str, typer.Argument(metavar="ID", help="The saga's id.", show_default=False)]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The store. Default: SAGAFSM_STORE, else `store` in sagafsm.toml, else sqlite:///sagas.db.",
        show_default=False,
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE[:NAME]",
        help="Where the code is: a saga, a list of them, or a function that makes an Orchestrator.",
        show_default=False,
    ),
]
KeepIds = Annotated[
    str | None,
    typer.Option(
        "--keep-ids",
        metavar="SPAN",
        help="How long their ids stay taken. Default: SAGAFSM_KEEP_IDS, else 30 days.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Who decides. Default: your login name.", show_default=False),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why. It is stored with the saga.", show_default=False)
]
MessageId = Annotated[
    str | None,
    typer.Option(
        "--message-id", metavar="ID", help="Delivered again with the same id, it counts once.", show_default=False
    ),
]


def actor_or_login(actor: str | None) -> str:
    """Who is at the keyboard, unless somebody was named."""
    if actor is not None:
        return actor
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def interactive() -> bool:
    """Whether a person is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def reason_or_ask(reason: str | None) -> str:
    """The reason given; a person at a terminal is asked for it. Raises InvalidInput."""
    if reason is None and interactive():
        reason = typer.prompt("Why", err=True)
    if reason is None:
        raise InvalidInput("say why, it is stored with the saga: --reason 'TEXT'")
    return reason
