"""Convolutions of bytes: exact on every machine, however windows are cut into tiles."""

from math import prod

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler import compile
from tenor.compiler.emit.processor import WANTED
from tenor.compiler.lower.contraction import TEMPLATES, prepared_elements
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.infer import conv_output
from tenor.ir.kernel import Buffer, Kernel
from tenor.ir.target import Target
from tenor.runtime import cpu
from tests.jit import run_kernel
from tests.unit.compiler.lower.test_byte_product import HAS, NEVER, TARGETS

# x, w, stride, padding, dilation, groups
CASES = (
    ((2, 3, 10), (4, 3, 3), (1,), ((0, 0),), (1,), 1),
    ((1, 4, 12), (6, 2, 3), (2,), ((1, 2),), (2,), 2),
    ((1, 5, 40), (3, 5, 1), (1,), ((0, 0),), (1,), 1),
    ((2, 3, 8, 9), (5, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 1, 7, 7), (1, 1, 1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 8, 9, 6), (8, 1, 3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), 8),
    ((1, 2, 4, 5, 4), (3, 2, 2, 2, 2), (1, 2, 1), ((0, 1), (1, 0), (0, 0)), (1, 1, 2), 1),
    ((2, 17, 13, 11), (21, 17, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 64, 3, 3), (70, 64, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 6, 5, 5), (12, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 6),
    ((1, 1, 49, 10), (9, 1, 10, 4), (2, 2), ((5, 5), (1, 1)), (1, 1), 1),
    ((1, 35, 9, 20), (35, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 35),
    ((1, 6, 30, 9), (6, 1, 5, 9), (3, 3), ((2, 2), (10, 10)), (2, 3), 6),
    ((1, 9, 50, 40), (11, 9, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 3, 20, 20), (8, 3, 7, 7), (5, 5), ((3, 3), (3, 3)), (1, 1), 1),
    ((1, 4, 3, 3), (2, 4, 2, 2), (1, 1), ((4, 0), (0, 5)), (1, 1), 1),
    ((1, 2, 20, 40), (4, 1, 3, 3), (5, 5), ((2, 0), (0, 0)), (1, 3), 2),
    ((1, 4, 6, 4, 4), (3, 4, 3, 3, 2), (1, 1, 1), ((1, 3), (0, 3), (0, 1)), (1, 3, 2), 1),
    ((0, 4, 3, 3), (2, 4, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
)  # fmt: skip


def exact(x, w, stride, padding, dilation, groups, fill):
    """Return the sums in 64 bits."""
    around = np.pad(x.astype(np.int64), ((0, 0), (0, 0), *padding), constant_values=fill)
    out = conv_output(x.shape[2:], w.shape[2:], (stride, padding, dilation))
    around = around.reshape(len(x), groups, w.shape[1], *around.shape[2:])
    weight = w.astype(np.int64).reshape(groups, -1, *w.shape[1:])
    total = np.zeros((len(x), groups, weight.shape[1], *out), np.int64)
    for tap in np.ndindex(*w.shape[2:]):
        every = zip(tap, out, stride, dilation, strict=True)
        met = (..., *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in every))
        total += np.einsum("ngc...,goc->ngo...", around[met], weight[(..., *tap)])
    return total.reshape(len(x), len(w), *out)


def kernel_of(x, w, y, attrs, fill):
    stride, padding, dilation, groups = attrs
    params = {
        "n": x.shape[0], "groups": groups, "channels_in": x.shape[1], "channels_out": w.shape[0],
        "spatial_in": x.shape[2:], "kernel": w.shape[2:], "spatial_out": y.shape[2:],
        "stride": stride, "padding": padding, "dilation": dilation, "fill": fill,
    }  # fmt: skip
    buffers = [Buffer(dt.int8, x.size), Buffer(dt.int8, w.size), Buffer(dt.int32, y.size, True)]
    return Kernel("conv_int8", y.shape, buffers, params=params)


def prepared(kernel, w, target):
    """Return the kernel that reads a prepared weight, and that weight."""
    count = prepared_elements(kernel, target)
    made, form = np.zeros(count, np.int8), Buffer(dt.int8, count)
    source, params = kernel.buffers[1], kernel.params | {"of": "conv_int8"}
    maker = Kernel("prepare", (count,), [source, Buffer(dt.int8, count, True)], params=params)
    run_kernel(TEMPLATES["prepare"](maker, target), [w, made], target=target)
    buffers = [kernel.buffers[0], form, kernel.buffers[2]]
    ready = kernel.params | {"prepared": True}
    return Kernel("conv_int8", kernel.domain, buffers, params=ready), made


def drawn(shape, seed):
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def target_of(name):
    target, needs = TARGETS[name]
    if needs and needs not in HAS:
        pytest.skip(f"this machine has no {needs[1:]}")
    return target


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_convolution_is_exact_on_every_machine(name, number):
    target = target_of(name)
    x_shape, w_shape, *attrs = CASES[number]
    x, w = drawn(x_shape, 1), drawn(w_shape, 2)
    want = exact(x, w, *attrs, -7)
    y = np.full(want.shape, 7, np.int32)
    kernel = kernel_of(x, w, y, attrs, -7)
    if number % 2 and y.size:
        kernel, w = prepared(kernel, w, target)
    low = TEMPLATES["conv_int8"](kernel, target)
    run_kernel(low, [x, w, y], target=target)
    np.testing.assert_array_equal(y, want)


@pytest.mark.skipif("+avx2" not in HAS, reason="this machine has no avx2")
@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_convolution_is_exact_where_no_choice_is_met(number, monkeypatch):
    for name in WANTED:
        monkeypatch.setitem(WANTED, name, NEVER)
    target = target_of("what is met")
    x_shape, w_shape, *attrs = CASES[number]
    x, w = drawn(x_shape, 1), drawn(w_shape, 2)
    want = exact(x, w, *attrs, -7)
    y = np.full(want.shape, 7, np.int32)
    run_kernel(
        TEMPLATES["conv_int8"](kernel_of(x, w, y, attrs, -7), target), [x, w, y], target=target
    )
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_saturates(name):
    target = target_of(name)
    attrs = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    for byte in (-128, 127):
        x, w = np.full((1, 50, 6, 6), -128, np.int8), np.full((3, 50, 3, 3), byte, np.int8)
        y = np.zeros((1, 3, 6, 6), np.int32)
        run_kernel(
            TEMPLATES["conv_int8"](kernel_of(x, w, y, attrs, -128), target), [x, w, y],
            target=target,
        )  # fmt: skip
        assert (y == 450 * -128 * byte).all()


def test_tiles_may_be_done_in_any_order():
    x, w = drawn((2, 64, 56, 56), 1), drawn((64, 64, 3, 3), 2)
    attrs = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    want = exact(x, w, *attrs, 3)
    y = np.zeros(want.shape, np.int32)
    low = TEMPLATES["conv_int8"](kernel_of(x, w, y, attrs, 3), cpu.host_target())
    assert low.tiles > 2
    for tile in reversed(range(low.tiles)):
        run_kernel(low, [x, w, y], tile, tile + 1, target=cpu.host_target())
    np.testing.assert_array_equal(y, want)


def test_nothing_beyond_the_image_is_read():
    """The last bytes of the image are the last of a page that another, unreadable one follows."""
    mmap = pytest.importorskip("mmap")
    ctypes = pytest.importorskip("ctypes")
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mprotect"):
        pytest.skip("no mprotect here")
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 3 * page)
    base = np.frombuffer(area, np.uint8).ctypes.data
    for at in (0, 2 * page):
        assert not libc.mprotect(ctypes.c_void_p(base + at), ctypes.c_size_t(page), 0)
    for case in CASES[:-1]:
        x_shape, w_shape, *attrs = case
        count = prod(x_shape)
        if count > page:
            continue
        w = drawn(w_shape, 2)
        for start in (page, 2 * page - count):
            x = np.frombuffer(area, np.int8, count, start).reshape(x_shape)
            x[...] = drawn(x_shape, 1)
            want = exact(x, w, *attrs, 0)
            y = np.zeros(want.shape, np.int32)
            low = TEMPLATES["conv_int8"](kernel_of(x, w, y, attrs, 0), cpu.host_target())
            run_kernel(low, [x, w, y], target=cpu.host_target())
            np.testing.assert_array_equal(y, want)


def requantised(x, w, *attrs):
    """Return the graph of a convolution, a bias, and bytes again."""
    b = GraphBuilder()
    image, weight = b.leaf(x, dt.int8), b.leaf(w, dt.int8)
    y = b.emit(ops.CONV_INT8, (image, weight), (*attrs, 4))
    bias = b.leaf((1, w[0], *(1,) * (len(x) - 2)), dt.int32)
    real = b.cast(b.add(y, b.expand(bias, y.shape)), dt.float32)
    return b.graph(b.emit(ops.QUANTIZE, (b.mul(real, b.full(y.shape, 1e-3, dt.float32)),),
                          (-5, -5, 127)))  # fmt: skip


def test_sums_that_become_bytes_never_reach_memory():
    graph = requantised(*CASES[3])
    program = compile(graph, cpu.host_target())
    assert [launch.label for launch in program.launches] == ["prepare", "conv_int8+quantize"]
    assert program.arena == 0


CROSS = {
    "sdot": (Target("aarch64-unknown-linux-gnu", "generic", "+neon,+dotprod", 128, 32), "sdot"),
    "neon": (Target("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32), "smlal"),
    "wasm": (
        Target("wasm32-unknown-unknown", "generic", "+simd128", 128, 16, False),
        "i32x4.dot_i16x8_s",
    ),
    "relaxed wasm": (
        Target("wasm32-unknown-unknown", "generic", "+simd128,+relaxed-simd", 128, 16),
        "i32x4.dot_i16x8_s",
    ),
    "Cortex-M4": (
        Target("thumbv7em-unknown-none-eabihf", "cortex-m4", "+vfp4d16sp", 32, 12, True), "smlad"
    ),
    "RISC-V": (Target("riscv32-unknown-none-elf", "generic-rv32", "+m", 32, 24, False), "mul"),
    "AVX2": (Target("x86_64-unknown-linux-gnu", "haswell", "", 256, 16), "vpmaddwd"),
    "VNNI": (
        Target("x86_64-unknown-linux-gnu", "cascadelake", "", 512, 32, True, True), "vpdpbusd"
    ),
}  # fmt: skip
"""A target, and the instruction its innermost loop is made of."""


@pytest.mark.parametrize("name", CROSS)
def test_each_machine_uses_what_it_has(name):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target, instruction = CROSS[name]
    for case in (CASES[3], CASES[5]):
        program = compile(requantised(*case), target)
        text = machine_code(program.texts[-1], target)
        assert instruction in text
        assert "relaxed_dot" not in text, "its second operand has seven bits"
        assert "roundeven" not in text, "no function is called to round"


def machine_code(text, target):
    module = llvm.parse_assembly(text)
    module.triple = target.triple
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2
    )
    return machine.emit_assembly(module)


@pytest.mark.parametrize("name", CROSS)
def test_products_use_it_too(name):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target, instruction = CROSS[name]
    b = GraphBuilder()
    graph = b.graph(b.emit(ops.MATMUL_INT8, (b.leaf((2, 96), dt.int8), b.leaf((9, 96), dt.int8))))
    text = machine_code(compile(graph, target).texts[-1], target)
    assert instruction in text
    assert "relaxed_dot" not in text
