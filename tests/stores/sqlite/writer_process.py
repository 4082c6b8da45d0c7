"""A process of its own that appends to sagas in one file, for as long as it lives or as often as it is told.

Prints a line when it is ready and, with ``report``, one for each append that was acknowledged.
"""

import asyncio
import sys

from sagafsm.store import Committed, Conflict
from sagafsm.testing.appends import events, follow
from sagafsm_sql import SQLStore


async def append(url: str, names: list[str], count: int) -> None:
    store = SQLStore.from_url(url)
    await store.setup()
    print("ready", flush=True)
    done = 0
    while done < count:
        found = await store.load(names)
        batch = [follow(saga.record, events=events(1 + done % 3)) for saga in found.values()]
        for name, result in zip(found, await store.commit(batch), strict=True):
            if isinstance(result, Committed):
                done += 1
                print(f"{name} {result.version}", flush=True)
            else:
                assert isinstance(result, Conflict), result
    await store.close()
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(append(sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])))
