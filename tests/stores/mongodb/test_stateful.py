"""Whatever is asked of it in whatever order, it answers as the memory store does; also while it seals."""

import uuid
from urllib.parse import urlsplit

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from sagafsm.testing.stateful import store_machine
from sagafsm_mongo import MongoStore, sealing
from tests.servers.mongodb import MongoDB

SETTINGS = hypothesis.settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("every", [sealing.EVERY, 2])
def test_the_store_and_its_model_agree(servers, admin, monkeypatch, every):
    monkeypatch.setattr(sealing, "EVERY", every)
    server = urlsplit(servers.url(MongoDB))
    names = []

    async def open_store():
        names.append(f"test-{uuid.uuid4().hex[:16]}")
        store = MongoStore.from_url(server._replace(path=f"/{names[-1]}").geturl())
        await store.setup()
        return store

    try:
        run_state_machine_as_test(store_machine(open_store), settings=SETTINGS)
    finally:
        for name in names:
            admin.drop_database(name)
