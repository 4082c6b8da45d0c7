"""A pytest plug-in for simulations: ``--sagafsm-runs`` and ``--sagafsm-replay``.

What must stay true: it imports nothing but pytest, because it is loaded in every test run of whoever has sagafsm
installed; what was asked for is handed on in two variables of the environment, which ``sagafsm.testing`` reads.
"""

from __future__ import annotations

import os

import pytest

RUNS = "SAGAFSM_TEST_RUNS"
REPLAY = "SAGAFSM_TEST_REPLAY"


def _count(text: str) -> str:
    if not text.isdigit() or int(text) < 1:
        raise pytest.UsageError(f"--sagafsm-runs takes a number of runs above 0, not {text!r}")
    return text


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
    """Hand on what was asked for."""
    runs, replay = config.getoption("--sagafsm-runs"), config.getoption("--sagafsm-replay")
    if runs is not None:
        os.environ[RUNS] = _count(runs)
    if replay is not None:
        os.environ[REPLAY] = replay


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was."""
    if config.getoption("--sagafsm-runs") is not None:
        os.environ.pop(RUNS, None)
    if config.getoption("--sagafsm-replay") is not None:
        os.environ.pop(REPLAY, None)
