"""Whole saves, of each kind, with a failure of the system at each of its calls in turn."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import SaveError
from tenor.save import atomic, load, save
from tenor.save.safetensors import save_file

CALLS = ("open", "write", "fsync", "close", "replace", "link", "fchmod")


BY_PATH = ("open", "replace", "link")


class Faults:
    """Count the calls of the system that concern a directory; let the one numbered `at` fail."""

    def __init__(self, patch, directory, at=None):
        self.seen = []
        self.at = at
        self.directory = str(directory)
        self.own = set()
        for name in CALLS:
            patch.setattr(atomic.os, name, self.wrapped(name, getattr(os, name)))

    def concerns(self, name, first):
        # Others (the compiler's cache) use the same functions on files of their own.
        return self.directory in str(first) if name in BY_PATH else first in self.own

    def wrapped(self, name, real):
        def call(first, *args, **kwargs):
            if not self.concerns(name, first):
                return real(first, *args, **kwargs)
            self.seen.append(name)
            fails = len(self.seen) - 1 == self.at
            if fails and name != "close":
                raise OSError(errno.ENOSPC, "No space left on device")
            result = real(first, *args, **kwargs)
            if fails:  # a failed close has closed all the same
                raise OSError(errno.ENOSPC, "No space left on device")
            if name == "open":
                self.own.add(result)
            return result

        return call


def attempt(directory, work, at=None):
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, directory, at)
        try:
            work()
        except SaveError:
            return faults.seen, True
        return faults.seen, False


def model(path, value):
    linear = nn.Linear(2, 2)
    with tn.no_grad():
        linear.weight.fill_(value)
    return lambda: save(linear, path, example_inputs=tn.ones(1, 2))


def arrays(path, value):
    return lambda: save_file({"a": np.full(3, value), "b": np.full(4, value)}, path)


def state(path, value):
    return lambda: save({"a": tn.full((3,), value)}, path)


@pytest.mark.parametrize(
    ("kind", "name"), [(model, "m.tnr"), (arrays, "a.safetensors"), (state, "s.safetensors")]
)
def test_a_failure_at_any_call_leaves_the_old_file(tmp_path, kind, name):
    directory = tmp_path / "models"
    directory.mkdir()
    path = directory / name
    kind(path, 1.0)()
    old = path.read_bytes()
    seen, failed = attempt(directory, kind(path, 2.0))
    assert not failed
    assert path.read_bytes() != old
    assert {"open", "write", "fsync", "close", "replace"} <= set(seen)
    assert seen.count("write") >= (2 if kind is not model else 8)
    for at in range(len(seen)):
        path.write_bytes(old)
        _, failed = attempt(directory, kind(path, 2.0), at)
        last_close = seen[at] == "close" and at > seen.index("replace")
        assert failed is not last_close, seen[at]
        assert (path.read_bytes() == old) is failed, seen[at]
        assert [p.name for p in directory.iterdir()] == [name]
        load(path)


def test_the_error_shows_the_users_own_line(tmp_path):
    with pytest.raises(SaveError) as caught:
        save({"a": tn.ones(1)}, tmp_path / "missing" / "a.safetensors")
    assert caught.value.where is not None
    assert caught.value.where[0] == __file__
