"""The worker threads: made once, native, asleep when idle."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
import threading
from typing import Any, Final

from tenor.config import config
from tenor.errors import ArgumentError
from tenor.runtime import cpu, native
from tenor.runtime.allocator import PAGE

__all__ = [
    "MAX_THREADS",
    "Pool",
    "borrow",
    "entry",
    "get_num_threads",
    "give_back",
    "set_num_threads",
]

MAX_THREADS: Final = 64
_SYMBOLS: Final = ("worker", "execute", "run_held", "run_released")
_state: Final[dict[str, Any]] = {"lock": threading.RLock(), "pools": {}, "entries": None}


def entry(name: str) -> int:
    """Return the address of a function of the native half."""
    if _state["entries"] is None:
        with _state["lock"], cpu.lock:
            if _state["entries"] is None:
                called = {name: cpu.address_in_python(name) for name in CALLED}
                text = native.text(cpu.machine())
                _state["entries"] = cpu.jitted(text, called, list(_SYMBOLS))
    return int(_state["entries"][name])


def _keep_for_ever(thing: Any) -> None:
    """Keep what workers run on or look at: they go on until the process is gone."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


CALLED: Final = (
    "PyLong_AsVoidPtr", "PyLong_FromLongLong", "PyEval_SaveThread", "PyEval_RestoreThread",
)  # fmt: skip
"""Functions of CPython the native half calls."""


class Pool:
    """Native threads that share a job with their caller.

    Args:
        workers: Threads besides the caller.
    """

    def __init__(self, workers: int) -> None:
        _keep_for_ever(self)
        self.workers = workers
        self.memory = mmap.mmap(-1, 8192)
        self.words = (ctypes.c_int64 * 1024).from_buffer(self.memory)
        self.address = ctypes.addressof(self.words)
        self.words[0] = (workers + 1) << 32  # epoch 0, so many threads
        self.busy = threading.Lock()
        self.scratch: list[Any] = []
        self.scratch_bytes = 0
        self.arguments = []
        libc = ctypes.CDLL(None)
        for number in range(1, workers + 1):
            argument = (ctypes.c_int64 * 2)(self.address, number)
            thread = ctypes.c_uint64()
            self.arguments.append(argument)
            failed = libc.pthread_create(
                ctypes.byref(thread), None, ctypes.c_void_p(entry("worker")), ctypes.byref(argument)
            )
            if failed:
                raise OSError(failed, "a worker thread could not be started")
            libc.pthread_detach(thread)

    def reserve(self, nbytes: int) -> None:
        """Give every worker at least so much scratch; the pool must be held."""
        if nbytes <= self.scratch_bytes:
            return
        self.scratch_bytes = nbytes
        own = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.scratch = [mmap.mmap(-1, nbytes + PAGE, own) for _ in range(self.workers)]
        for number, memory in enumerate(self.scratch, start=1):
            if nbytes >= PAGE:
                with contextlib.suppress(OSError):  # a system without large pages
                    memory.madvise(mmap.MADV_HUGEPAGE)
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            self.words[24 + number] = -(-address // PAGE) * PAGE


def borrow() -> Pool | None:
    """Return a pool of the wanted size, held for the caller; None where another thread has it."""
    workers = min(config.threads, MAX_THREADS) - 1
    pool = _state["pools"].get(workers)
    if pool is None:
        if workers < 1 or not sys.platform.startswith("linux"):
            return None
        with _state["lock"]:
            pool = _state["pools"].get(workers) or Pool(workers)
            _state["pools"][workers] = pool
    return pool if pool.busy.acquire(blocking=False) else None


def give_back(pool: Pool) -> None:
    """Let another thread have the pool."""
    pool.busy.release()


def get_num_threads() -> int:
    """Return how many threads a kernel may use, the caller included."""
    return config.threads


def set_num_threads(count: int) -> None:
    """Set how many threads a kernel may use, the caller included; results do not depend on it.

    Raises:
        ArgumentError: the count is not between 1 and 64.
    """
    if not 1 <= count <= MAX_THREADS:
        raise ArgumentError(
            f"set_num_threads: the count must lie in [1, {MAX_THREADS}].",
            came=f"{count}",
            fix="give the number of cores to use",
        )
    config.threads = count


def _after_fork() -> None:
    """Threads do not survive a fork; the child makes its own."""
    # A lock held by another thread at the fork is never released.
    _state["lock"] = threading.RLock()
    _state["pools"] = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
