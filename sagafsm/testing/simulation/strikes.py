"""What strikes whole processes of a simulated run, and the clock: crashes, freezes, stops, lost patience, jumps.

What must stay true: nothing strikes once all is calm; what was struck is noted, and a process that died comes back by
itself, but for the one that a run goes on without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..trace import Fault
from .process import RESTART, Process
from .tampering import WAYS, tamper

if TYPE_CHECKING:
    from .run import Run

STEPS_PER_RUN = 300  # about; where faults strike by the count of steps
FROZEN = (0.5, 4.0, 8.0, 15.0)  # seconds: shorter than a lease, and longer
JUMPS = {"clock forward": (1.0, 4.0, 7.0, 86_400.0), "clock back": (-1.0, -4.0, -7.0, -30.0)}


class Strikes:
    """Deals them out, in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def plan(self) -> None:
        """Decide what strikes when: processes by the step of the loop, the clock by the time."""
        run, below = self.run, self.run.chance.below
        for site, strike in (
            ("crash", self._crash),
            ("freeze", self._freeze),
            ("stop", self._stop),
            ("cancel", self._cancel),
        ):
            for step in run.faults.steps(site, STEPS_PER_RUN):
                run.loop.at_step(step, strike)
        for site, jumps in JUMPS.items():
            if run.faults.strikes(site):
                run.loop.call_later(below(8), self._jump, jumps[below(4)])
        if run.plan.victim is not None:
            run.loop.call_later(0.7 + below(16) / 4, self._tamper, run.plan.victim)

    # --- processes ---

    def _process(self, process: str) -> Process | None:
        """The process that a step belongs to; where it is nobody's, one by chance."""
        found = next((one for one in self.run.processes if one.id == process), None)
        if found is None or not found.up:
            alive = [one for one in self.run.processes if one.up]
            found = alive[self.run.chance.below(len(alive))] if alive else None
        return found

    def _crash(self, at: str) -> None:
        process = self._process(at)
        if process is None or self.run.faults.calm:
            return
        self.run.faults.struck.append("crash")
        self._dies(process)

    def exited(self, at: str, cause: BaseException) -> None:
        """Code of a process has asked for its end, and Python ends it."""
        process = next((one for one in self.run.processes if one.id == at and one.up), None)
        if process is not None:
            self._dies(process)

    def _dies(self, process: Process) -> None:
        process.kill(noticed=self.run.same_host)
        self.run.loop.call_later(RESTART[self.run.chance.below(len(RESTART))], self.restart, process)

    def restart(self, process: Process) -> None:
        """Begin a process anew, if it has ended and comes back at all."""
        if not process.up and not (self.run.faults.calm and process is self.run.lame):
            process.start()

    def _freeze(self, at: str) -> None:
        process = self._process(at)
        if process is None or self.run.faults.calm:
            return
        self.run.faults.struck.append("freeze")
        process.freeze()
        seconds = 8.0 if self.run.faults.aimed else FROZEN[self.run.chance.below(len(FROZEN))]
        self.run.loop.call_later(seconds, process.thaw)

    def _stop(self, at: str) -> None:
        process = self._process(at)
        if process is None or self.run.faults.calm or not process.serves or process.frozen:
            return
        self.run.faults.struck.append("stop")
        self.run.clients.busy += 1
        self.run.hold(self.run.loop.create_task(self._stop_and_start(process)))

    async def _stop_and_start(self, process: Process) -> None:
        try:
            await process.stop()
        finally:
            self.run.clients.busy -= 1
        self.restart(process)
        self.run.look()

    # --- others ---

    def _cancel(self, at: str) -> None:
        """Whoever asked something of an orchestrator loses patience."""
        asked = self.run.clients.asking
        if not asked or self.run.faults.calm:
            return
        self.run.faults.struck.append("cancel")
        asked[list(asked)[self.run.chance.below(len(asked))]].cancel()

    def _tamper(self, victim: str) -> None:
        run = self.run
        run.trace.add(Fault(run.loop.now, "", "tampered", victim))
        tamper(run.server, victim, run.chance.below(WAYS))
        run.look()

    def _jump(self, seconds: float) -> None:
        self.run.trace.add(Fault(self.run.loop.now, "", "clock jump", f"{seconds:g}"))
        self.run.server.jump += seconds
