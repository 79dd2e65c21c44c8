"""Files that are replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tenor.errors import SaveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["AtomicFile", "atomic_write", "replace_file"]

CHUNK: Final = 8 << 20
"""Bytes handed to the system at once."""

UNSUPPORTED: Final = {errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What file systems answer that cannot sync a directory or give a file a second name."""


class AtomicFile:
    """Where the new contents go, beside the file they will replace.

    Attributes:
        written: Bytes so far.
    """

    def __init__(self, descriptor: int, target: Path) -> None:
        self._descriptor = descriptor
        self._target = target
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data`; return its size in bytes."""
        at = 0
        with _explained(self._target), memoryview(data) as view, view.cast("B") as rest:
            while at < len(rest):
                at += os.write(self._descriptor, rest[at : at + CHUNK])
        self.written += at
        return at


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[AtomicFile]:
    """Give a file to write; when the block ends, it takes the place of `path`.

    The bytes go to a hidden file in the same directory, which is synced to the disk and renamed.
    Another process sees the old file or the new one, never a part; so does this one after a
    crash. An exception in the block, or a failure of the system, leaves the old file as it was
    and nothing beside it. A symbolic link stays one: the file it names is replaced. The
    permissions of the old file are kept.

    Raises:
        SaveError: The system could not write, e.g. because the disk is full.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with atomic_write(path) as file:
        ...     _ = file.write(b"kept")
        >>> path.read_bytes()
        b'kept'
    """
    target = Path(os.path.realpath(path))
    beside = _beside(target, "part")
    try:
        with _explained(target):
            mode = _mode_of(target)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(beside, flags, 0o666)
        with _closing(descriptor, target):
            yield AtomicFile(descriptor, target)
            with _explained(target):
                if mode is not None:
                    os.fchmod(descriptor, mode)
                os.fsync(descriptor)
        with _explained(target):
            _put_in_place(beside, target, existed=mode is not None)
    except BaseException:  # an interrupt may come before open() has said that it is done
        _forget(beside)
        raise


def replace_file(
    path: str | os.PathLike[str], chunks: Iterable[bytes | bytearray | memoryview]
) -> None:
    """Write chunks one after another as the new contents of `path`; see `atomic_write`.

    Raises:
        SaveError: The system could not write; the old file is as it was.
    """
    with atomic_write(path) as file:
        for chunk in chunks:
            file.write(chunk)


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SaveError(
            f"save: {str(target)!r} must be writable.",
            came=error.strerror or str(error),
            fix="make room or choose another place; what stood there before still stands",
        ) from error


@contextlib.contextmanager
def _closing(descriptor: int, target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    with _explained(target):  # where quotas are counted late, close() is what fails
        os.close(descriptor)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name[:48]}.{secrets.token_hex(6)}.{suffix}")


def _mode_of(target: Path) -> int | None:
    """Return the permissions to keep, or None for a new file."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "a directory or device, not a file")
    return stat.S_IMODE(status.st_mode)


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _put_in_place(beside: Path, target: Path, *, existed: bool) -> None:
    """Rename and make the renaming last; where that fails, take it back."""
    directory = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    kept = _beside(target, "old") if existed else None
    try:
        linked = kept is not None and _link(target, kept)
        beside.replace(target)
        try:
            _sync(directory)
        except OSError:
            if kept is not None and linked:
                kept.replace(target)
            elif not existed:
                target.unlink()
            raise
    finally:
        if kept is not None:
            _forget(kept)
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(directory)


def _link(target: Path, kept: Path) -> bool:
    """Give the old file a second name to come back by, if the file system has such a thing."""
    try:
        os.link(target, kept)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True


def _sync(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
