"""Whatever is asked of it in whatever order, the PostgreSQL store answers as the memory store does."""

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from sagafsm.testing.stateful import store_machine
from sagafsm_sql import SQLStore

SETTINGS = hypothesis.settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.timeout(300)
def test_it_answers_as_the_memory_store_does(schemas):
    async def open_store():
        store = SQLStore.from_url(schemas.url(await schemas.empty()))
        await store.setup()
        return store

    run_state_machine_as_test(store_machine(open_store), settings=SETTINGS)
