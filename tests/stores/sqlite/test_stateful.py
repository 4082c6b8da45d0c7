"""Whatever is asked of it in whatever order, the SQLite store answers as the memory store does."""

import tempfile

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from sagafsm.testing.stateful import store_machine
from sagafsm_sql import SQLStore

SETTINGS = hypothesis.settings(max_examples=60, stateful_step_count=30, deadline=None)


async def in_memory():
    store = SQLStore.from_url("sqlite://")
    await store.setup()
    return store


def test_in_memory():
    run_state_machine_as_test(store_machine(in_memory), settings=SETTINGS)


def test_in_a_file():
    with tempfile.TemporaryDirectory() as folder:

        async def in_a_file():
            store = SQLStore.from_url(f"sqlite:///{tempfile.mkdtemp(dir=folder)}/sagas.db")
            await store.setup()
            return store

        run_state_machine_as_test(store_machine(in_a_file), settings=hypothesis.settings(SETTINGS, max_examples=30))
