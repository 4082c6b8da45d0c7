"""The thread that owns a connection runs every job to its end, in order."""

import asyncio
import threading

import pytest

from sagafsm_sql.sqlite.thread import ConnectionThread


@pytest.fixture
def thread():
    thread = ConnectionThread("test")
    yield thread
    thread.stop()
    thread.join()


async def test_jobs_run_in_order_on_one_thread(thread):
    seen = []
    futures = [thread.submit(lambda n=n: seen.append((n, threading.current_thread().name))) for n in range(20)]
    await asyncio.gather(*futures)
    assert seen == [(n, "test") for n in range(20)]


async def test_what_a_job_returns_or_raises_is_handed_over(thread):
    assert await thread.submit(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await thread.submit(lambda: 1 // 0)
    assert await thread.submit(lambda: 8) == 8


async def test_a_job_whose_caller_was_cancelled_runs_to_its_end(thread):
    may_go, done = threading.Event(), []
    cancelled = thread.submit(lambda: (may_go.wait(10), done.append(1)))
    cancelled.cancel()
    may_go.set()
    await thread.submit(lambda: None)
    assert done == [1]


def test_a_job_may_end_after_the_loop_is_closed(thread):
    may_go = threading.Event()

    async def leave():
        thread.submit(lambda: may_go.wait(10))

    async def ask():
        return await thread.submit(lambda: 7)

    asyncio.run(leave())
    may_go.set()
    assert asyncio.run(ask()) == 7


async def test_stopping_lets_queued_jobs_end(thread):
    futures = [thread.submit(lambda n=n: n) for n in range(5)]
    thread.stop()
    assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]
