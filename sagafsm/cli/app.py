"""The command ``sagafsm``: its verbs, and how each ends.

What must stay true: an error of sagafsm is one line on stderr and an exit code of exits.py, never a traceback unless
it was asked for; what only some verbs need is imported by them.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..core.errors import SagaError
from ..core.secrets import redact
from . import drawing, looking, moving, operating, proving, running, tending, working
from .exits import Exit, exit_of_error
from .output import complain

DEBUG = "--debug"


class Verbs(TyperGroup):
    """Turns errors into a line and an exit code."""

    debug = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``--debug`` counts wherever it stands."""
        end = args.index("--") if "--" in args else len(args)
        self.debug = DEBUG in args[:end]
        rest = [one for one in args[:end] if one != DEBUG] + args[end:]
        return super().parse_args(ctx, rest)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        if self.debug:
            from ..runtime.logs import log_to_stderr

            log_to_stderr("DEBUG", "%(levelname)s %(name)s: %(message)s")
        try:
            return super().invoke(ctx)
        except SagaError as exc:
            if self.debug:
                _show_traceback()
            else:
                complain(exc)
            raise typer.Exit(exit_of_error(exc)) from exc
        except KeyboardInterrupt as exc:
            complain(RuntimeError("interrupted"))
            raise typer.Exit(Exit.INTERRUPTED) from exc
        except BrokenPipeError as exc:  # `sagafsm ls | head`: what the reader did not want is no error
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.OK) from exc
        except (typer.Exit, typer.Abort):
            raise
        except Exception as exc:
            if type(exc).__module__.startswith(("typer", "click")):
                raise  # usage errors know how to show themselves
            _show_traceback()
            complain(RuntimeError("this is a bug in sagafsm, please report it"))
            raise typer.Exit(Exit.BUG) from exc


def _show_traceback() -> None:
    """What led to the error that is being handled, without secrets: drivers repeat the URL that they were given."""
    typer.echo(redact(traceback.format_exc()), err=True, nl=False)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("sagafsm"))
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks and the log. May stand anywhere.")] = False,
) -> None:
    """Run sagas, look at them, and decide what becomes of those that are stuck.

    Exit codes: 0 done, 1 a saga failed or a problem was found, 2 wrong usage or input, 3 a saga is stuck or suspended,
    4 no such saga, 5 refused, 6 store not available, 7 store not readable.
    """


def _help(verb: Callable[..., None]) -> str:
    """What a verb says of itself, a paragraph a line: where lines end is for the terminal to say."""
    paragraphs = (inspect.getdoc(verb) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback(help=_help(options))(options)

PANELS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Run": (running.demo, running.run, working.worker),
    "Look": (looking.ls, looking.show, looking.history, drawing.diagram, drawing.schema, looking.stats),
    "Decide": (
        tending.stuck,
        operating.resume,
        operating.retry,
        operating.skip,
        operating.abort,
        operating.suspend,
        operating.signal,
        operating.complete_step,
        operating.fail_step,
    ),
    "Prove": (proving.check, proving.check_compat, proving.export_test),
    "Look after a store": (tending.doctor, tending.migrate, tending.purge, moving.archive, moving.copy),
}
for panel, verbs in PANELS.items():
    for verb in verbs:
        app.command(verb.__name__.replace("_", "-"), help=_help(verb), rich_help_panel=panel)(verb)


def main() -> None:
    """The entry point of the installed command."""
    app()
