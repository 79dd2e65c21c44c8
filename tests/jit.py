"""Runs one lowered kernel on NumPy arrays: what lowering tests are written with."""

from __future__ import annotations

import ctypes
import functools
import weakref

import llvmlite.binding as llvm
import numpy as np

from tenor.compiler.emit.llvm import emit
from tenor.ir.target import Target
from tenor.runtime import cpu

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_LIBRARIES = weakref.WeakKeyDictionary()


@functools.cache
def host() -> Target:
    features = llvm.get_host_cpu_features()
    name, flat = llvm.get_host_cpu_name(), features.flatten()
    wide = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    return Target(llvm.get_process_triple(), name, flat, wide, 32 if wide == 512 else 16)


def linked(function, target):
    """Return a library with a function as `kernel`, kept loaded for as long as the function is."""
    made = _LIBRARIES.setdefault(function, {})
    if target not in made:
        text = emit(function, "kernel", target)
        with llvm.parse_assembly(text) as module:
            module.verify()
        with cpu.lock:
            made[target] = cpu.Library({"kernel": cpu.object_code(text, target)})
    return made[target]


def run_kernel(lowered, arrays, begin=0, end=None, target=None, starts=None):
    """Run tiles [begin, end) of a kernel on arrays (written in place); return the status pair.

    `starts` are the bytes that each pointer is from the beginning of its array.
    """
    library = linked(lowered.function, target or host())
    call = ctypes.CFUNCTYPE(
        None,
        *[ctypes.c_void_p] * 1,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )(library.addresses["kernel"])
    pointers = (ctypes.c_void_p * len(arrays))(
        *[a.ctypes.data + at for a, at in zip(arrays, starts or [0] * len(arrays), strict=True)]
    )
    scratch = np.zeros(lowered.scratch + 128, np.uint8)
    at = scratch.ctypes.data + (-scratch.ctypes.data) % 64
    status = np.zeros(2, np.int64)
    last = lowered.tiles if end is None else end
    call(ctypes.addressof(pointers), begin, last, at, status.ctypes.data)
    return int(status[0]), int(status[1])
