"""A failure of the system at any call leaves the old file whole and nothing beside it."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from tenor.errors import SaveError
from tenor.save import atomic

CALLS = ("open", "write", "fsync", "close", "replace", "link", "fchmod", "stat")
OLD, NEW = b"old contents", b"new contents " * 1000


class Faults:
    """Count the calls of the system; let the one numbered `at` fail."""

    def __init__(self, monkeypatch, code=errno.ENOSPC, at=None):
        self.count = 0
        self.seen = []
        self.at = at
        self.code = code
        for name in CALLS:
            if name in ("replace", "stat"):  # Path.replace and Path.stat call these
                monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))
            else:
                monkeypatch.setattr(atomic.os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, real):
        def call(*args, **kwargs):
            self.count += 1
            self.seen.append(name)
            if self.count - 1 != self.at:
                return real(*args, **kwargs)
            if name == "close":
                real(*args)  # a failed close has closed all the same
            raise OSError(self.code, os.strerror(self.code))

        return call


def write(path, chunks=3):
    atomic.replace_file(path, [NEW] * chunks)


def count(tmp_path, old):
    path = tmp_path / "counted"
    if old:
        path.write_bytes(OLD)
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch)
        write(path)
    assert path.read_bytes() == NEW * 3
    path.unlink()
    return faults.seen


@pytest.mark.parametrize("old", [True, False], ids=["replaced", "new"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_at_any_call_leaves_the_old_file(tmp_path, old, code):
    seen = count(tmp_path, old)
    assert {"open", "write", "fsync", "close", "replace"} <= set(seen)
    assert seen.count("write") == 3
    assert seen.count("fsync") == 2
    path = tmp_path / "file"
    failed = 0
    for at in range(len(seen)):
        if old:
            path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, code, at)
            if seen[at] == "close" and at > seen.index("replace"):
                write(path)  # the directory's, through which nothing was written
                assert path.read_bytes() == NEW * 3
            else:
                with pytest.raises(SaveError, match=os.strerror(code)):
                    write(path)
                failed += 1
                assert path.exists() == old, seen[at]
                assert not old or path.read_bytes() == OLD, seen[at]
            assert faults.seen[: at + 1] == seen[: at + 1]
        assert [p.name for p in tmp_path.iterdir()] == (["file"] if path.exists() else [])
        path.unlink(missing_ok=True)
    assert failed == len(seen) - 1


def test_short_writes_are_finished(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(atomic.os, "write", lambda fd, data: real(fd, data[:7]))
    write(tmp_path / "file", 1)
    assert (tmp_path / "file").read_bytes() == NEW


def test_an_exception_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)

    class Stop(BaseException):
        pass

    def stopped():
        yield NEW
        raise Stop

    with pytest.raises(Stop):
        atomic.replace_file(path, stopped())
    assert path.read_bytes() == OLD
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM])
def test_file_systems_without_links_or_directory_sync(tmp_path, monkeypatch, code):
    real = os.fsync

    def sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "no such thing")
        real(descriptor)

    def link(*_):
        raise OSError(code, "no such thing")

    path = tmp_path / "file"
    path.write_bytes(OLD)
    monkeypatch.setattr(atomic.os, "fsync", sync)
    monkeypatch.setattr(atomic.os, "link", link)
    write(path, 1)
    assert path.read_bytes() == NEW


def test_permissions_and_symbolic_links_stay(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(OLD)
    path.chmod(0o640)
    link.symlink_to(path)
    write(link, 1)
    assert link.is_symlink()
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(list(tmp_path.iterdir())) == 2


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(SaveError, match="not a file"):
        write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(SaveError, match="No such file"):
        write(tmp_path / "missing" / "file")


def test_long_names(tmp_path):
    path = tmp_path / ("n" * 255)
    write(path, 1)
    write(path, 1)
    assert path.read_bytes() == NEW
    assert len(list(tmp_path.iterdir())) == 1


def test_the_error_is_an_oserror_and_keeps_its_cause(tmp_path):
    with pytest.raises(OSError, match="writable") as caught:
        write(tmp_path / "missing" / "file")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("name", ["open", "write", "fsync", "close", "fchmod"])
def test_an_interrupt_right_after_a_call_leaves_nothing_beside_the_file(
    tmp_path, monkeypatch, name
):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    real = getattr(os, name)
    interrupted = []

    def call(*args, **kwargs):
        result = real(*args, **kwargs)
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(atomic.os, name, call)
    with pytest.raises(KeyboardInterrupt):
        write(path)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]
