"""A pytest plug-in for simulations: ``--sagafsm-runs`` and ``--sagafsm-replay``.

What must stay true: it imports nothing but pytest, because it is loaded in every test run of whoever has sagafsm
installed; what was asked for is handed on in two variables of the environment, which ``sagafsm.testing`` reads. Each
worker of pytest-xdist is given the options and does the same for itself.
"""

from __future__ import annotations

import os

import pytest

RUNS = "SAGAFSM_TEST_RUNS"
REPLAY = "SAGAFSM_TEST_REPLAY"
BEFORE = pytest.StashKey[dict[str, "str | None"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("sagafsm", "simulations of sagas")
    group.addoption(
        "--sagafsm-runs", metavar="N", help="how many runs every simulation makes (default: what each test says)"
    )
    group.addoption(
        "--sagafsm-replay", metavar="RUN", help="play one run of a simulation again, as a failure has named it"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hand on what was asked for. Raises pytest.UsageError."""
    asked = _asked(config)
    if RUNS in asked and not (asked[RUNS].isdecimal() and int(asked[RUNS]) > 0):
        raise pytest.UsageError(f"--sagafsm-runs takes a number of runs above 0, not {asked[RUNS]!r}")
    config.stash[BEFORE] = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say that not all is as the tests say."""
    asked = _asked(config)
    if REPLAY in asked:
        return f"sagafsm: every simulation plays one run, {asked[REPLAY]}"
    return f"sagafsm: every simulation makes {asked[RUNS]} runs" if RUNS in asked else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was."""
    for name, value in config.stash.get(BEFORE, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _asked(config: pytest.Config) -> dict[str, str]:
    found = {RUNS: config.getoption("--sagafsm-runs"), REPLAY: config.getoption("--sagafsm-replay")}
    return {name: value for name, value in found.items() if value is not None}
