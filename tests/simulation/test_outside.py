"""What functions may do in a simulation, what passes in no time, and what is refused with advice."""

import asyncio
import contextvars
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

import httpx
import pytest

from sagafsm import InvalidInput, RetryPolicy, Saga, SagaDefinition, Step, StepContext, WaitFor, step, wait_for
from sagafsm.testing import CannotSimulate, SimulationFailed, fail_at_every_step, simulate
from sagafsm.testing.simulation import regressions

SEEN = []


def one_step(function, **options):
    return SagaDefinition(name="One", steps=[Step("act", function, compensatable=False, **options)])


def check(function, *, runs=40, saga_options=None, **options):
    saga = one_step(function, **(saga_options or {}))
    return simulate(saga, {}, runs=runs, kept_in=None, **options).check()


# --- what works ---


def test_sleeps_and_timeouts_pass_in_no_time():
    async def act(data: dict) -> None:
        await asyncio.sleep(30)
        async with asyncio.timeout(60):
            await asyncio.sleep(50)

    began = time.perf_counter()
    assert check(act).reached["completed"] > 20
    assert time.perf_counter() - began < 20


def test_sync_functions_block_for_as_long_as_they_say_and_nobody_waits():
    def act(data: dict) -> None:
        time.sleep(30)

    assert check(act, saga_options={"timeout": 60}).reached["completed"] > 20
    with pytest.raises(AssertionError, match="no run of 200 completed"):
        check(act, runs=200, saga_options={"timeout": 20, "retry": RetryPolicy.none()})


def test_work_handed_to_a_thread_is_done_here_and_now():
    async def act(data: dict) -> int:
        SEEN.append(await asyncio.to_thread(threading.get_ident))

    SEEN.clear()
    check(act)
    assert set(SEEN) == {threading.get_ident()}


def test_a_client_with_a_mock_transport():
    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.1)
        return httpx.Response(200, json={"paid": True})

    async def act(data: dict) -> dict:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return (await client.post("https://bank.example/pay")).json()

    assert check(act).reached["completed"] > 20


def draw():
    return [random.random(), uuid.uuid4(), os.urandom(4), secrets.token_hex(4)]


def test_what_is_drawn_by_chance_is_the_same_when_a_run_is_played_again():
    async def act(data: dict) -> None:
        SEEN.append(draw())

    simulation = simulate(one_step(act), {}, kept_in=None)
    SEEN.clear()
    simulation.replay("7")
    first = list(SEEN)
    SEEN.clear()
    simulation.replay("7")
    assert first == SEEN
    simulation.replay("8")
    assert len({str(draws) for draws in SEEN}) > len(first)
    assert draw() != draw()  # and out here, chance is chance


def test_it_runs_where_the_test_runs_unless_a_loop_is_there():
    assert here_and_there() == {threading.get_ident()}


async def test_with_a_loop_it_runs_in_a_thread_with_the_context_of_the_test():
    assert threading.get_ident() not in here_and_there()


WHO = contextvars.ContextVar("who")


def here_and_there():
    found = set()
    WHO.set("the test")
    check(lambda data: None, runs=3, before=lambda: found.add(threading.get_ident()), after=lambda sagas: WHO.get())
    return found


# --- what is refused ---


async def asynchronous(data: dict) -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def swallowing(data: dict) -> None:
    try:
        await asyncio.open_connection("127.0.0.1", 9)
    except Exception:
        return


async def a_real_client(data: dict) -> None:
    async with httpx.AsyncClient() as client:
        await client.get("http://127.0.0.1:9/")


def blocking(data: dict) -> None:
    urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)


def by_socket(data: dict) -> None:
    socket.socket().connect(("127.0.0.1", 9))


def thread(data: dict) -> None:
    threading.Thread(target=print).start()


def program(data: dict) -> None:
    subprocess.run([sys.executable, "-V"], check=True)


async def async_program(data: dict) -> None:
    await asyncio.create_subprocess_exec(sys.executable, "-V")


@pytest.mark.filterwarnings("ignore:unclosed")
@pytest.mark.parametrize(
    ("function", "says"),
    [
        (asynchronous, r"asynchronous opens a network connection \(create_connection to 127.0.0.1:9\)"),
        (swallowing, "swallowing opens a network connection"),
        (a_real_client, "a_real_client opens a network connection"),
        (blocking, "blocking (looks up a host|connects a socket)"),
        (by_socket, "by_socket connects a socket"),
        (thread, "thread starts a thread"),
        (program, "program starts a program"),
        (async_program, "async_program starts a program"),
    ],
)
def test_what_reaches_outside_is_refused_with_advice(function, says):
    with pytest.raises(CannotSimulate, match=rf"One cannot be simulated: {says}.*stand-in") as refused:
        check(function)
    assert "SimulationFailed" not in str(refused.value)


def test_nothing_is_replaced_when_it_is_over():
    real = (time.sleep, socket.socket.connect, threading.Thread.start, os.urandom, subprocess.Popen.__init__)
    with pytest.raises(CannotSimulate):
        check(thread)
    assert real == (time.sleep, socket.socket.connect, threading.Thread.start, os.urandom, subprocess.Popen.__init__)


def test_threads_and_programs_may_be_let_through():
    assert check(program, runs=2, outside=True).runs == 2


def test_before_and_after_may_reach_outside():
    def reach(*given):
        worker = threading.Thread(target=SEEN.append, args=(1,))
        worker.start()
        worker.join()

    SEEN.clear()
    check(lambda data: None, runs=3, before=reach, after=reach)
    assert len(SEEN) >= 6


async def test_what_belongs_to_another_loop_is_named():
    gate = asyncio.Event()
    waiting = asyncio.create_task(gate.wait())
    await asyncio.sleep(0)

    async def act(data: dict) -> None:
        await gate.wait()

    with pytest.raises(CannotSimulate, match=r"act uses something that belongs to another event loop.*anew in before="):
        check(act)
    waiting.cancel()


def test_a_world_that_cannot_be_made_is_said_at_once():
    with pytest.raises(CannotSimulate, match=r"before= raised KeyError: 'table'") as failure:
        check(lambda data: None, before=lambda: {}["table"])
    assert isinstance(failure.value.__cause__, KeyError)


# --- what cannot work is said before anything runs ---


class Waits(Saga[dict]):
    approval = wait_for("approval")

    @step(awaits_reply=True, compensatable=False)
    async def quote(self, order: dict) -> int: ...


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"waits for the signal 'approval' without a timeout.*signals=\{'approval': payload\}"),
        ({"signals": {"approval": 1}}, r"step quote awaits a reply.*replies=\{'quote': result\}"),
        ({"signals": {"aproval": 1}}, r"'aproval'.*no step waits for that; there are: \['approval'\]"),
        ({"signals": {"approval": 1}, "replies": {"quot": 1}}, r"'quot'.*there are: \['quote'\]"),
        ({"runs": -1}, "runs must be at least 0"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"sagas": 0}, "sagas must be at least 1"),
    ],
)
def test_what_cannot_work_is_said(options, says):
    with pytest.raises(InvalidInput, match=says):
        simulate(Waits, {}, **options)


def test_an_input_that_does_not_fit_is_said():
    with pytest.raises(InvalidInput, match="the input of Waits does not fit dict"):
        simulate(Waits, 3, signals={"approval": 1}, replies={"quote": 1})
    with pytest.raises(InvalidInput, match="the input of Waits"):
        fail_at_every_step(Waits, 3, signals={"approval": 1}, replies={"quote": 1})


def test_a_wait_that_a_deadline_ends_needs_no_signal():
    waits = SagaDefinition(
        name="Waits", deadline=60, steps=[WaitFor("a", signal="a"), Step("b", lambda data: None, compensatable=False)]
    )
    assert simulate(waits, runs=20, kept_in=None).check().runs == 20


def test_a_simulation_that_nobody_checks_says_so():
    with pytest.warns(RuntimeWarning, match=r"the simulation of One was made and never run: call \.check\(\)"):
        simulate(one_step(lambda data: None), {})


# --- failures ---


def test_a_run_that_does_not_fail_again_is_not_called_a_failure_of_the_saga():
    calls = []

    async def act(data: dict) -> None:
        calls.append(1)
        assert len(calls) != 5, "the fifth call"

    with pytest.raises(SimulationFailed, match=r"the fifth call(.|\n)*Played again, the same run broke nothing") as one:
        check(act)
    assert "before=" in str(one.value)


def test_what_functions_raise_by_themselves_is_told():
    async def act(data: dict) -> None:
        raise KeyError("colour")

    with pytest.raises(AssertionError, match=r"no run of 200 completed.*act raised KeyError: 'colour' \(\d+ times\)"):
        check(act, runs=200)


async def broken(data: dict, ctx: StepContext) -> None:
    assert ctx.attempt < 2, "a second attempt"


def test_failures_are_kept_beside_the_test(monkeypatch, tmp_path):
    module = type(sys)("a_test")
    module.__file__ = str(tmp_path / "tests" / "test_it.py")
    code = "def run(saga, **options):\n    simulate(saga, {}, **options).check()\n"
    vars(module)["simulate"] = simulate
    exec(code, vars(module))
    monkeypatch.chdir("/")
    with pytest.raises(SimulationFailed, match="kept in "):
        module.run(one_step(broken))
    (kept,) = (tmp_path / "tests" / "sagafsm_regressions").iterdir()
    before = kept.read_bytes()
    with pytest.raises(SimulationFailed, match=f"it failed before, and is kept in {kept}"):
        module.run(one_step(broken), runs=0)
    assert kept.read_bytes() == before
    module.run(one_step(lambda data: None), runs=0)  # mended: it is played, and holds


def test_a_folder_that_takes_nothing_hides_no_failure(monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sagafsm.testing.simulation.proof.keep", refuse)
    with pytest.raises(SimulationFailed, match=r"a second attempt(.|\n)*it could not be kept in .*Permission denied"):
        simulate(one_step(broken), {}).check()


def test_two_long_runs_have_two_files(tmp_path):
    from sagafsm.testing.simulation import Case

    cases = [Case(tape=bytes([1] * 60 + [number])) for number in (1, 2)]
    paths = [regressions.keep(tmp_path, "One", case, "C1 net effect") for case in cases]
    assert len(set(paths)) == 2
    assert [one.case for one in regressions.kept(tmp_path)] == sorted(map(str, cases)) or len(
        list(tmp_path.iterdir())
    ) == 2
    assert {str(path.name)[:6] for path in tmp_path.iterdir()} == {"One-C1"}


def test_a_run_of_another_simulation_is_refused(monkeypatch):
    with pytest.raises(InvalidInput, match="'b3' is a run of another simulation"):
        simulate(one_step(lambda data: None), {}).replay("b3")
