"""The verbs by which a person decides: ``resume``, ``retry``, ``skip``, ``abort``, ``suspend``, and what is told to
a saga: ``signal``, ``complete-step``, ``fail-step``.

What must stay true: none of them needs the code. The decision is stored and whoever runs the saga goes on by it; with
``--app`` the saga is also run here, as far as it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InvalidInput, SagaError, StoreCorrupt, StoreTooNew
from . import options
from .exits import Exit, exit_of_error, exit_of_saga

if TYPE_CHECKING:
    from ..core.commands import Delivery
    from ..core.instance import SagaInstance
    from ..runtime.orchestrator import Orchestrator

Step = Annotated[str, typer.Argument(metavar="STEP", help="The step's name.", show_default=False)]
Value = Annotated[
    str | None, typer.Argument(metavar="[JSON]", help="What it brings. Default: null.", show_default=False)
]
Compensation = Annotated[bool, typer.Option("--compensation", help="It is the reply to the step's compensation.")]
Attempt = Annotated[
    int | None, typer.Option(metavar="N", help="Which attempt it is for. Default: the current one.", show_default=False)
]


def resume(
    saga_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The saga's id; or say --all.", show_default=False)
    ] = None,
    store: options.Store = None,
    app: options.App = None,
    every: Annotated[bool, typer.Option("--all", help="Take up all that is due and nobody runs; needs --app.")] = False,
    actor: options.Actor = None,
    reason: options.Reason = None,
    json: options.Json = False,
) -> None:
    """Lift a suspension; with --app, run the saga from where it stands.

    Public methods: Orchestrator.resume, Orchestrator.resume_all and Orchestrator.execute.
    """
    if every:
        if saga_id is not None or app is None:
            raise InvalidInput("--all takes no id, and needs the code: sagafsm resume --all --app MODULE[:NAME]")
        raise typer.Exit(_resume_all(store, app, json=json))
    if saga_id is None:
        raise InvalidInput("say which saga: sagafsm resume ID; or all of them: sagafsm resume --all --app MODULE")
    who = options.actor_or_login(actor)
    _decide(saga_id, store, app, lambda orchestrator: orchestrator.resume(saga_id, actor=who, reason=reason), json)


def _resume_all(store: str | None, app: str, *, json: bool) -> Exit:
    from .opening import Place, with_store
    from .output import complain, console, print_json, say, state_text, table

    sagas: dict[str, SagaInstance] = {}
    wrong: dict[str, SagaError] = {}

    async def run_one(orchestrator: Orchestrator, saga_id: str) -> None:
        try:
            sagas[saga_id] = await orchestrator.execute(saga_id)
        except SagaError as exc:  # of this saga: the others go on
            wrong[saga_id] = exc

    async def work(orchestrator: Orchestrator) -> None:
        while taken := set(await orchestrator.resume_all()) - wrong.keys():
            await asyncio.gather(*(run_one(orchestrator, saga_id) for saga_id in taken))

    with_store(Place.of(store, app), work)
    for error in wrong.values():
        complain(error)
    if json:
        print_json([saga.to_dict() for saga in sagas.values()])
    elif sagas:
        rows = table("saga", "state")
        for saga in sagas.values():
            rows.add_row(saga.saga_id, state_text(saga))
        console().print(rows)
    elif not wrong:
        say("nothing is due")
    return exit_of_error(next(iter(wrong.values()))) if wrong else _worst(list(sagas.values()))


def _worst(sagas: Sequence[SagaInstance]) -> Exit:
    codes = {exit_of_saga(saga) for saga in sagas}
    return next((code for code in (Exit.STUCK, Exit.FAILED) if code in codes), Exit.OK)


def retry(
    saga_id: options.SagaId,
    store: options.Store = None,
    app: options.App = None,
    actor: options.Actor = None,
    reason: options.Reason = None,
    json: options.Json = False,
) -> None:
    """Give new attempts to what is stuck, and to nothing else.

    Public method: Orchestrator.retry.
    """
    who, why = options.actor_or_login(actor), options.reason_or_ask(reason)
    _decide(saga_id, store, app, lambda orchestrator: orchestrator.retry(saga_id, actor=who, reason=why), json)


def skip(
    saga_id: options.SagaId,
    step: Step,
    store: options.Store = None,
    app: options.App = None,
    actor: options.Actor = None,
    reason: options.Reason = None,
    json: options.Json = False,
) -> None:
    """Waive a stuck compensation, or pass over a stuck step after the pivot.

    Public method: Orchestrator.skip.
    """
    who, why = options.actor_or_login(actor), options.reason_or_ask(reason)
    _decide(saga_id, store, app, lambda orchestrator: orchestrator.skip(saga_id, step, actor=who, reason=why), json)


def abort(
    saga_id: options.SagaId,
    store: options.Store = None,
    app: options.App = None,
    actor: options.Actor = None,
    reason: options.Reason = None,
    cut: Annotated[bool, typer.Option("--cut", help="Cancel running calls; their outcome is then unknown.")] = False,
    compensate: Annotated[
        bool, typer.Option("--compensate/--no-compensate", help="Undo what was done, or waive all of it.")
    ] = True,
    json: options.Json = False,
) -> None:
    """Stop a saga and undo what it did.

    Public method: Orchestrator.abort.
    """
    who, why = options.actor_or_login(actor), options.reason_or_ask(reason)
    _decide(
        saga_id,
        store,
        app,
        lambda orchestrator: orchestrator.abort(saga_id, why, actor=who, cut=cut, compensate=compensate),
        json,
        turns_back=True,
    )


def suspend(
    saga_id: options.SagaId,
    store: options.Store = None,
    actor: options.Actor = None,
    reason: options.Reason = None,
    json: options.Json = False,
) -> None:
    """Pause a saga: nothing new starts until it is resumed.

    Public method: Orchestrator.suspend.
    """
    who, why = options.actor_or_login(actor), options.reason_or_ask(reason)
    _decide(saga_id, store, None, lambda orchestrator: orchestrator.suspend(saga_id, actor=who, reason=why), json)


def _decide(
    saga_id: str,
    store: str | None,
    app: str | None,
    verb: Callable[[Orchestrator], Awaitable[SagaInstance]],
    json: bool,
    *,
    turns_back: bool = False,
) -> None:
    """Store a decision, run the saga if its code is here, and tell how it stands.

    ``turns_back``: that the saga fails is what was asked for.
    """
    from .opening import Place, with_store

    place = Place.of(store, app)
    ran = bool(place.definitions)

    async def work(orchestrator: Orchestrator) -> tuple[SagaInstance | None, SagaInstance]:
        try:
            before = await orchestrator.get(saga_id)
        except (StoreCorrupt, StoreTooNew):
            before = None  # the verb says whether it can do without
        if ran and before is not None:
            refuse_unknown(orchestrator, before)
        saga = await verb(orchestrator)
        if ran and not saga.suspended:
            saga = await orchestrator.execute(saga_id)
        return before, saga

    before, saga = with_store(place, work)
    _tell(saga, before is None or saga.version != before.version, json=json, ran=ran)
    if ran:
        code = exit_of_saga(saga)
        expected = turns_back or (before is not None and before.state.value in ("compensating", "failed"))
        raise typer.Exit(Exit.OK if code is Exit.FAILED and expected else code)


def refuse_unknown(orchestrator: Orchestrator, saga: SagaInstance) -> None:
    """Raise InvalidInput for a saga that is not over and that the code at hand cannot run: it would wait for ever."""
    kind = saga.progress.kind
    if saga.state.terminal or kind in orchestrator.definitions:
        return
    name = f"{saga.saga_type} version {saga.definition_version}"
    if any(known.partition("#")[0] == kind.partition("#")[0] for known in orchestrator.definitions):
        raise InvalidInput(
            f"saga {saga.saga_id} was started with other steps of {name} than this code has; take the code that it "
            "was started with (`sagafsm check-compat` tells what has changed)"
        )
    raise InvalidInput(f"saga {saga.saga_id} is of {name}, which this code does not have; name the module that has it")


def _tell(saga: SagaInstance, changed: bool, *, json: bool, ran: bool) -> None:
    from .output import cell, console, print_json, state_text

    if json:
        print_json({**saga.to_dict(), "changed": changed})
        return
    line = cell(f"{saga.saga_id}: ").append(state_text(saga))
    if not changed:
        line.append(", nothing to do")
    elif not (ran or saga.state.terminal or saga.suspended or saga.stuck):
        line.append(", stored; whoever runs it goes on by it")
    if saga.stuck:
        line.append_text(cell(f": {saga.stuck_reason}"))
    console().print(line)


# --- messages ---

REFUSALS = {
    "late": "nothing was changed: the step, or the saga, has moved on; `sagafsm show ID` tells how far",
    "unexpected": "nothing was changed: no step of it waits for that; `sagafsm diagram --saga ID` shows its steps",
}


def signal(
    saga_id: options.SagaId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.", show_default=False)],
    payload: Value = None,
    store: options.Store = None,
    message_id: options.MessageId = None,
    json: options.Json = False,
) -> None:
    """Deliver an outside event that a step waits for.

    Public method: Orchestrator.signal.
    """
    value = _value(payload)
    _deliver(store, lambda orchestrator: orchestrator.signal(saga_id, name, value, message_id=message_id), json)


def complete_step(
    saga_id: options.SagaId,
    step: Step,
    result: Value = None,
    store: options.Store = None,
    attempt: Attempt = None,
    compensation: Compensation = False,
    message_id: options.MessageId = None,
    json: options.Json = False,
) -> None:
    """Say that a step happened: one that awaits its reply, or is stuck because nobody knew.

    Public method: Orchestrator.complete_step.
    """
    value = _value(result)
    _deliver(
        store,
        lambda orchestrator: orchestrator.complete_step(
            saga_id, step, value, attempt=attempt, message_id=message_id, compensation=compensation
        ),
        json,
    )


def fail_step(
    saga_id: options.SagaId,
    step: Step,
    error: Annotated[str, typer.Option(metavar="TEXT", help="What went wrong.", show_default=False)],
    store: options.Store = None,
    retryable: Annotated[bool, typer.Option("--retryable", help="It may be tried again.")] = False,
    attempt: Attempt = None,
    compensation: Compensation = False,
    message_id: options.MessageId = None,
    json: options.Json = False,
) -> None:
    """Say that a step did not happen: one that awaits its reply, or is stuck because nobody knew.

    Public method: Orchestrator.fail_step.
    """
    _deliver(
        store,
        lambda orchestrator: orchestrator.fail_step(
            saga_id,
            step,
            error,
            retryable=retryable,
            attempt=attempt,
            message_id=message_id,
            compensation=compensation,
        ),
        json,
    )


def _value(text: str | None) -> Any:
    import msgspec

    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise InvalidInput(f"{text!r} is no JSON ({exc}); a text needs its own quotes: '\"approved\"'") from exc


def _deliver(store: str | None, send: Callable[[Orchestrator], Awaitable[Delivery]], json: bool) -> None:
    from .opening import Place, with_store
    from .output import print_json, say

    delivery = with_store(Place.of(store), send).value
    if json:
        print_json({"delivery": delivery})
    else:
        typer.echo(delivery)
    if delivery in REFUSALS:
        say(REFUSALS[delivery])
        raise typer.Exit(Exit.REFUSED)
