"""``sagafsm worker`` as a real process: it works, says how it does, drains, and is killed, frozen and held up."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sagafsm import Orchestrator, SagaInstance, SagaState
from sagafsm.store import open_store
from tests.servers.plugin import Servers

from .databases import KINDS, Database, database
from .processes import Process, Processes, eventually, until
from .sagas_file import SagasFile
from .shop_module import Call, calls, most_at_once, shop

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    with shop(tmp_path) as made:
        yield made


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[Database]:
    with database(request.param, servers, tmp_path) as found:
        yield found


class Shop:
    """One store, its workers, and a process that only submits."""

    def __init__(self, processes: Processes, folder: Path, module: ModuleType, url: str | None = None) -> None:
        self._processes = processes
        self.folder = folder
        self.module = module
        self.url = url or f"sqlite:///{folder / 'sagas.db'}?timeout=20"

    def worker(self, *words: str, target: str = "shop", ready: bool = True, **settings: object) -> Process:
        environment = {f"SAGAFSM_{name.upper()}": str(value) for name, value in settings.items()}
        process = self._processes.start(
            "-m", "sagafsm.cli", "worker", target, *words, environment={"SAGAFSM_STORE": self.url, **environment}
        )
        if ready:
            until(lambda: "working on" in process.errors or not process.running, "it works")
            assert process.running, process.errors
        return process

    def submitter(self) -> Orchestrator:
        sagas = [value for value in vars(self.module).values() if isinstance(value, type) and hasattr(value, "go")]
        return Orchestrator(open_store(self.url), sagas=sagas, worker=False)

    async def start(self, name: str, *saga_ids: str) -> None:
        async with self.submitter() as orchestrator:
            for saga_id in saga_ids:
                await orchestrator.start(getattr(self.module, name), {}, saga_id=saga_id)

    async def end(self, saga_id: str) -> SagaInstance:
        async with self.submitter() as orchestrator:
            return await orchestrator.wait(saga_id, timeout=30)

    def open_the_gate(self) -> None:
        (self.folder / "gate").touch()

    def calls(self) -> list[Call]:
        return calls(self.folder)


@pytest.fixture
def place(processes: Processes, tmp_path: Path, module: ModuleType) -> Shop:
    return Shop(processes, tmp_path, module)


# --- draining ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "ctrl-c"])
async def test_a_worker_that_is_told_to_stop_lets_its_calls_end_and_takes_nothing_more(
    number: int, place: Shop
) -> None:
    worker = place.worker("--drain-timeout", "30", poll_interval=0.1)
    await place.start("Gated", "s-1")
    until(place.calls, "its call runs")
    worker.signal(number)
    until(lambda: "stopping: calls that run are given 30 s to end" in worker.errors, "it drains")
    await place.start("Gated", "s-2")
    place.open_the_gate()
    assert worker.wait() == 0
    assert worker.errors.splitlines() == [
        "working on 6 definitions, up to 1000 sagas at once",
        "stopping: calls that run are given 30 s to end",
        "stopped",
    ]
    assert [call.saga_id for call in place.calls()] == ["s-1"]
    assert SagasFile(place.folder).rows("SELECT id FROM saga_workers") == []
    place.worker()  # what the call returned is stored; that the saga is at its end, others find out
    assert (await place.end("s-1")).results["go"] == worker.pid
    assert (await place.end("s-2")).results["go"] != worker.pid


async def test_what_does_not_end_in_time_is_cut_off_and_goes_on_elsewhere(place: Shop) -> None:
    worker = place.worker("--drain-timeout", "0.3")
    await place.start("Gated", "s-1")
    until(place.calls, "its call runs")
    begun = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert time.monotonic() - begun < 8  # the drain time that nobody shortened is 10 s
    place.open_the_gate()
    other = place.worker()
    saga = await place.end("s-1")
    assert (saga.state, saga.results["go"]) == (SagaState.COMPLETED, other.pid)
    assert saga.steps["go"].attempts == 1


async def test_who_is_told_twice_does_not_wait(place: Shop) -> None:
    worker = place.worker("--drain-timeout", "3600")
    await place.start("Gated", "s-1")
    until(place.calls, "its call runs")
    worker.signal(signal.SIGTERM)
    until(lambda: "stopping" in worker.errors, "it drains")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 143
    assert "stopped at once: what was cut off is made again, with the same key" in worker.errors
    assert "Traceback" not in worker.errors
    place.open_the_gate()
    other = place.worker()
    assert (await place.end("s-1")).results["go"] == other.pid


async def test_the_sagas_of_a_worker_that_is_killed_go_on_at_once(place: Shop) -> None:
    worker = place.worker(lease=60)
    await place.start("Gated", "s-1")
    until(place.calls, "its call runs")
    worker.kill()
    place.open_the_gate()
    begun = time.monotonic()
    other = place.worker(poll_interval=0.2)
    assert (await place.end("s-1")).results["go"] == other.pid
    assert time.monotonic() - begun < 20  # far below the lease


# --- how it is called ---


async def test_concurrency_is_how_many_sagas_run_at_once(place: Shop) -> None:
    worker = place.worker("--concurrency", "2", poll_interval=0.1)
    assert "up to 2 sagas at once" in worker.errors
    await place.start("Gated", *(f"s-{number}" for number in range(6)))
    until(lambda: len(place.calls()) == 2, "two run")
    place.open_the_gate()
    for number in range(6):
        await place.end(f"s-{number}")
    assert most_at_once(place.calls()) == 2


async def test_a_module_may_bring_its_own_orchestrator(place: Shop) -> None:
    (place.folder / "app.py").write_text(
        "from sagafsm import Orchestrator, Settings\nfrom shop import Gated\n"
        f"def make():\n    return Orchestrator({place.url!r}, sagas=[Gated], worker=False,"
        " settings=Settings(concurrency=7))\n"
    )
    place.open_the_gate()
    worker = place.worker(target="app:make", store="memory://")
    assert "working on 1 definition, up to 7 sagas at once" in worker.errors
    await place.start("Gated", "s-1")
    assert (await place.end("s-1")).results["go"] == worker.pid
    assert place.worker("--store", place.url, target="app:make", ready=False).wait() == 2


@pytest.mark.parametrize(
    ("words", "settings", "code", "says"),
    [
        (["--log-level", "loud"], {}, 2, "error: --log-level is one of debug, info, warning, error, not 'loud'"),
        ([], {"lease": "soon"}, 2, "error: setting lease: 'soon' is no number (SAGAFSM_LEASE)"),
        ([], {"concurency": "3"}, 2, "error: SAGAFSM_CONCURENCY is no setting; did you mean 'concurrency'? known: "),
        (["--store", "postgresql://a:b@127.0.0.1:1/x"], {}, 6, "error: "),
        (["--store", "oracle://host"], {}, 2, "error: no store for 'oracle://' is installed (installed: "),
        (
            ["--health-file", "nosuch/health"],
            {},
            2,
            "error: nosuch/health cannot be written: No such file or directory",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    words: list[str], settings: dict[str, str], code: int, says: str, place: Shop
) -> None:
    worker = place.worker(*words, ready=False, **settings)
    assert worker.wait() == code
    assert worker.errors.startswith(says)
    assert len(worker.errors.splitlines()) == 1
    assert "Traceback" not in worker.errors


def test_a_store_that_does_not_exist_yet_is_made(place: Shop) -> None:
    worker = place.worker()
    assert (place.folder / "sagas.db").exists()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


# --- health ---


def asked(url: str, method: str = "GET") -> tuple[int, dict[str, object]]:
    """What a probe of a container would be told."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else {}
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, json.loads(body) if body else {}


async def test_a_container_is_told_how_its_worker_does(place: Shop) -> None:
    file = place.folder / "health.json"
    worker = place.worker(
        "--health-port", "0", "--health-file", str(file), "--drain-timeout", "30", "--concurrency", "9"
    )
    base = re.search(r"health: (http://127\.0\.0\.1:\d+)/live and /ready", worker.errors)
    assert base is not None
    url = base[1]
    status, told = asked(f"{url}/ready")
    assert (status, told["ready"], told["in_flight"], told["concurrency"]) == (200, True, 0, 9)
    assert asked(f"{url}/live?verbose")[0] == 200
    assert asked(f"{url}/live", "HEAD") == (200, {})
    assert asked(f"{url}/")[0] == 404
    assert asked(f"{url}/ready", "POST")[0] == 405
    until(lambda: json.loads(file.read_text())["ready"] is True, "the file says so too")

    await place.start("Gated", "s-1")
    until(place.calls, "its call runs")
    until(lambda: json.loads(file.read_text())["in_flight"] == 1, "the file tells of it")

    worker.signal(signal.SIGTERM)
    until(lambda: asked(f"{url}/ready")[0] == 503, "it takes no more work")
    status, told = asked(f"{url}/live")
    assert (status, told["draining"], told["reasons"]) == (200, True, ["it is shutting down"])
    until(lambda: json.loads(file.read_text())["ready"] is False, "the file says so too")
    place.open_the_gate()
    assert worker.wait() == 0
    assert not file.exists()


def test_a_worker_that_hangs_gives_no_answer(place: Shop) -> None:
    worker = place.worker("--health-port", "0")
    found = re.search(r"health: (\S+)/live", worker.errors)
    assert found is not None
    worker.signal(signal.SIGSTOP)
    with pytest.raises(OSError, match="timed out"):
        asked(f"{found[1]}/live")
    worker.signal(signal.SIGCONT)
    assert asked(f"{found[1]}/live")[0] == 200


def test_a_port_that_is_taken_is_told(place: Shop) -> None:
    first = place.worker("--health-port", "0")
    port = re.search(r":(\d+)/live", first.errors)
    assert port is not None
    second = place.worker("--health-port", port[1], ready=False)
    assert second.wait() == 2
    assert second.errors.startswith(f"error: nothing can listen on 127.0.0.1:{port[1]}: ")


# --- limits ---


async def test_limits_hold_for_two_processes(
    processes: Processes, tmp_path: Path, module: ModuleType, db: Database
) -> None:
    place = Shop(processes, tmp_path, module, db.url)
    workers = [place.worker(poll_interval=0.1) for _ in range(2)]
    async with place.submitter() as orchestrator:
        for number in range(24):
            await orchestrator.start(module.Three, {}, saga_id=f"three-{number}")
            await orchestrator.start(module.OnePerCustomer, {"customer": f"c-{number % 3}"}, saga_id=f"one-{number}")
            await orchestrator.start(module.TwentyASecond, {}, saga_id=f"rate-{number}")

        await eventually(lambda: len(place.calls()) == 72, "every step is called", seconds=60)
        async for saga in orchestrator.find():
            assert (await orchestrator.wait(saga.saga_id, timeout=30)).state is SagaState.COMPLETED
    found = place.calls()
    assert len(found) == 72  # nothing twice
    of = {name: [call for call in found if call.saga_type == name] for name in ("Three", "OnePerCustomer")}
    assert 1 < most_at_once(of["Three"]) <= 3
    for customer in ("c-0", "c-1", "c-2"):
        assert most_at_once([call for call in of["OnePerCustomer"] if call.key == customer]) == 1
    begun = sorted(call.begun for call in found if call.saga_type == "TwentyASecond")
    assert begun[-1] - begun[0] >= 0.9 * (24 - 2) / 20  # two may come at once
    assert {call.pid for call in found} == {worker.pid for worker in workers}
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert worker.wait() == 0


# --- frozen, and held up ---


@pytest.mark.parametrize("name", ["Gated", "Alone"])
async def test_a_worker_that_was_frozen_past_its_lease_harms_nothing(name: str, place: Shop) -> None:
    frozen = place.worker(lease=1.5, poll_interval=0.2)
    await place.start(name, "s-1")
    until(place.calls, "its call runs")
    frozen.signal(signal.SIGSTOP)
    other = place.worker(lease=30, poll_interval=0.2)
    until(lambda: len(place.calls()) == 2, "the other has taken it over, its permit too")
    frozen.signal(signal.SIGCONT)
    place.open_the_gate()
    saga = await place.end("s-1")
    assert saga.results["go"] == other.pid
    await place.start(name, "s-2", "s-3")
    for saga_id in ("s-2", "s-3"):
        assert (await place.end(saga_id)).state is SagaState.COMPLETED
    for worker in (frozen, other):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "Traceback" not in worker.errors
    assert (await place.end("s-1")).results["go"] == other.pid
    assert SagasFile(place.folder).rows("SELECT token FROM saga_permits") == []


async def test_a_step_that_blocks_the_loop_for_longer_than_the_lease_keeps_its_saga(place: Shop) -> None:
    blocked = place.worker(lease=1.0, poll_interval=0.2)
    await place.start("Blocking", "s-1")
    until(place.calls, "the loop stands still")
    other = place.worker(lease=30, poll_interval=0.1)
    file, me = SagasFile(place.folder), f"%:{blocked.pid}:%"
    beats = "SELECT until FROM saga_workers WHERE id LIKE ?"
    first = file.rows(beats, me)[0]
    until(lambda: file.rows(beats, me)[0] > first + 3.0, "three leases later it still beats")
    place.open_the_gate()
    assert (await place.end("s-1")).results["go"] == blocked.pid
    assert len(place.calls()) == 1
    for worker in (blocked, other):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


async def test_a_step_that_blocks_the_loop_for_too_long_loses_its_saga_and_harms_nothing(place: Shop) -> None:
    blocked = place.worker(lease=1.0, hang_timeout=1.0, poll_interval=0.2)
    await place.start("Blocking", "s-1")
    until(place.calls, "the loop stands still")
    other = place.worker(lease=30, poll_interval=0.2)
    until(lambda: len(place.calls()) == 2, "the other has taken it over")
    assert "the event loop has not answered for" in blocked.errors
    place.open_the_gate()
    assert (await place.end("s-1")).results["go"] in {blocked.pid, other.pid}
    until(lambda: "answers again" in blocked.errors, "it works again")
    for worker in (blocked, other):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert (await place.end("s-1")).results["go"] == other.pid
