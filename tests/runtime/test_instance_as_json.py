"""``SagaInstance.to_dict``: what scripts and the command line's ``--json`` read."""

import json
from datetime import datetime

from tests.runtime.steps import failing, one_step, run


async def test_every_time_is_iso_8601_those_of_errors_too(world):
    definition = one_step(failing([].append, *[ValueError("no")] * 3))
    saga, _ = await run(world, definition)
    told = json.loads(json.dumps(saga.to_dict()))
    times = [told["created_at"], told["finished_at"], told["error"]["at"], told["steps"]["work"]["error"]["at"]]
    assert [datetime.fromisoformat(at).tzinfo is not None for at in times] == [True] * 4
    assert told["error"] | {"at": None} == {"type": "ValueError", "message": "no", "step": "work", "at": None}
