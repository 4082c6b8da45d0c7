"""An SQLite store in a file of its own."""

import pytest

from sagafsm_sql import SQLStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sagas.db"


@pytest.fixture
async def store(path):
    store = SQLStore.from_url(f"sqlite:///{path}?timeout=0.1")
    await store.setup()
    yield store
    await store.close()
