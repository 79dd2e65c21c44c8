"""Runs one lowered kernel on NumPy arrays: what lowering tests are written with."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import numpy as np

from tenor.compiler.emit.llvm import emit
from tenor.ir.target import Target

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_KEEP = []


def host() -> Target:
    features = llvm.get_host_cpu_features()
    cpu, flat = llvm.get_host_cpu_name(), features.flatten()
    wide = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    return Target(llvm.get_process_triple(), cpu, flat, wide, 32 if wide == 512 else 16)


def compile_function(function, target=None):
    target = target or host()
    text = emit(function, "kernel", target)
    module = llvm.parse_assembly(text)
    module.verify()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=2,
        reloc="pic",
        codemodel="jitdefault",
        jit=True,
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _KEEP.append(engine)
    return engine.get_function_address("kernel")


def run_kernel(lowered, arrays, begin=0, end=None, target=None, starts=None):
    """Run tiles [begin, end) of a kernel on arrays (written in place); return the status pair.

    `starts` are the bytes that each pointer is from the beginning of its array.
    """
    address = compile_function(lowered.function, target)
    call = ctypes.CFUNCTYPE(
        None,
        *[ctypes.c_void_p] * 1,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )(address)
    pointers = (ctypes.c_void_p * len(arrays))(
        *[a.ctypes.data + at for a, at in zip(arrays, starts or [0] * len(arrays), strict=True)]
    )
    scratch = np.zeros(lowered.scratch + 128, np.uint8)
    at = scratch.ctypes.data + (-scratch.ctypes.data) % 64
    status = np.zeros(2, np.int64)
    last = lowered.tiles if end is None else end
    call(ctypes.addressof(pointers), begin, last, at, status.ctypes.data)
    return int(status[0]), int(status[1])
