"""What the command line says of simulations: how many runs, and which one to play again.

What must stay true: the pytest plug-in only writes these variables, so that it need not import the library.
"""

from __future__ import annotations

import os
import shlex
import sys

from ...core.errors import InvalidInput

RUNS = "SAGAFSM_TEST_RUNS"
REPLAY = "SAGAFSM_TEST_REPLAY"


def runs(default: int) -> int:
    """How many runs a simulation makes: ``--sagafsm-runs``, else what the test says. Raises InvalidInput."""
    said = os.environ.get(RUNS)
    if said and not said.isdecimal():
        raise InvalidInput(f"{RUNS} is a number of runs, not {said!r}")
    return int(said) if said else default


def replay() -> str | None:
    """The one run to play, if ``--sagafsm-replay`` names one."""
    return os.environ.get(REPLAY) or None


def command(case: str) -> str:
    """The command that plays a run again, from where this one was started."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if test:
        return f"pytest {shlex.quote(test)} --sagafsm-replay={shlex.quote(case)}"
    return f"{REPLAY}={shlex.quote(case)} {shlex.join([sys.executable, *sys.argv])}"
