"""Every test of this folder runs on virtual time, unless its module says ``REAL_TIME = True``."""

import asyncio

import pytest

from sagafsm.testing import VirtualLoop
from tests.runtime.world import Ledger, World


def pytest_asyncio_loop_factories(config, item):
    real = getattr(item.module, "REAL_TIME", False)
    return {"real": asyncio.new_event_loop} if real else {"virtual": lambda: VirtualLoop(max_steps=3_000_000)}


@pytest.fixture
async def world():
    return World()


@pytest.fixture
async def did(world):
    return Ledger(world.loop.time)
