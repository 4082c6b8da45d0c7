"""The verbs that draw and describe: ``diagram``, ``schema``."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InvalidInput
from . import options

if TYPE_CHECKING:
    from ..runtime.orchestrator import Orchestrator


class Format(enum.StrEnum):
    """How a diagram is written."""

    text = "text"
    mermaid = "mermaid"
    dot = "dot"


def diagram(
    saga: Annotated[
        str | None, typer.Argument(metavar="[MODULE:SAGA]", help="The definition to draw.", show_default=False)
    ] = None,
    saga_id: Annotated[
        str | None,
        typer.Option("--saga", metavar="ID", help="Draw a stored saga, with the way it went.", show_default=False),
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to write it.")] = Format.text,  # noqa: A002
    store: options.Store = None,
) -> None:
    """Draw a definition, or one saga with the way that it went.

    Public functions: sagafsm.core.diagram.definition_diagram and Orchestrator.definition_for.
    """
    if (saga is None) == (saga_id is None):
        raise InvalidInput("say what to draw: sagafsm diagram MODULE:SAGA, or sagafsm diagram --saga ID")
    try:
        text = _of_definition(saga, format) if saga is not None else _of_saga(saga_id or "", store, format)
    except InvalidInput as exc:
        if saga is not None and ":" not in saga:
            exc.add_note(f"Is {saga!r} the id of a stored saga? Then say: sagafsm diagram --saga {saga}")
        raise
    typer.echo(text.rstrip("\n"))


def _of_definition(target: str, format: Format) -> str:  # noqa: A002
    from ..core.diagram import definition_diagram
    from .code import load_saga

    return definition_diagram(load_saga(target).shape, format=format.value)


def _of_saga(saga_id: str, store: str | None, format: Format) -> str:  # noqa: A002
    from ..core.diagram import definition_diagram
    from .opening import Place, with_store

    async def work(orchestrator: Orchestrator) -> str:
        saga = await orchestrator.get(saga_id)
        definition = await orchestrator.definition_for(saga_id)
        held = [one.step for one in await orchestrator.remedies(saga) if one.step and one.saga_id == saga_id]
        if saga.stuck and saga.progress.stuck_step:
            held.append(saga.progress.stuck_step)
        return definition_diagram(
            definition.shape,
            format=format.value,
            states={name: step.state.value for name, step in saga.steps.items()},
            saga_state=saga.state.value,
            stuck=set(held),
        )

    return with_store(Place.of(store), work)


def schema() -> None:
    """Print the JSON Schema of contracts: sagas written as JSON or YAML.

    Public function: sagafsm.core.contract.contract_schema.
    """
    from importlib.resources import files

    typer.echo(files("sagafsm.core").joinpath("contract.schema.json").read_text(encoding="utf-8").rstrip("\n"))
