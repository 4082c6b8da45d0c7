"""Whatever is asked of it in whatever order, the Redis store answers as the memory store does."""

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from sagafsm.testing.stateful import store_machine
from tests.stores.redis.stores import fresh

SETTINGS = hypothesis.settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.timeout(300)
def test_on_one_server(url):
    compare(url)


@pytest.mark.timeout(300)
def test_on_a_cluster(cluster_url):
    compare(cluster_url, partitions=4)


def compare(url, **options):
    async def open_store():
        store = fresh(url, **options)
        await store.setup()
        return store

    run_state_machine_as_test(store_machine(open_store), settings=SETTINGS)
