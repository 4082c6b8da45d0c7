"""Archives a store, three sagas a file, and kills itself: ``python killed_archiver.py URL FOLDER PLACE TIMES``.

``PLACE``: ``writing`` (the bytes are in the file, which has no name yet), ``written`` (the file is there), ``purged``
(its sagas are deleted); ``TIMES``: at the how-manieth time it comes there (0: never).
"""

import asyncio
import os
import signal
import sys

from sagafsm.moving import archive, archive_sagas, folder
from sagafsm.store import open_store


def main(url, to, place, times):
    left = int(times)

    def reached(here):
        nonlocal left
        left -= here == place
        if here == place and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Dying(folder.LocalFolder):
        def write(self, name, data):
            super().write(name, data)
            reached("written")

    sync = os.fsync

    def die_or_sync(handle):
        if isinstance(handle, int) and os.fstat(handle).st_mode & 0o100000:  # a file, not its folder
            reached("writing")
        sync(handle)

    os.fsync = die_or_sync
    archive.MOST_SAGAS = 3
    archive.open_folder = lambda path: Dying(folder.Path(path))
    asyncio.run(run(url, to, lambda done: reached("purged")))


async def run(url, to, progress):
    store = open_store(url)
    await store.setup(migrate=False)
    await archive_sagas(store, to, await store.now(), keep_ids=3600.0, progress=progress)
    await store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
