"""Redis stores for tests: on a shared server, each in keys of its own."""

import itertools
import os

from sagafsm_redis import RedisStore

NUMBERS = itertools.count()


def fresh(url: str, **options: object) -> RedisStore:
    """A store that nobody has used yet, not open."""
    return RedisStore.from_url(url, **{"prefix": f"t{os.getpid()}-{next(NUMBERS)}:", **options})


def beside(store: RedisStore) -> RedisStore:
    """A second store on the same database, not open."""
    return RedisStore(store.options)
