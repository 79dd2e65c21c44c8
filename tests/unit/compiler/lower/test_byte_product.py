"""Products of bytes: exact on every x86, in any tiles."""

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler.emit.llvm import emit
from tenor.compiler.emit.processor import WANTED
from tenor.compiler.lower.contraction import TEMPLATES
from tenor.ir import dtype as dt
from tenor.ir.kernel import Buffer, Kernel
from tenor.ir.target import BESIDE_AVX2, Target
from tenor.runtime import cpu
from tests.jit import run_kernel

HAS = set(llvm.get_host_cpu_features().flatten().split(","))
TRIPLE = llvm.get_process_triple()
TARGETS = {
    "this machine": (cpu.host_target(), ""),
    "VNNI of AVX-512": (
        Target(TRIPLE, "cascadelake", "", 512, 32, True, byte_dots=True), "+avx512vnni"
    ),
    "AVX-512": (Target(TRIPLE, "skylake-avx512", "", 512, 32), "+avx512bw"),
    "VNNI of AVX": (Target(TRIPLE, "alderlake", "", 256, 16, True, byte_dots=True), "+avxvnni"),
    "AVX2": (Target(TRIPLE, "haswell", "", 256, 16), "+avx2"),
    "what is met": (Target(TRIPLE, "haswell", "", 256, 16, choices=BESIDE_AVX2), "+avx2"),
    "VNNI of AVX where it is met": (
        Target(TRIPLE, "haswell", "", 256, 16, choices=BESIDE_AVX2[2:]), "+avx2"
    ),
    "SSE2": (Target(TRIPLE, "x86-64", "", 128, 16), "+sse2"),
    "no vectors": (Target(TRIPLE, "x86-64", "", 32, 16), "+sse2"),
    "eight registers": (Target(TRIPLE, "x86-64", "", 128, 8), "+sse2"),
}  # fmt: skip
"""Machine code of a kind, and the feature it needs."""
NEVER = (0, 0, 0, 1 << 31)
"""What is wanted of a processor, in vain: registers that no system saves."""
SHAPES = ((1, 1, 1), (3, 7, 5), (1, 64, 9), (2, 130, 66), (6, 200, 4), (7, 63, 8), (13, 100, 33),
          (19, 784, 10), (3, 0, 4), (0, 3, 4), (3, 4, 0))  # fmt: skip


def lowered(a, b, out, target):
    (m, k), n = a.shape, b.shape[0]
    first = dt.int8 if a.dtype == np.int8 else dt.uint8
    held = ((first, a), (dt.int8, b), (dt.int32, out))
    buffers = [Buffer(dtype, x.size) for dtype, x in held]
    kernel = Kernel("matmul_int8", out.shape, buffers, params={"m": m, "n": n, "k": k})
    return TEMPLATES["matmul_int8"](kernel, target)


def drawn(m, k, n, dtype=np.uint8):
    rng = np.random.default_rng(m + k + n)
    a, b = rng.integers(0, 256, (m, k)), rng.integers(-128, 128, (n, k))
    return a.astype(dtype), b.astype(np.int8), np.full((m, n), 7, np.int32)


def exact(a, b):
    return (a.astype(np.int64) @ b.astype(np.int64).T).astype(np.int32)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_product_is_exact_on_every_machine(name, shape, dtype):
    target, needs = TARGETS[name]
    if needs and needs not in HAS:
        pytest.skip(f"this machine has no {needs[1:]}")
    a, b, out = drawn(*shape, dtype)
    run_kernel(lowered(a, b, out, target), [a, b, out], target=target)
    np.testing.assert_array_equal(out, exact(a, b))


@pytest.mark.skipif("+avx2" not in HAS, reason="this machine has no avx2")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_product_is_exact_where_no_choice_is_met(shape, dtype, monkeypatch):
    for name in WANTED:
        monkeypatch.setitem(WANTED, name, NEVER)
    target = TARGETS["what is met"][0]
    a, b, out = drawn(*shape, dtype)
    run_kernel(lowered(a, b, out, target), [a, b, out], target=target)
    np.testing.assert_array_equal(out, exact(a, b))


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_saturates(name):
    target, needs = TARGETS[name]
    if needs and needs not in HAS:
        pytest.skip(f"this machine has no {needs[1:]}")
    for byte in (-128, 127):
        for first, dtype in ((255, np.uint8), (-128, np.int8)):
            a, b = np.full((2, 300), first, dtype), np.full((5, 300), byte, np.int8)
            out = np.zeros((2, 5), np.int32)
            run_kernel(lowered(a, b, out, target), [a, b, out], target=target)
            assert (out == 300 * first * byte).all()


def test_sums_beyond_32_bits_wrap():
    a, b = np.full((1, 70_000), 255, np.uint8), np.full((1, 70_000), -128, np.int8)
    out = np.zeros((1, 1), np.int32)
    run_kernel(lowered(a, b, out, cpu.host_target()), [a, b, out], target=cpu.host_target())
    assert out.item() == 2**32 - 70_000 * 255 * 128


def test_tiles_may_be_done_in_any_order():
    a, b, out = drawn(130, 1000, 1030)
    kernel = lowered(a, b, out, cpu.host_target())
    assert kernel.tiles > 2
    for tile in reversed(range(kernel.tiles)):
        run_kernel(kernel, [a, b, out], tile, tile + 1, target=cpu.host_target())
    np.testing.assert_array_equal(out, exact(a, b))


def test_each_machine_uses_what_it_has():
    def code(name):
        a, b, out = drawn(4, 256, 4)
        target = TARGETS[name][0]
        text = emit(lowered(a, b, out, target).function, "kernel", target)
        machine = llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu, features=target.features, opt=2
        )
        return machine.emit_assembly(llvm.parse_assembly(text))

    assert "vpdpbusd" in code("VNNI of AVX-512")
    assert "vpdpbusd" in code("VNNI of AVX")
    for name in ("AVX-512", "AVX2", "SSE2"):
        assert "pmaddwd" in code(name)
        assert "pmaddubsw" not in code(name), "it saturates"
