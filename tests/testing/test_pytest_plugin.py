"""The pytest plug-in, as whoever installs sagafsm gets it: found by pytest, in processes of its own."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

SAGA = """
from sagafsm import Saga, StepContext, step
from sagafsm.testing import simulate

class Order(Saga[dict]):
    @step(compensatable=False)
    async def ship(self, order: dict, ctx: StepContext) -> None:
        {body}

def test_order():
    print(simulate(Order, {{}}, runs=30).check().runs, "runs were made")
"""
GOOD = SAGA.format(body="pass")
BAD = SAGA.format(body='assert ctx.attempt < 2, "twice"')


@pytest.fixture
def run(tmp_path):
    """Run pytest on a file in a folder of its own, with the plug-ins that are installed."""

    def run(source, *words, code=0):
        (tmp_path / "test_order.py").write_text(source)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "SAGAFSM"))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rP", "-p", "no:cacheprovider", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_it_is_registered():
    (found,) = entry_points(group="pytest11", name="sagafsm")
    assert found.value == "sagafsm_pytest.plugin"


def test_it_costs_nothing():
    code = (
        "import sys, pytest; before = set(sys.modules); import sagafsm_pytest.plugin; print(set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.strip() in (
        "{'sagafsm_pytest', 'sagafsm_pytest.plugin'}",
        "{'sagafsm_pytest.plugin', 'sagafsm_pytest'}",
    )


def test_the_number_of_runs(run):
    assert "30 runs were made" in run(GOOD)
    said = run(GOOD, "--sagafsm-runs=7")
    assert "7 runs were made" in said
    assert "sagafsm: every simulation makes 7 runs" in said
    assert "takes a number of runs above 0, not 'many'" in run(GOOD, "--sagafsm-runs=many", code=4)


def test_a_failure_is_played_again_by_the_command_that_it_names_and_is_kept(run, tmp_path):
    said = run(BAD, code=1)
    assert "what must be true: ship: twice" in said
    (command,) = re.findall(r"play it again: pytest (\S+) (--sagafsm-replay=\S+)", said)
    again = run(BAD, *command, code=1)
    assert "what must be true: ship: twice" in again
    assert "sagafsm: every simulation plays one run" in again
    assert len(list((tmp_path / "sagafsm_regressions").iterdir())) == 1
    # It is played first from then on, and holds when the mistake is mended.
    assert "it failed before, and is kept in" in run(BAD, "--sagafsm-runs=1", code=1)
    assert "31 runs were made" in run(GOOD)


def test_the_workers_of_xdist_do_the_same(run):
    said = run(f"{GOOD}\n\ndef test_again():\n    test_order()\n", "-n", "2", "--sagafsm-runs=3")
    assert said.count("3 runs were made") == 2


def test_the_environment_is_left_as_it_was(monkeypatch):
    from sagafsm_pytest import plugin

    class Config:
        stash = pytest.Stash()

        def getoption(self, name):
            return {"--sagafsm-runs": "5"}.get(name)

    monkeypatch.setenv(plugin.RUNS, "9")
    config = Config()
    plugin.pytest_configure(config)
    assert os.environ[plugin.RUNS] == "5"
    plugin.pytest_unconfigure(config)
    assert os.environ[plugin.RUNS] == "9"
