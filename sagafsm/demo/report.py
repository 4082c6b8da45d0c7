"""What the demo prints.

What must stay true: every number comes from the sagas' outcomes, the books or a clock; nothing is promised here that
the audit has not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sagafsm import Event, SagaInstance
from sagafsm.core.diagram import definition_diagram
from sagafsm.declare import definition_of

from .books import Books
from .faults import Fault
from .outcome import Outcome
from .saga import OrderFulfillment

if TYPE_CHECKING:
    from .demo import Result

FINDINGS_SHOWN = 20


@contextmanager
def bar(console: Console, total: int) -> Generator[Callable[[int, str], None], None, None]:
    """A progress bar where somebody looks; to be told how many orders have ended and what is being done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda done, doing: progress.update(task, completed=done, description=doing)


def show(console: Console, result: Result, total_seconds: float) -> None:
    """Print the diagram, one failed order, the counts, the faults and the audit."""
    evidence, settings = result.evidence, result.settings
    console.rule("the saga")
    console.print(diagram(), markup=False, highlight=False)
    if result.example is not None:
        console.rule(f"one failed order: {result.example.saga_id}")
        console.print(diagram(result.example), markup=False, highlight=False)
        console.print(timeline(result.timeline))
    console.rule("the orders")
    console.print(counts(list(evidence.outcomes.values())))
    console.rule("what went wrong on the way")
    console.print(faults(evidence.books, evidence.outcomes))
    console.rule("the audit")
    for finding in result.report.findings[:FINDINGS_SHOWN]:
        console.print(str(finding), style="red", markup=False, highlight=False)
    if len(result.report.findings) > FINDINGS_SHOWN:
        console.print(f"… and {len(result.report.findings) - FINDINGS_SHOWN} more")
    wrong = {finding.check for finding in result.report.findings}
    for check in result.report.checks:
        mark = "[red]wrong[/red]" if check in wrong else "[green]ok[/green]"
        console.print(f"  {mark}  {check}")
    killed = "" if result.killed_at is None else f", killed with SIGKILL after {result.killed_at}"
    included = " (kill and restart included)" if killed else ""
    console.print(
        f"{settings.orders} orders{killed}: {settings.orders / result.seconds:.0f} sagas/s over {result.seconds:.1f} s"
        f"{included}, {total_seconds:.1f} s in all; --seed {settings.seed} repeats it."
    )


def diagram(saga: SagaInstance | None = None) -> str:
    """The diagram of the demo's definition, or of one saga's way through it."""
    shape = definition_of(OrderFulfillment).shape
    if saga is None:
        return definition_diagram(shape, format="text")
    states = {name: view.state.value for name, view in saga.steps.items()}
    return definition_diagram(shape, format="text", states=states, saga_state=saga.state.value)


def counts(outcomes: Sequence[Outcome]) -> Table:
    """How many orders came to what, and why."""
    table = Table("orders", "came to", "because", box=None, pad_edge=False)
    groups = Counter((outcome.state, outcome.outcome, outcome.stuck, _why(outcome)) for outcome in outcomes)
    for (state, end, stuck, why), count in sorted(groups.items(), key=lambda group: (group[0][0], -group[1])):
        came_to = state + (f" ({end})" if end else "") + (", stuck" if stuck else "")
        table.add_row(str(count), came_to, why)
    return table


def _why(outcome: Outcome) -> str:
    if outcome.state == "completed":
        return ""
    # What stands in brackets at the end differs from order to order.
    return f"{outcome.step}: {(outcome.reason or '').removeprefix('Rejected: ').partition(' (')[0]}"


def faults(books: Books, outcomes: Mapping[str, Outcome]) -> Table:
    """How many calls met which fault, and what came of it."""
    table = Table("calls", "", box=None, pad_edge=False)
    table.add_row(str(sum(books.faults.values())), "reached a participant, of which")
    for fault in Fault:
        if fault is not Fault.NONE:
            table.add_row(str(books.faults.get(fault.value, 0)), f"  {fault.value}")
    for verdict, meaning in (
        ("answered again", "were repeats, answered from the receipt"),
        ("nothing to undo", "were compensations of what had not happened"),
        ("refused: cancelled before", "were actions that came after their compensation, and were refused"),
        ("settled: happened", "asked for a lost shipment, and found it"),
        ("settled: did not happen", "asked for a lost shipment, and made sure that there is none"),
    ):
        table.add_row(str(books.verdicts.get(verdict, 0)), meaning)
    retried = sum(1 for outcome in outcomes.values() if outcome.forward_retries)
    table.add_row(str(retried), "orders were past the point of no return when a call failed, and went forward")
    table.add_row(str(sum(outcome.lifted for outcome in outcomes.values())), "times an operator had to lift a saga")
    return table


def timeline(events: Sequence[Event]) -> Table:
    """A saga's history, a line an event, in milliseconds from its beginning."""
    table = Table(box=None, pad_edge=False)
    for title in ("ms", "event", "step", "attempt"):
        table.add_column(title, no_wrap=True)
    table.add_column("")
    for event in events:
        table.add_row(
            f"{(event.at - events[0].at) * 1000:.0f}",
            event.type,
            event.step or "",
            "" if event.attempt is None else str(event.attempt),
            _detail(event.data),
        )
    return table


def _detail(data: Mapping[str, Any]) -> str:
    error: dict[str, Any] | None = data.get("error") or data.get("cause")
    if error is not None:
        return f"{error.get('type')}: {error.get('message', '')}".removesuffix(": ")
    if data.get("interruption"):
        return "again: the process was killed during the call"
    return str(data.get("outcome") or "")
