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
"""Bytes handed to the system at once: large enough to be fast, small enough to fail early."""

NO_DIRECTORY_SYNC: Final = {errno.EINVAL, errno.EBADF, errno.EACCES, errno.EPERM, errno.ENOTSUP}
"""What file systems answer that have no such thing as syncing a directory."""


class AtomicFile:
    """Where the new contents go: a file beside the one to replace.

    Attributes:
        written: Bytes so far.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data`."""
        with memoryview(data) as view, view.cast("B") as rest:
            at = 0
            while at < len(rest):
                at += os.write(self._descriptor, rest[at : at + CHUNK])
            self.written += at
            return at


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[AtomicFile]:
    """Give a file to write; when the block ends, it takes the place of `path`.

    The bytes go to a hidden file in the same directory, which is synced to the disk and renamed.
    Another process sees the old file or the new one, never a part; so does this one after a
    crash. An exception in the block, or any failure of the system, leaves the old file as it was
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
    with _explained(target):
        mode = _mode_of(target)
        beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.part")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            with _explained(target):
                if mode is not None:
                    os.fchmod(descriptor, mode)
            file = AtomicFile(descriptor)
            writing = _Writing(file, target)
            yield writing
            with _explained(target):
                os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        with _explained(target):
            os.close(descriptor)
            _put_in_place(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def replace_file(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks one after another as the new contents of `path`; see `atomic_write`.

    Raises:
        SaveError: The system could not write; the old file is as it was.
    """
    with atomic_write(path) as file:
        for chunk in chunks:
            file.write(chunk)


class _Writing(AtomicFile):
    """An AtomicFile whose failures say which file could not be written."""

    def __init__(self, file: AtomicFile, target: Path) -> None:
        super().__init__(file._descriptor)
        self._target = target

    def write(self, data: bytes | bytearray | memoryview) -> int:
        with _explained(self._target):
            return super().write(data)


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(
            f"save: {str(target)!r} must be writable.",
            came=error.strerror or str(error),
            fix="make room or choose another place; what stood there before still stands",
        ) from error


def _mode_of(target: Path) -> int | None:
    """Return the permissions to keep, or None for a new file."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return stat.S_IMODE(status.st_mode)


def _put_in_place(beside: Path, target: Path) -> None:
    """Rename, and make the rename last; if it cannot be made to last, undo it."""
    directory = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kept = _second_name(target)
        try:
            beside.replace(target)
            try:
                _sync_directory(directory)
            except OSError:
                kept.replace(target) if kept is not None else target.unlink()
                raise
        finally:
            if kept is not None:
                with contextlib.suppress(OSError):
                    kept.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(directory)


def _second_name(target: Path) -> Path | None:
    """Give the old file another name to come back by; None if there is none."""
    kept = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.old")
    try:
        os.link(target, kept)
    except FileNotFoundError:
        return None
    return kept


def _sync_directory(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in NO_DIRECTORY_SYNC:
            raise
