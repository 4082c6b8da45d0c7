"""A child process must not outlive its parent.

What must stay true: the parent holds the other end of the child's standard input and never writes to it, so that the
end of that stream means the end of the parent, whatever ended it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


def when_parent_ends(callback: Callable[[], object]) -> None:
    """Call ``callback``, in a thread of its own, as soon as the parent process has ended or let go of this one."""

    def wait() -> None:
        # os.read and not sys.stdin: that one takes a lock which this thread would still hold when Python shuts down.
        while os.read(0, 1024):
            continue
        callback()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
