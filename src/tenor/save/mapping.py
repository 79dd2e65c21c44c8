"""A file's bytes without reading them: mapped, and in memory only once they are looked at."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from typing import TYPE_CHECKING

from tenor.errors import FormatError

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["mapped"]


def mapped(path: str | PathLike[str]) -> memoryview:
    """Return the bytes of a file, read-only.

    Raises:
        FormatError: It is no file: a pipe, a socket or a device.
        OSError: It cannot be opened.
    """
    # A pipe nobody writes to would be waited for at the door.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(
                "load: a file that can be mapped.",
                came=f"{os.fspath(path)} is a pipe, a socket or a device",
                fix="write what comes out of it to a file first",
            )
        if not status.st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
