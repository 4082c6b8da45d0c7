"""Which faults strike, and when: by chance in two phases, or exactly where a targeted run wants them.

What must stay true: a fault site is asked once for every opportunity and answers from the run's decisions only; once
calm, nothing strikes any more.

By chance each site is off, rare or frequent for a whole run, and then fires now and then: some runs must be calm at all
but one site (FoundationDB's BUGGIFY). Targeted, the opportunities are numbered, and those named strike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .chance import Chance

OFF, RARE, FREQUENT = 0, 4, 16

STORE_SITES = (
    "commit before", "commit after", "commit late", "commit slow",
    "claim before", "claim after", "claim late", "claim slow",
    "beat before", "beat after", "beat slow",
    "read before", "read slow", "read stale",
)  # fmt: skip
CALL_SITES = (
    "call error", "call lost before", "call lost after", "call lost late", "call slow", "call rejected",
    "call interrupted", "call unstorable", "call died", "call stubborn",
    "message lost", "message twice", "message early", "message astray",
)  # fmt: skip
PROCESS_SITES = ("crash", "freeze", "stop", "cancel")
CLOCK_SITES = ("clock forward", "clock back", "skew")
CLIENT_SITES = ("start twice", "abort", "suspend", "signal twice", "retry", "look", "purge", "resume all")
SITES = (*STORE_SITES, *CALL_SITES, *PROCESS_SITES, *CLOCK_SITES, *CLIENT_SITES)


class Faults:
    """Decides, at every opportunity, whether a fault strikes. ``enabled``: the sites that this run may have at all."""

    aimed = False

    def __init__(self, chance: Chance, enabled: Sequence[str] = SITES) -> None:
        self._chance = chance
        self.calm = False
        self.levels: dict[str, int] = dict.fromkeys(SITES, OFF)
        self.struck: list[str] = []
        self._draw(enabled)
        self.stale_reads = bool(self.levels["read stale"])  # else nobody need remember what was there before

    def _draw(self, enabled: Sequence[str]) -> None:
        below = self._chance.below
        if below(5) == 1:
            self.levels[enabled[below(len(enabled))]] = FREQUENT
            return
        for site in enabled:
            number = below(20)
            if number >= 12:
                self.levels[site] = RARE if number < 17 else FREQUENT

    def strikes(self, site: str) -> bool:
        """Whether the fault of this site happens now."""
        level = self.levels[site]
        if not level or self.calm or self._chance.below(100) < 100 - level:
            return False
        self.struck.append(site)
        return True

    def possible(self, sites: Sequence[str]) -> Sequence[str]:
        """Those of these sites at which anything can happen in this run."""
        return tuple(site for site in sites if self.levels[site])

    def first(self, sites: Sequence[str]) -> str | None:
        """The one of these that happens now, if any: they exclude each other. ``sites``: possible ones."""
        if self.calm:
            return None
        below, levels = self._chance.below, self.levels
        for site in sites:
            if below(100) >= 100 - levels[site]:
                self.struck.append(site)
                return site
        return None

    def steps(self, site: str, most: int) -> list[int]:
        """For what strikes a whole process: at which steps of the loop, up to step ``most``."""
        level = self.levels[site]
        if not level:
            return []
        count = 1 + self._chance.below(2 if level == RARE else 4)
        return sorted(1 + self._chance.below(most) for _ in range(count))


class TargetedFaults(Faults):
    """Strikes where it is told: at the numbered opportunities, and at the steps of the loop that are named.

    ``seen`` counts the opportunities; ``met`` holds their sites, so that the next run can be aimed at them.
    """

    aimed = True

    def __init__(self, chance: Chance, targets: Mapping[int, str], steps: Mapping[str, Sequence[int]]) -> None:
        self.targets = targets
        self.process_steps = steps
        self.seen = 0
        self.met: list[str] = []
        super().__init__(chance)
        self.stale_reads = "read stale" in targets.values()

    def _draw(self, enabled: Sequence[str]) -> None:
        """Nothing is left to chance."""

    def strikes(self, site: str) -> bool:
        if self.calm:
            return False
        self.met.append(site)
        self.seen += 1
        if self.targets.get(self.seen - 1) != site:
            return False
        self.struck.append(site)
        return True

    def possible(self, sites: Sequence[str]) -> Sequence[str]:
        return sites

    def first(self, sites: Sequence[str]) -> str | None:
        found = None
        for site in sites:
            if self.strikes(site):
                found = site
        return found

    def steps(self, site: str, most: int) -> list[int]:
        return list(self.process_steps.get(site, ()))
