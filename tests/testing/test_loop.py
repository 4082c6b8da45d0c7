"""The event loop on virtual time: asyncio as it is, without waiting, in an order that can be chosen."""

import asyncio
import gc
import random
import sys

import pytest

from sagafsm.testing.loop import PROCESS, Deadlock, Livelock, VirtualLoop, running_loop


def run(coroutine, choose=None):
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(choose)) as runner:
        return runner.run(coroutine)


# --- time ---


def test_time_moves_only_when_nothing_is_ready_and_then_jumps():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert loop.time() == 0.0
        await asyncio.sleep(86_400)
        return loop.time()

    assert run(main()) == 86_400.0


def test_timers_of_one_instant_run_together_and_in_order():
    async def main():
        loop, order = asyncio.get_running_loop(), []
        for name in "abc":
            loop.call_later(5, order.append, name)
        loop.call_later(1, order.append, "first")
        loop.call_later(3, order.append, "never").cancel()
        await asyncio.sleep(5)
        return order

    assert run(main()) == ["first", "a", "b", "c"]


def test_cancelled_timers_do_not_pile_up():
    async def main():
        loop = running_loop()
        for _ in range(5_000):
            loop.call_later(1e9, print).cancel()
        return len(loop._timers)

    assert run(main()) < 500


def test_idle_waits_for_everything_that_happens_now_and_says_when_something_happens_next():
    async def main():
        done = []

        async def other():
            for _ in range(10):
                await asyncio.sleep(0)
            done.append("now")
            await asyncio.sleep(7)
            done.append("later")

        task = asyncio.create_task(other())
        assert await running_loop().idle() == 7.0
        assert done == ["now"]
        await task
        assert await running_loop().idle() is None

    run(main())


# --- what would hang or spin ---


def test_a_wait_that_nobody_ends_is_a_deadlock():
    with pytest.raises(Deadlock, match="nothing is ready"):
        run(asyncio.Event().wait())


def test_a_loop_that_never_ends_is_a_livelock():
    loop = VirtualLoop(max_steps=1000)

    def spin():
        loop.call_soon(spin)

    spin()
    with pytest.raises(Livelock, match="1000 steps"):
        loop.run_until_complete(loop.create_future())


def test_a_loop_on_which_time_stands_still_is_a_livelock_and_one_on_which_it_moves_is_none():
    loop = VirtualLoop(max_at_once=1000)

    async def spin(seconds):
        for _ in range(3000):
            await asyncio.sleep(seconds)

    loop.run_until_complete(spin(0.001))
    with pytest.raises(Livelock, match="1000 steps were made and time stands still"):
        loop.run_until_complete(spin(0))
    loop.close()


# --- asyncio on top of it ---


def test_the_tools_of_asyncio_work_as_they_are():
    async def main():
        lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue(maxsize=1)
        found = []

        async def worker(name):
            async with lock:
                await asyncio.sleep(1)
                found.append(name)
            await queue.put(name)

        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(worker(name))
            assert [await queue.get(), await queue.get()] == ["a", "b"]
            asyncio.get_running_loop().call_later(2, event.set)
        assert found == ["a", "b"]
        await event.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.sleep(10)
        assert await asyncio.gather(asyncio.sleep(1, "x"), asyncio.shield(asyncio.sleep(2, "y"))) == ["x", "y"]
        done, pending = await asyncio.wait(
            {asyncio.create_task(asyncio.sleep(1)), asyncio.create_task(asyncio.sleep(9))}, timeout=5
        )
        assert (len(done), len(pending)) == (1, 1)
        pending.pop().cancel()
        return asyncio.get_running_loop().time()

    assert run(main()) == 2 + 2 + 3 + 2 + 5  # the workers, the event, the timeout, the gather, the wait


def test_a_task_group_cancels_the_siblings_of_what_failed():
    async def main():
        tasks = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks.append(group.create_task(asyncio.sleep(100)))
                tasks.append(group.create_task(fail()))
        except* ValueError:
            tasks.append(asyncio.get_running_loop().time())
        return tasks

    async def fail():
        await asyncio.sleep(1)
        raise ValueError("no")

    sleeper, failed, when = run(main())
    assert (sleeper.cancelled(), str(failed.exception()), when) == (True, "no", 1.0)


def test_a_runner_of_asyncio_takes_it_as_its_loop():
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(asyncio.sleep(3600, "done")) == "done"
        leftover = runner.get_loop().create_task(asyncio.sleep(1))
    assert leftover.cancelled()


def test_a_generator_that_is_left_halfway_is_closed():
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            closed.append(True)

    async def main():
        async for _ in numbers():
            break
        await asyncio.sleep(5)

    run(main())
    assert closed == [True]


def test_run_forever_goes_on_until_it_is_stopped():
    loop = VirtualLoop()
    loop.call_later(60, loop.stop)
    loop.run_forever()
    assert loop.time() == 60.0
    assert not loop.is_running()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


def test_functions_for_threads_run_at_once_and_see_no_loop():
    def blocking(number):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        if number < 0:
            raise ValueError(number)
        return number * 2

    async def main():
        assert await asyncio.to_thread(blocking, 21) == 42
        with pytest.raises(ValueError, match="-1"):
            await asyncio.get_running_loop().run_in_executor(None, blocking, -1)

    run(main())


def test_the_network_is_refused_with_a_way_out():
    async def main():
        with pytest.raises(NotImplementedError, match=r"no network.*configure_result"):
            await asyncio.open_connection("127.0.0.1", 9)

    run(main())


def test_an_error_that_nobody_caught_is_told():
    told = []
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(1))
    assert told == ["division by zero"]


async def test_it_does_not_run_inside_another_loop():
    loop = VirtualLoop()
    work = loop.create_future()
    with pytest.raises(RuntimeError, match="another event loop"):
        loop.run_until_complete(work)


# --- the order ---


def order_of(choose=None):
    order = []

    async def worker(name):
        for turn in range(3):
            order.append(f"{name}{turn}")
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(worker(name) for name in "abc"))

    run(main(), choose=choose)
    return order


def test_the_default_order_is_first_come_first_served():
    assert order_of() == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_the_order_is_chosen_and_the_same_choices_give_the_same_order():
    def seeded(seed):
        return random.Random(seed).randrange

    assert order_of(seeded(1)) == order_of(seeded(1))
    assert len({tuple(order_of(seeded(seed))) for seed in range(50)}) > 20
    assert order_of(lambda n: n - 1)[:3] == ["c0", "c1", "c2"]


# --- processes ---


def test_a_killed_process_says_no_last_word():
    said = []

    async def work(name):
        try:
            await asyncio.sleep(1)
            said.append(f"{name} is done")
        finally:
            said.append(f"{name} cleans up")

    async def process(name):
        PROCESS.set(name)
        async with asyncio.TaskGroup() as group:
            group.create_task(work(name))

    async def main():
        tasks = [asyncio.create_task(process(name)) for name in ("one", "two")]
        await asyncio.sleep(0.5)
        running_loop().kill("one")
        await tasks[1]
        await asyncio.sleep(10)
        assert not tasks[0].done()
        assert said == ["two is done", "two cleans up"]

    run(main())
    assert said[2:] == ["one cleans up"]  # when the loop was closed, and nobody heard it any more


def test_clean_ups_that_wait_are_broken_off_without_a_word_when_the_loop_is_closed(monkeypatch):
    """The collector complained: "coroutine ignored GeneratorExit"."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", lambda complaint: complaints.append(str(complaint)))

    async def inner():
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(1)
            finally:
                await asyncio.sleep(1)

    async def outer():
        try:
            await inner()
        finally:
            await asyncio.sleep(1)

    async def main():
        loop.create_task(outer())
        await asyncio.sleep(1)

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert complaints == []


def test_what_a_killed_process_had_planned_never_happens():
    async def main():
        loop, happened = running_loop(), []

        async def process():
            PROCESS.set("doomed")
            loop.call_soon(happened.append, "soon")
            loop.call_later(1, happened.append, "later")
            loop.kill("doomed")
            happened.append("before its next wait")
            await asyncio.sleep(0)
            happened.append("after it")

        task = asyncio.create_task(process())
        await asyncio.sleep(5)
        assert not task.done()
        return happened

    assert run(main()) == ["before its next wait"]
