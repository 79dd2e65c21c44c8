"""What this machine can do at most: multiply-adds a second, and bytes a second from memory."""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm
import numpy as np

__all__ = ["Peaks", "measure"]

WIDTH, LANES = 24, 16
COUNT = 1 << 25
"""Floats of an array that no cache holds: 128 MB."""


@dataclass(frozen=True)
class Peaks:
    """Flops and bytes a second.

    Attributes:
        flops: Of float32 multiply-adds between registers.
        read: Of a sum over an array.
        moved: Of z = x + y, three arrays, written past the caches.
    """

    flops: float
    read: float
    moved: float


def _fma() -> str:
    names = range(WIDTH)
    vector = f"<{LANES} x float>"
    phis = "\n".join(f"  %c{i} = phi {vector} [%s, %entry], [%d{i}, %loop]" for i in names)
    steps = "\n".join(
        f"  %d{i} = call {vector} @llvm.fma.v{LANES}f32({vector} %s, {vector} %s, {vector} %c{i})"
        for i in names
    )
    sums = "\n".join(
        f"  %t{i} = fadd {vector} {'%s' if not i else f'%t{i - 1}'}, %d{i}" for i in names
    )
    return f"""
declare {vector} @llvm.fma.v{LANES}f32({vector}, {vector}, {vector})
define void @fma(ptr %x, i64 %n) {{
entry:
  %s = load {vector}, ptr %x
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%j, %loop]
{phis}
{steps}
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %end
end:
{sums}
  store {vector} %t{WIDTH - 1}, ptr %x
  ret void
}}
"""


def _stream(name: str, *, write: bool) -> str:
    vector = f"<{LANES} x float>"
    parts = range(4)
    phis = (
        ""
        if write
        else "\n".join(
            f"  %c{i} = phi {vector} [zeroinitializer, %entry], [%d{i}, %loop]" for i in parts
        )
    )
    body = []
    for i in parts:
        body.append(f"  %k{i} = add i64 %i, {LANES * i}")
        body.append(f"  %p{i} = getelementptr float, ptr %x, i64 %k{i}")
        body.append(f"  %v{i} = load {vector}, ptr %p{i}, align 64")
        if write:
            body.append(f"  %q{i} = getelementptr float, ptr %y, i64 %k{i}")
            body.append(f"  %w{i} = load {vector}, ptr %q{i}, align 64")
            body.append(f"  %r{i} = getelementptr float, ptr %z, i64 %k{i}")
            body.append(f"  %d{i} = fadd {vector} %v{i}, %w{i}")
            body.append(f"  store {vector} %d{i}, ptr %r{i}, align 64, !nontemporal !0")
        else:
            body.append(f"  %d{i} = fadd {vector} %v{i}, %c{i}")
    last = (
        ""
        if write
        else (
            f"  %a = fadd {vector} %d0, %d1\n  %b = fadd {vector} %d2, %d3\n"
            f"  %e = fadd {vector} %a, %b\n  store {vector} %e, ptr %z"
        )
    )
    return f"""
define void @{name}(ptr %x, ptr %y, ptr %z, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%j, %loop]
{phis}
{chr(10).join(body)}
  %j = add i64 %i, {LANES * len(parts)}
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %end
end:
{last}
  ret void
}}
"""


@cache
def _engine() -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = _fma() + _stream("read", write=False) + _stream("add", write=True) + "\n!0 = !{i32 1}\n"
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    return engine


def _aligned(count: int) -> np.ndarray:
    raw = np.ones(count + 16, np.float32)
    return raw[(-raw.ctypes.data % 64) // 4 :][:count]


def _best(threads: int, works: list, repeats: int = 7) -> float:
    """Return the least seconds in which every thread does its work, all at once."""
    least = float("inf")
    for _ in range(repeats):
        running = [threading.Thread(target=w) for w in works[:threads]]
        start = time.perf_counter()
        for t in running:
            t.start()
        for t in running:
            t.join()
        least = min(least, time.perf_counter() - start)
    return least


def measure(threads: int) -> Peaks:
    """Return the peaks of so many threads."""
    engine = _engine()
    fma = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address("fma")
    )
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
    read, add = (kind(engine.get_function_address(n)) for n in ("read", "add"))
    small = [_aligned(LANES) for _ in range(threads)]
    spins = 5_000_000
    seconds = _best(threads, [lambda x=x: fma(x.ctypes.data, spins) for x in small])
    flops = 2 * WIDTH * LANES * spins * threads / seconds
    share = COUNT // threads
    parts = [[_aligned(share) for _ in range(3)] for _ in range(threads)]
    end = [_aligned(LANES) for _ in range(threads)]
    reading = _best(
        threads,
        [
            lambda p=p, e=e: read(p[0].ctypes.data, 0, e.ctypes.data, share)
            for p, e in zip(parts, end, strict=True)
        ],
    )
    adding = _best(threads, [lambda p=p: add(*(a.ctypes.data for a in p), share) for p in parts])
    return Peaks(flops, 4 * share * threads / reading, 12 * share * threads / adding)
