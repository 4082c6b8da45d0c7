"""One run: processes, a store, a world and clients on one virtual loop, faults for a while, then calm, then the end.

What must stay true: everything that happens follows from the plan, the seed and the tape. Once calm, nothing is broken
any more and every saga has to settle within a bound; in a fifth of the runs one process stays dead or frozen for good,
and the others have to do it (else the last restart would heal whatever is stuck). What is judged is what happened.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...core.definition import SagaDefinition
from ...core.keys import derived_key
from ...core.progress import Progress
from ...store import Append
from ..judging import Evidence, Log, Verdict, judge
from ..laws import Broken
from ..loop import PROCESS, Deadlock, Livelock, VirtualLoop
from ..trace import Fault, Trace
from .chance import Chance
from .clients import Clients
from .faults import Faults
from .participants import Participants
from .plan import Plan
from .process import Process
from .schedule import loop_options
from .server import Server, done
from .standing import Standing
from .strikes import STEPS_PER_RUN, Strikes
from .tampering import check_set_aside, is_left_alone, unharmed

MAX_STEPS = 60_000


class Run:
    """One run of a plan. ``schedule``: fifo, random or pct."""

    def __init__(
        self, plan: Plan, chance: Chance, faults: Faults, *, schedule: str, behaviour: int | None = None
    ) -> None:
        self.plan = plan
        self.chance = chance
        self.faults = faults
        self.trace = Trace()
        self.views: list[tuple[str, Progress]] = []
        self.problems: list[str] = []
        self.loop = VirtualLoop(**loop_options(schedule, chance, steps=STEPS_PER_RUN), max_steps=MAX_STEPS)
        self.loop.set_exception_handler(self._unheard)
        self.strikes = Strikes(self)
        self.loop.on_exit = self.strikes.exited
        self.server = Server(self.loop, self.trace, faults, chance.below)
        self.server.watching.append(self._wrote)
        self.standing: dict[str, Standing] = {}
        self.dead: set[str] = set()
        number = chance.below(len(plan.behaviours)) if behaviour is None else behaviour
        self.behaviour: Mapping[str, str] = plan.behaviours[number]
        self.clients = Clients(self)
        self.server.watching.append(self.clients.notice)
        self.world: Any = (
            Participants(self.loop, self.trace, faults, chance.below, self.behaviour, self.clients.say)
            if plan.world is None
            else plan.world(self, self.clients.say)
        )
        self.processes = self._processes()
        self.sagas = [f"saga-{number}" for number in range(1, len(plan.starts) + 1)]
        self.calm_since = plan.calm_at
        self._changed: asyncio.Future[None] | None = None
        self._most = 0.0
        self.attended = False  # people look after the sagas although things go wrong
        self._poison = {f"poison-{number}" for number in range(plan.poison)}
        self._held: set[asyncio.Task[Any]] = set()
        self.same_host = bool(chance.below(2))  # others can tell that a process is gone
        self.lame = self.processes[chance.below(len(self.processes))] if chance.below(5) == 1 else None

    def _processes(self) -> list[Process]:
        numbers, below = itertools.count(1), self.chance.below
        found = []
        for place, definitions in enumerate(self.plan.processes):
            skewed = self.faults.strikes("skew")
            found.append(
                Process(
                    f"worker-{place + 1}", self.loop, self.server, self.trace, self.chance, definitions,
                    settings=self.plan.settings, numbers=numbers, dead=self.dead,
                    skew=(below(5) - 2) * 86_400.0 if skewed else 0.0,
                    drift=(below(3) - 1) * 0.01 if skewed else 0.0,
                )
            )  # fmt: skip
        return found

    # --- running ---

    def play(self) -> None:
        """Run it to its end. Raises Broken where it does not come to one; what it did is in the trace."""
        self.plan.stage.world = self.world
        if self.plan.before is not None:
            self.plan.before()
        loop = self.loop
        try:
            with _silence():
                loop.run_until_complete(self._direct())
        except Deadlock as exc:
            raise Broken("V-L2 no lost wake-up", str(exc)) from exc
        except Livelock as exc:
            raise Broken("V-L4 no hot loop", str(exc)) from exc
        finally:
            self.plan.stage.world = None
            with _silence():
                loop.close()
        if self.problems:
            raise Broken("no error is lost", self.problems[0])

    def judge(self, *, thorough: bool = True) -> Verdict:
        """Hold every invariant against what happened. Raises Broken."""
        for number in range(self.plan.poison):
            check_set_aside(self.server, f"poison-{number}")
        return judge(self.evidence(thorough=thorough), self.plan.known)

    def evidence(self, *, thorough: bool) -> Evidence:
        """What is known of this run."""
        memory, definitions = self.server.memory, self.plan.stage.definitions
        victim = self.plan.victim
        stored = self.server.now_holds(saga for saga in self.standing if saga != victim)
        logs = {
            saga: Log.of(found, done(memory.events(saga)), definitions[found.record.kind])
            for saga, found in stored.items()
        }
        return Evidence(
            logs=logs,
            effects=self.world.effects,
            trace=self.trace.entries if victim is None else unharmed(self.trace.entries, victim),
            views=[view for view in self.views if view[0] != victim],
            knows={process.name: process.kinds for process in self.processes},
            thorough=thorough,
        )

    async def _direct(self) -> None:
        for saga in sorted(self._poison):
            self.server.poison(saga, self.plan.starts[0][0])
        for process in self.processes:
            process.start()
        self.strikes.plan()
        for number, saga in enumerate(self.sagas):
            self.standing[saga] = Standing()
            self.clients.start(number, saga)
            self.clients.early_signals(saga)
        way = self.chance.below(10)
        self.attended = way in (2, 3)
        lingers = way == 1  # what comes after the end belongs to the run too
        await self._until(self.calm_since if lingers else None, self.calm_since)
        self._calm()
        await self._until(None, self.loop.now + self.plan.quiet)
        if not self.at_rest:
            self._not_settled()
        self.world.settle()
        if self.world.landing:
            await asyncio.wait(self.world.landing, timeout=self.plan.quiet)
        await self._leave()

    async def _until(self, least: float | None, most: float) -> None:
        """Let things happen until all is settled (and not before ``least``), or until ``most``."""
        loop = self.loop
        if least is not None:
            await asyncio.sleep(max(0.0, least - loop.now))
        self._most = most
        if not self.at_rest and loop.now < most:
            self._changed = loop.create_future()
            alarm = loop.call_at(most, self.look)
            await self._changed
            alarm.cancel()
        self._changed = None

    def look(self) -> None:
        """Something has changed: perhaps all is settled now."""
        if self._changed is not None and not self._changed.done() and (self.loop.now >= self._most or self.at_rest):
            self._changed.set_result(None)

    @property
    def at_rest(self) -> bool:
        """Whether nobody wants anything any more, and every saga has ended, or waits for what nobody sends.

        In most runs people come only when all is calm: a saga that waits for one is at rest, and calm comes at once.
        """
        return not (self.clients.busy or self._poison) and all(
            self._is_settled(saga, one) for saga, one in self.standing.items()
        )

    def _is_settled(self, saga: str, standing: Standing) -> bool:
        if saga == self.plan.victim and self.faults.calm:
            return is_left_alone(self.server, saga)
        if standing.settled:
            return True
        if not (standing.stuck or standing.suspended):
            return False
        if self.plan.operated and (self.faults.calm or self.attended):
            self.clients.tend(saga)
            return False
        return standing.stuck or not self.faults.calm

    def _wrote(self, append: Append) -> None:
        standing = self.standing.get(append.saga_id)
        if append.saga_id.startswith("poison-"):
            if append.stuck:
                self._poison.discard(append.saga_id)
                self.look()
            return
        if standing is None:
            standing = self.standing[append.saga_id] = Standing()
        if not append.steady:
            standing.state, standing.stuck, standing.suspended = append.state, append.stuck, append.suspended
            if standing.settled or standing.stuck or standing.suspended:
                self.look()

    # --- the end ---

    def _calm(self) -> None:
        """Nothing is broken from now on, and what is broken is mended."""
        self.faults.calm = True
        self.calm_since = self.loop.now
        self.trace.add(Fault(self.loop.now, "", "calm"))
        lame = self.lame = self.lame if self._can_be_missed(self.lame) else None
        for process in self.processes:
            if process is not lame:
                process.thaw()
                self.strikes.restart(process)
        if lame is not None:
            self.trace.add(Fault(self.loop.now, lame.id, "gone for good"))
            lame.missing = True
            lame.freeze() if self.same_host else lame.kill(noticed=False)
        self.look()

    def _can_be_missed(self, process: Process | None) -> bool:
        """Whether those that are left know every definition: then they have to bring everything to its end."""
        left = [other.kinds for other in self.processes if other is not process]
        allowed = {"crash", "freeze"} <= set(self.plan.sites)
        return allowed and process is not None and process.kinds <= frozenset().union(*left)

    async def _leave(self) -> None:
        """All is settled: some runs stop every process in good order, and nothing may be left of it."""
        if self.chance.below(4):
            return
        for process in (one for one in self.processes if one is not self.lame):
            await process.opened()
            stopped = process.id  # one that crashed before may be started again meanwhile
            await process.stop()
            if "call stubborn" in self.faults.struck and self.loop.tasks(stopped):
                await asyncio.sleep(1.0)  # a call that does not listen goes on, and ends by itself
            if left := self.loop.tasks(stopped):
                self.problems.append(f"{stopped} was stopped, and still has {left[0]!r}")

    def _not_settled(self) -> None:
        left = {
            saga: f"{one.state}{', stuck' if one.stuck else ''}"
            for saga, one in self.standing.items()
            if not one.settled
        }
        raise Broken(
            "V-L1 every saga ends",
            f"all is calm for {self.loop.now - self.calm_since:g} s, and {left or 'a client'} is not at its end",
        )

    # --- what others ask ---

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and hear of its errors."""
        self._held.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._held.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.problems.append(f"{type(task.exception()).__name__}: {task.exception()}")
            self.look()

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task: Any = context.get("task") or context.get("future")
        living = {process.id for process in self.processes if process.up}
        process = task.context.get(PROCESS, "") if hasattr(task, "context") else ""
        if "Task exception" in str(context.get("message")) and process in living:
            self.problems.append(f"nobody heard of {context.get('exception')!r} of {task.get_name()} {task.get_coro()}")

    def pick_process(self, kind: str | None) -> Process | None:
        """A process that takes calls, and knows this definition where that matters."""
        lame = self.lame if self.faults.calm else None
        serving = [
            process
            for process in self.processes
            if process.serves and process is not lame and (kind is None or kind in process.kinds)
        ]
        return serving[self.chance.below(len(serving))] if serving else None

    def existed(self, saga: str) -> bool:
        """Whether a saga was ever stored."""
        standing = self.standing.get(saga)
        return standing is not None and standing.state != "none"

    def definition_of(self, kind: str) -> SagaDefinition:
        """The definition of a kind."""
        return self.plan.stage.definitions[kind]

    def keys_of(self, saga: str, step: str) -> Mapping[str, str]:
        """The keys of a step, worked out anew."""
        namespace = self.plan.settings.namespace
        return {
            purpose: derived_key(namespace, saga, step, purpose) for purpose in ("action", "fallback", "compensation")
        }


@contextmanager
def _silence() -> Iterator[None]:
    """The engine's log lines of a run with faults are of no interest."""
    logger = logging.getLogger("sagafsm")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
