"""The conductor of the demo: starts everything, kills the job midway, starts it again, audits the books.

What must stay true: it takes no part in the sagas. The kill is a SIGKILL, it comes when half of the orders have ended,
and what follows is what any process does that starts on the same store. The books are audited after the participants
have ended, so that a call that hung cannot change them afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import msgspec
from rich.console import Console

from sagafsm import Event, InvalidInput, Orchestrator, SagaInstance

from .audit import ORDERS, OUTCOMES, Evidence, Report, audit, read_evidence
from .books import PARTICIPANTS
from .children import Child, ChildFailed, Children, Deadline
from .faults import FaultPlan
from .logs import keep_logs
from .make_orders import as_lines
from .orders import load_orders
from .outcome import Outcome
from .participant import ANNOUNCEMENT
from .report import bar, show
from .saga import OrderFulfillment

START_LIMIT = 30.0
JOB_LIMIT = 300.0
"""Seconds; a demo takes a tenth of it. Beyond it something hangs, and the demo says so instead of hanging too."""


@attrs.frozen(kw_only=True)
class Settings:
    """What a demo is run with. ``store`` is a URL; ``prefix`` is what its saga ids begin with."""

    folder: Path
    store: str
    prefix: str = ""
    seed: int = 1
    orders: int = 1000
    fail_rate: float = 0.15
    concurrency: int = 64
    kill: bool = True


@attrs.frozen(kw_only=True)
class Result:
    """What a demo came to.

    ``killed_at``: how many orders had ended; ``seconds``: how long the sagas took. ``example``: the saga of one failed
    order, and ``timeline`` its history.
    """

    settings: Settings
    evidence: Evidence
    report: Report
    killed_at: int | None
    seconds: float
    example: SagaInstance | None
    timeline: Sequence[Event]


def run_demo(
    *,
    seed: int = 1,
    orders: int = 1000,
    store: str | None = None,
    keep: Path | None = None,
    fail_rate: float = 0.15,
    concurrency: int = 64,
    kill: bool = True,
    console: Console | None = None,
) -> int:
    """Run the demo and print what it came to; 0: the audit found nothing wrong, 1: it did.

    ``seed`` repeats the faults. ``store`` is a URL (default: a SQLite file in the demo's folder). ``keep`` names an
    empty folder for the books, the store and the logs, to be looked at afterwards; without it they are thrown away.
    ``fail_rate`` is the share of calls that go wrong, at most 0.5. Raises InvalidInput where it cannot be run,
    SettingsError or StoreError where its store cannot be used, and ChildFailed where one of its processes fails.
    """
    console = console or Console()
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            folder = _folder(keep, stack)
            settings = _settings(folder, seed, orders, store, fail_rate, concurrency, kill=kill)
            with bar(console, settings.orders) as advance:
                result = conduct(settings, advance)
        except (ValueError, OSError) as exc:
            raise InvalidInput(f"the demo could not be run: {exc}") from exc
        code = conclude(console, result, time.monotonic() - began)
        if keep is not None:
            again = f"Books, store and logs are in {folder}; python -m sagafsm.demo.audit {folder} audits again."
            console.print(again, soft_wrap=True, markup=False, highlight=False)  # to be copied as it is
    return code


def conclude(console: Console, result: Result, total_seconds: float) -> int:
    """Print what a demo came to and return its exit code: 0, or 1 if the audit found something wrong."""
    show(console, result, total_seconds)
    return 0 if result.report.ok else 1


def _folder(keep: Path | None, stack: ExitStack) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sagafsm-demo-")))
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise ValueError(f"{keep} is not empty; name an empty folder, or one that does not exist yet")
    return keep.resolve()


def _settings(
    folder: Path, seed: int, orders: int, store: str | None, fail_rate: float, concurrency: int, *, kill: bool
) -> Settings:
    FaultPlan.spread(seed, fail_rate)
    for name, value in (("orders", orders), ("concurrency", concurrency)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    if store is not None and urlsplit(store).scheme == "memory":
        raise ValueError("a memory store dies with the process that the demo kills; name one that remembers")
    return Settings(
        folder=folder,
        store=store or f"sqlite:///{folder / 'sagas.db'}",
        # In a store that is kept, the orders of an earlier demo have their sagas already.
        prefix="" if store is None else f"demo-{secrets.token_hex(4)}-",
        seed=seed,
        orders=orders,
        fail_rate=fail_rate,
        concurrency=concurrency,
        kill=kill,
    )


def conduct(settings: Settings, advance: Callable[[int, str], None] = lambda done, doing: None) -> Result:
    """Run the demo without printing. ``advance`` is told how many orders have ended and what is being done.

    Raises ChildFailed where a process does not do its part, ValueError where there are fewer orders than asked for, and
    before anything is started SettingsError or StoreError where the store cannot be used.
    """
    orders = load_orders(limit=settings.orders)
    if len(orders) < settings.orders:
        raise ValueError(f"the shipped file has {len(orders)} orders; {settings.orders} were asked for")
    advance(0, "opening the store")
    asyncio.run(_open(settings.store))
    (settings.folder / ORDERS).write_bytes(as_lines(orders))
    with Children(settings.folder) as children:
        advance(0, "starting the warehouse, the bank and the carrier")
        participants = [_start_participant(children, settings, name) for name in PARTICIPANTS]
        urls = [_announced(participant) for participant in participants]
        began = time.monotonic()
        reports, killed_at = _run_jobs(children, settings, urls, advance)
        seconds = time.monotonic() - began
        advance(settings.orders, "auditing the books")
        for participant in participants:
            participant.stop(timeout=10.0)
    (settings.folder / OUTCOMES).write_bytes(b"".join(msgspec.json.encode(report) + b"\n" for report in reports))
    order_ids = [order.order_id for order in orders]
    asyncio.run(keep_logs(settings.folder, settings.store, order_ids, settings.prefix))
    evidence = read_evidence(settings.folder)
    example, timeline = asyncio.run(_story(settings, _longest(evidence)))
    return Result(
        settings=settings,
        evidence=evidence,
        report=audit(evidence),
        killed_at=killed_at,
        seconds=seconds,
        example=example,
        timeline=timeline,
    )


async def _open(store: str) -> None:
    """Make the store where it is missing. What is wrong with it is raised here, and not somewhere in the job."""
    async with Orchestrator(store, sagas=[OrderFulfillment], worker=False):
        pass


def _start_participant(children: Children, settings: Settings, name: str) -> Child:
    return children.start(
        f"{__package__}.{name}",
        *("--book", str(settings.folder / f"{name}.db")),
        *("--seed", str(settings.seed)),
        *("--fail-rate", str(settings.fail_rate)),
    )


def _announced(participant: Child) -> str:
    line = participant.line(START_LIMIT)
    if line is None or not line.startswith(ANNOUNCEMENT):
        raise ChildFailed(f"the {participant.name} did not start. {participant.last_words()}")
    return line.removeprefix(ANNOUNCEMENT)


def _run_jobs(
    children: Children, settings: Settings, urls: Sequence[str], advance: Callable[[int, str], None]
) -> tuple[list[Outcome], int | None]:
    """Run the job, kill it when half of the orders have ended, and run it again to the end."""
    arguments = [
        *("--orders", str(settings.folder / ORDERS)),
        *("--prefix", settings.prefix),
        *("--concurrency", str(settings.concurrency)),
    ]
    for name, url in zip(PARTICIPANTS, urls, strict=True):
        arguments += [f"--{name}", url]
    deadline = Deadline(JOB_LIMIT)
    reports: list[Outcome] = []
    ended: set[str] = set()

    def start(doing: str) -> Child:
        advance(len(ended), doing)
        return children.start(f"{__package__}.job", *arguments, environment={"SAGAFSM_STORE": settings.store})

    def listen(job: Child, doing: str, until: int | None = None) -> bool:
        """Take down what the job reports; True once ``until`` orders have ended, False when the job has."""
        while (line := job.line(deadline.left())) is not None:
            reports.append(msgspec.json.decode(line, type=Outcome))
            ended.add(reports[-1].order_id)
            advance(len(ended), doing)
            if len(ended) == until:
                return True
        return False

    killed_at = None
    doing = "running the sagas"
    job = start(doing)
    if settings.kill:
        killed_at = max(1, settings.orders // 2)
        if not listen(job, doing, until=killed_at):
            raise ChildFailed(f"the job ended before it could be killed. {job.last_words()}")
        job.kill()
        listen(job, doing)  # what it had said and nobody had heard yet
        doing = "killed, and started again"
        job = start(doing)
    listen(job, doing)
    if code := job.wait(START_LIMIT):
        raise ChildFailed(f"the job ended with exit code {code}. {job.last_words()}")
    return reports, killed_at


def _longest(evidence: Evidence) -> str | None:
    """The failed order with the longest story."""
    failed = [outcome for outcome in evidence.outcomes.values() if outcome.state == "failed"]
    return max(failed, key=lambda outcome: (outcome.calls, outcome.order_id)).order_id if failed else None


async def _story(settings: Settings, order_id: str | None) -> tuple[SagaInstance | None, list[Event]]:
    if order_id is None:
        return None, []
    async with Orchestrator(settings.store, sagas=[OrderFulfillment], worker=False) as orchestrator:
        saga_id = settings.prefix + order_id
        return await orchestrator.get(saga_id), await orchestrator.history(saga_id)
