"""The threads of functions that are not async: few, kept, and no reason for a process to stay."""

import threading
from concurrent.futures import CancelledError

import pytest

from sagafsm.runtime.threads import DaemonThreads


@pytest.fixture
def gate():
    """Jobs may wait for it; it is open at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def test_results_and_errors_come_back():
    threads = DaemonThreads(2, "work")
    assert threads.submit(divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 7, 0).result(10)
    with pytest.raises(SystemExit):
        threads.submit(exit).result(10)
    assert threads.submit(int, "ff", base=16).result(10) == 255
    threads.shutdown()


def test_no_more_threads_than_allowed_and_a_free_one_is_used_again(gate: threading.Event):
    threads = DaemonThreads(2, "work")
    first = threads.submit(threading.current_thread).result(10)
    assert first.daemon
    second = threads.submit(lambda: (gate.wait(10), threading.current_thread())[1])
    third = threads.submit(lambda: (gate.wait(10), threading.current_thread())[1])
    fourth = threads.submit(threading.current_thread)
    gate.set()
    used = {first, second.result(10), third.result(10), fourth.result(10)}
    assert len(used) <= 2
    threads.shutdown()
    assert not any(thread.is_alive() for thread in used)


def test_what_waits_for_a_thread_is_not_begun_after_the_end(gate: threading.Event):
    threads = DaemonThreads(1, "work")
    running, waiting = threads.submit(gate.wait, 10), threads.submit(gate.set)
    threads.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        waiting.result(10)
    assert not gate.is_set()
    gate.set()
    assert running.result(10) is True  # what runs goes on
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(gate.wait)
