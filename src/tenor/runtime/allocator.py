"""Aligned memory, kept for reuse by size."""

from __future__ import annotations

import contextlib
import ctypes
from collections import defaultdict
from typing import Any, Final

import numpy as np

__all__ = [
    "ALIGN",
    "PAGE",
    "Buffer",
    "Loan",
    "View",
    "allocate",
    "capacity_of",
    "copy_of",
    "counted",
    "free",
    "memory_allocated",
    "memory_reserved",
    "release_cached",
]

ALIGN: Final = 64
PAGE: Final = 2 << 20
"""Bytes of a large page. What takes as much begins on one, and NumPy asks the system for such."""
KEEP_BYTES: Final = 1 << 30

free: Final[dict[int, list[tuple[int, Any]]]] = defaultdict(list)
counted: Any = (ctypes.c_int64 * 3)(0, 0, KEEP_BYTES)
"""Bytes of all buffers in use, kept for reuse, and at most kept; None when the interpreter is going
down."""
LIVE, CACHED, LIMIT = 0, 1, 2


class Buffer:
    """Bytes at a fixed address.

    Attributes:
        pointer: The address, a multiple of 64 unless the memory is borrowed.
        nbytes: Its size.
        owner: What keeps the memory alive.
        shared: Whether somebody else (a NumPy array, another library) may write it at any time.
        lent: How many arrays it is lent to at this moment.
        version: How often its bytes may have been written anew: by a run, or through a loan.
    """

    __slots__ = (
        "__weakref__", "capacity", "lent", "nbytes", "owner", "pointer", "shared", "version",
    )  # fmt: skip

    def __init__(self, pointer: int, nbytes: int, owner: Any, capacity: int = 0) -> None:
        self.pointer = pointer
        self.nbytes = nbytes
        self.owner = owner
        self.capacity = capacity
        self.shared = False
        self.lent = 0
        self.version = 0

    def __del__(self) -> None:
        capacity = self.capacity
        if not capacity or counted is None:
            return
        counted[LIVE] -= capacity
        # Memory somebody may still look at through a NumPy view is not reused.
        if not self.shared and counted[CACHED] + capacity <= counted[LIMIT]:
            counted[CACHED] += capacity
            free[capacity].append((self.pointer, self.owner))

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return a NumPy view; it keeps the buffer alive."""
        count = 1
        for n in shape:
            count *= n
        if count == 0:
            return np.empty(shape, dtype)
        return np.asarray(View(self, dtype, shape))

    def lend(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return a NumPy view that may be written; the buffer is shared while any such lives."""
        return np.asarray(Loan(self, dtype, shape))

    def snapshot(self) -> Buffer:
        """Return a copy nobody else can see."""
        made = allocate(self.nbytes)
        ctypes.memmove(made.pointer, self.pointer, self.nbytes)
        return made

    def assign(self, other: Buffer) -> None:
        """Copy another buffer's bytes here."""
        ctypes.memmove(self.pointer, other.pointer, min(self.nbytes, other.nbytes))

    @classmethod
    def from_array(cls, array: np.ndarray[Any, Any]) -> Buffer:
        """Borrow a C-contiguous array's memory, without a copy."""
        made = cls(array.ctypes.data, array.nbytes, array)
        made.shared = True
        made.lent = 1
        return made


class View:
    """Lends a buffer's memory to NumPy by the array interface."""

    __slots__ = ("__array_interface__", "buffer")

    def __init__(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.buffer = buffer
        self.__array_interface__ = {
            "data": (buffer.pointer, False), "shape": shape, "typestr": dtype.str, "version": 3,
        }  # fmt: skip


class Loan(View):
    """A view whose end is noticed: slices of the array, and their slices, keep it alive."""

    __slots__ = ()

    def __init__(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        super().__init__(buffer, dtype, shape)
        buffer.lent += 1
        buffer.version += 1
        buffer.shared = True

    def __del__(self) -> None:
        self.buffer.lent -= 1
        if not self.buffer.lent:
            self.buffer.shared = False


def capacity_of(nbytes: int) -> int:
    """Round a size up so that near sizes share memory: to 64 bytes, or to an eighth of a power."""
    if nbytes <= 4096:
        return max(ALIGN, -(-nbytes // ALIGN) * ALIGN)
    step = 1 << max(nbytes.bit_length() - 4, 6)
    return -(-nbytes // step) * step


def _fresh(nbytes: int) -> np.ndarray[Any, Any]:
    """Return memory of the system's; what is kept for reuse goes back to it where it has no more.

    Raises:
        MemoryError: there is not that much.
    """
    try:
        return np.empty(nbytes, np.uint8)
    except MemoryError:
        release_cached()
        return np.empty(nbytes, np.uint8)
    except (ValueError, OverflowError) as error:  # more than NumPy can count
        raise MemoryError(str(error)) from None


def allocate(nbytes: int) -> Buffer:
    """Return uninitialised memory, aligned to 64 bytes, or to a large page if it fills one."""
    capacity = capacity_of(nbytes)
    try:
        pointer, owner = free[capacity].pop()
        counted[CACHED] -= capacity
    except IndexError:
        align = PAGE if capacity >= PAGE else ALIGN
        owner = _fresh(capacity + align)
        pointer = -(-owner.ctypes.data // align) * align
    counted[LIVE] += capacity
    return Buffer(pointer, nbytes, owner, capacity)


def copy_of(array: np.ndarray[Any, Any]) -> Buffer:
    """Return a buffer with a copy of an array's elements in row-major order."""
    flat = np.ascontiguousarray(array)
    made = allocate(flat.nbytes)
    if flat.nbytes:
        ctypes.memmove(made.pointer, flat.ctypes.data, flat.nbytes)
    return made


def memory_allocated() -> int:
    """Return the bytes of all buffers in use."""
    return int(counted[LIVE])


def memory_reserved() -> int:
    """Return the bytes in use and kept for reuse."""
    return int(counted[LIVE] + counted[CACHED])


def release_cached() -> None:
    """Give memory kept for reuse back to the system."""
    for capacity, kept in list(free.items()):
        while kept:
            with contextlib.suppress(IndexError):  # another thread was faster
                kept.pop()
                counted[CACHED] -= capacity
