"""Makes a process obey the modes of files, as everybody's does who is not root."""

from __future__ import annotations

import ctypes
import os

VERSION_3 = 0x20080522  # of the structures that Linux' capset takes


def obey_modes() -> None:
    """Give up the privilege by which root reads and writes everything. For the calling thread and those it starts."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()  # no capability is effective, permitted or inherited any more
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")
