"""Convolution and its gradients against plain NumPy sums in float64."""

import copy
import math
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler.emit.llvm import emit
from tenor.compiler.emit.processor import ASKED, WANTED
from tenor.compiler.lower import convolution, weight_gradient
from tenor.compiler.lower.channel_vectors import ChannelVectors
from tenor.compiler.lower.contraction import TEMPLATES
from tenor.compiler.lower.depthwise_lanes import DepthwiseLanes
from tenor.compiler.lower.window_vectors import WindowVectors
from tenor.config import config
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.kernel import Buffer, Kernel
from tenor.ir.target import BESIDE_AVX2, Target
from tests.jit import host, run_kernel

TOLERANCE = {dt.float32: 2e-6, dt.float64: 1e-14, dt.float16: 2e-3, dt.bfloat16: 1e-2}


def some(dtype, shape, seed=0):
    """Return small random values of a dtype, as it is held in memory."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "float":
        return narrow(rng.normal(size=shape), dtype)
    low, high = {"bool": (0, 2), "int": (-90, 90), "uint": (0, 200)}[dtype.kind]
    return rng.integers(low, high, shape).astype(dtype.numpy)


def narrow(values, dtype):
    """Return values as a dtype is held in memory."""
    return to_bfloat16(values) if dtype is dt.bfloat16 else np.asarray(values).astype(dtype.numpy)


def wide(array, dtype):
    """Return what is held in memory as float64, or as it is."""
    if dtype is dt.bfloat16:
        return from_bfloat16(array).astype(np.float64)
    return array.astype(np.float64) if dtype.kind == "float" else array


class Case:
    """A convolution's shapes, and its three sums over them."""

    def __init__(self, n, channels, spatial, kernel, stride=1, padding=0, dilation=1, groups=1):
        rank = len(spatial)
        every = [v if isinstance(v, tuple) else (v,) * rank for v in (stride, padding, dilation)]
        self.stride, padding, self.dilation = every
        self.padding = tuple(p if isinstance(p, tuple) else (p, p) for p in padding)
        self.n, self.groups, self.spatial, self.kernel = n, groups, spatial, kernel
        self.ci, self.co = channels
        self.out = tuple(
            (size + low + high - d * (k - 1) - 1) // s + 1
            for size, k, s, (low, high), d in zip(
                spatial, kernel, self.stride, self.padding, self.dilation, strict=True)
        )  # fmt: skip
        self.shapes = {
            "x": (n, self.ci, *spatial), "w": (self.co, self.ci // groups, *kernel),
            "y": (n, self.co, *self.out),
        }  # fmt: skip

    def params(self):
        return {
            "n": self.n, "groups": self.groups, "channels_in": self.ci, "channels_out": self.co,
            "spatial_in": self.spatial, "kernel": self.kernel, "spatial_out": self.out,
            "stride": self.stride, "padding": self.padding, "dilation": self.dilation,
        }  # fmt: skip

    def place(self):
        """Yield each tap and the places of the padded input it meets."""
        for tap in np.ndindex(*self.kernel):
            rows = zip(tap, self.out, self.stride, self.dilation, strict=True)
            yield tap, tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, o, s, d in rows)

    def padded(self, x):
        around = np.pad(x, ((0, 0), (0, 0), *self.padding))
        return around.reshape(self.n, self.groups, self.ci // self.groups, *around.shape[2:])

    def parted(self, y):
        return y.reshape(self.n, self.groups, self.co // self.groups, *self.out)

    def weight(self, w):
        return w.reshape(self.groups, -1, *w.shape[1:])

    def conv(self, x, w):
        around, weight = self.padded(x), self.weight(w)
        out = np.zeros(self.parted(np.empty(self.shapes["y"])).shape, x.dtype)
        for tap, met in self.place():
            out += np.einsum("ngc...,goc->ngo...", around[(..., *met)], weight[(..., *tap)])
        return out.reshape(self.shapes["y"])

    def conv_input(self, g, w):
        around = self.padded(np.zeros(self.shapes["x"], g.dtype))
        for tap, met in self.place():
            part = np.einsum("ngo...,goc->ngc...", self.parted(g), self.weight(w)[(..., *tap)])
            around[(..., *met)] += part
        rows = zip(self.padding, self.spatial, strict=True)
        inner = tuple(slice(low, low + size) for (low, _), size in rows)
        return around[(..., *inner)].reshape(self.shapes["x"])

    def conv_weight(self, x, g):
        around, cotangent = self.padded(x), self.parted(g)
        out = np.zeros(self.weight(np.empty(self.shapes["w"])).shape, x.dtype)
        cotangent = cotangent.reshape(*cotangent.shape[:3], math.prod(self.out))
        for tap, met in self.place():
            part = around[(..., *met)].reshape(*around.shape[:3], math.prod(self.out))
            out[(..., *tap)] = np.einsum("ngcs,ngos->goc", part, cotangent)
        return out.reshape(self.shapes["w"])


ROLES = {"conv": "xwy", "conv_input": "ywx", "conv_weight": "xyw"}
KINDS = pytest.mark.parametrize("kind", list(ROLES))
CASES = {
    "plain": Case(2, (3, 5), (7, 9), (3, 3)),
    "padded": Case(2, (4, 7), (9, 11), (3, 3), padding=1),
    "one by one": Case(3, (8, 6), (5, 6), (1, 1)),
    "strided": Case(2, (3, 4), (11, 13), (3, 2), stride=(2, 3), padding=((1, 0), (2, 1))),
    "dilated": Case(1, (2, 3), (12, 14), (3, 3), dilation=(2, 3), padding=2),
    "grouped": Case(2, (6, 9), (8, 8), (3, 3), padding=1, groups=3),
    "depthwise": Case(2, (5, 5), (10, 9), (3, 3), padding=1, groups=5),
    "line": Case(2, (3, 4), (37,), (5,), stride=2, padding=2),
    "solid": Case(1, (2, 3), (4, 5, 6), (2, 3, 2), padding=1),
    "one pixel": Case(2, (4, 3), (3, 3), (3, 3)),
    "wide padding": Case(1, (1, 2), (3, 3), (2, 2), padding=4, stride=2),
    "no image": Case(0, (2, 3), (5, 5), (3, 3)),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def prepared(kind, case, arrays, dtype, target=None):
    """Return the kernel's lowering and its arrays."""
    last = ROLES[kind][2]
    out = np.full(case.shapes[last], 7, dtype.numpy)
    arrays = [*arrays, out]
    buffers = [Buffer(dtype, x.size) for x in arrays]
    kernel = Kernel(kind, out.shape, buffers, params=case.params())
    return TEMPLATES[kind](kernel, target or host()), arrays


def operands(kind, case, dtype):
    return [some(dtype, case.shapes[r], s) for s, r in enumerate(ROLES[kind][:2])]


def check(kind, case, dtype):
    """Compare with NumPy: exact for integers and bool, by the size of the sums for floats."""
    lowered, arrays = prepared(kind, case, operands(kind, case, dtype), dtype)
    run_kernel(lowered, arrays)
    inputs, got = [wide(x, dtype) for x in arrays[:2]], wide(arrays[2], dtype)
    if dtype.kind == "bool":
        counts = getattr(case, kind)(*(x.astype(np.int64) for x in inputs))
        np.testing.assert_array_equal(got, counts > 0)
        return
    expected = getattr(case, kind)(*inputs)
    if dtype.kind != "float":
        np.testing.assert_array_equal(got, expected)
        return
    bound = getattr(case, kind)(*map(np.abs, inputs))
    assert np.all(np.abs(got - expected) <= TOLERANCE[dtype] * (bound + 1e-3))


@KINDS
@EVERY
def test_a_convolution_is_the_plain_sum(kind, case):
    check(kind, case, dt.float32)


@KINDS
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_a_convolution_is_the_plain_sum_in_every_dtype(kind, dtype):
    for name in ("padded", "strided", "grouped"):
        check(kind, CASES[name], dtype)


def result(kind, case, arrays, dtype, target=None):
    """Return what our kernel computes."""
    lowered, arrays = prepared(kind, case, arrays, dtype, target)
    run_kernel(lowered, arrays, target=target)
    return arrays[-1]


LARGE = {
    "rows in several tiles": Case(2, (16, 20), (40, 44), (3, 3), padding=1),
    "strided rows in several tiles": Case(1, (24, 16), (61, 47), (3, 3), stride=2, padding=1),
    "packed columns": Case(5, (40, 72), (7, 7), (3, 3), padding=1),
    "several blocks of k": Case(2, (130, 16), (6, 5), (3, 3), padding=(1, 0)),
    "many places": Case(3, (3, 33), (30, 33), (5, 5), padding=2),
    "many taps": Case(1, (2, 18), (24, 23), (7, 7), stride=3, padding=3),
    "patches": Case(2, (3, 20), (24, 24), (8, 8), stride=8),
    "long line": Case(2, (6, 10), (3000,), (9,), stride=2, padding=4),
    "long taps of one channel": Case(3, (1, 32), (1600,), (80,), stride=4, padding=38),
    "long taps, strided and dilated": Case(
        2, (2, 20), (9, 300), (2, 24), stride=(1, 3), dilation=(1, 2), padding=(1, 5)
    ),
    "pointwise": Case(4, (33, 18), (9, 9), (1, 1)),
    "grouped pointwise": Case(3, (8, 12), (5, 7), (1, 1), groups=4),
    "pointwise, many places": Case(3, (70, 33), (31, 23), (1, 1)),
    "pointwise, many rows": Case(5, (40, 300), (9, 7), (1, 1)),
    "pointwise in groups": Case(20, (96, 34), (7, 5), (1, 1), groups=2),
    "whole image": Case(6, (4, 19), (5, 6), (5, 6)),
    "many channels": Case(3, (35, 50), (9, 14), (4, 3), padding=1),
    "many channels, strided": Case(2, (40, 70), (15, 17), (3, 2), stride=(2, 3), padding=1),
    "many channels, dilated": Case(1, (33, 48), (19, 20), (5, 5), dilation=2, stride=3),
    "many channels, pointwise": Case(5, (36, 65), (9, 7), (1, 1), stride=2),
    "far fewer windows than places": Case(2, (3, 40), (21, 18), (2, 2), stride=5),
    "many channels in groups": Case(2, (64, 96), (8, 8), (2, 3), padding=1, groups=2),
    "neighbouring taps": Case(2, (100, 70), (13, 18), (3, 3), padding=((2, 0), (1, 1))),
    "neighbouring taps in groups": Case(3, (64, 160), (7, 7), (3, 3), padding=1, groups=2),
    "small images together": Case(7, (130, 36), (7, 6), (3, 3), padding=1),
    "neighbouring taps in several rows": Case(2, (33, 70), (39, 25), (3, 3), padding=1),
    "depthwise": Case(5, (37, 37), (9, 11), (3, 3), padding=1, groups=37),
    "depthwise, strided": Case(2, (33, 66), (30, 41), (5, 3), stride=(2, 3), padding=2, groups=33),
    "depthwise, few places": Case(3, (32, 32), (7, 6), (3, 3), padding=1, groups=32),
    "depthwise, few places, strided": Case(
        2, (24, 24), (9, 12), (3, 2), stride=2, padding=((0, 1), (1, 2)), groups=24
    ),
    "depthwise, few places, dilated": Case(
        2, (20, 20), (11, 7), (3, 3), dilation=(1, 2), padding=2, groups=20
    ),
    "depthwise, least places": Case(4, (48, 48), (3, 3), (3, 3), padding=1, groups=48),
    "depthwise, last column unread": Case(2, (16, 16), (8, 8), (3, 3), stride=2, groups=16),
    "depthwise in a line": Case(3, (20, 20), (1300,), (40,), dilation=2, groups=20),
    "many channels in a line": Case(2, (20, 40), (90,), (20,), stride=2, padding=3),
}
BIG = pytest.mark.parametrize("case", LARGE.values(), ids=LARGE.keys())


@KINDS
@BIG
def test_a_large_convolution_is_the_plain_sum(kind, case):
    check(kind, case, dt.float32)


@KINDS
@BIG
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=lambda d: d.name)
def test_any_split_of_the_tiles_gives_the_same_bits(kind, case, dtype):
    lowered, arrays = prepared(kind, case, operands(kind, case, dtype), dtype)
    run_kernel(lowered, arrays)
    whole = arrays[-1].copy()
    arrays[-1][...] = 7
    cut = lowered.tiles // 3
    run_kernel(lowered, arrays, cut, lowered.tiles)
    run_kernel(lowered, arrays, 0, cut)
    np.testing.assert_array_equal(arrays[-1], whole)


NEIGHBOURS = {
    "few channels": Case(1, (32, 32), (9, 10), (3, 3), padding=1),
    "many channels": Case(1, (300, 40), (8, 8), (3, 3), padding=1),
    "large": Case(1, (128, 96), (30, 28), (3, 3), padding=1),
}


@KINDS
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("case", NEIGHBOURS.values(), ids=NEIGHBOURS.keys())
def test_winograds_errors_are_like_a_direct_sums(kind, positive, case, monkeypatch):
    arrays = operands(kind, case, dt.float32)
    if positive:
        arrays = [np.abs(x) for x in arrays]
    exact = getattr(case, kind)(*(x.astype(np.float64) for x in arrays))
    fast = result(kind, case, arrays, dt.float32)
    monkeypatch.setattr(convolution, "suits", lambda *_: False)
    monkeypatch.setattr(weight_gradient, "suits_weight", lambda *_: False)
    direct = result(kind, case, arrays, dt.float32)
    assert not np.array_equal(fast, direct), "both are direct"
    errors = [np.sqrt(np.mean((x - exact) ** 2)) for x in (fast, direct)]
    # A gradient over few places is a short sum either way: there the transforms show.
    assert errors[0] <= errors[1] * (1.25 if kind == "conv_weight" else 1)


@pytest.mark.parametrize("kind", ["conv", "conv_input"])
def test_an_infinity_reaches_the_windows_that_meet_it_and_no_other(kind):
    case = NEIGHBOURS["few channels"]
    x, w = operands(kind, case, dt.float32)
    before = result(kind, case, [x, w], dt.float32)
    x[0, 5, 4, 3] = np.inf
    after = result(kind, case, [x, w], dt.float32)
    met = np.zeros(case.out, bool)
    met[3:6, 2:5] = True
    assert not np.isfinite(after[..., met]).any()
    np.testing.assert_array_equal(after[..., ~met], before[..., ~met])


def test_winograd_takes_what_its_transforms_pay_for():
    """The shape of one image decides: never the batch, the threads or the machine."""
    direct = (
        Case(2, (64, 64), (8, 8), (3, 3), stride=2), Case(2, (64, 64), (8, 8), (3, 3), dilation=2),
        Case(2, (31, 64), (8, 8), (3, 3)), Case(2, (64, 31), (8, 8), (3, 3)),
        Case(2, (64, 64), (8, 8), (3, 2)), Case(2, (64, 64), (5, 5), (3, 3)),
        Case(2, (64, 64), (8, 8), (3, 3), groups=4), Case(2, (64, 64), (8, 8, 8), (3, 3, 3)),
    )  # fmt: skip
    for kind in ("conv", "conv_weight"):
        assert [calls(c, kind=kind) for c in direct] == [False] * len(direct)
    for target in (None, Target.x86_64_avx2(), Target.aarch64(), Target.wasm32()):
        for n in (1, 9):
            assert calls(Case(n, (32, 40), (7, 7), (3, 3), padding=1), target=target)
            assert calls(Case(n, (32, 40), (7, 7), (3, 3), padding=1), target=target,
                         kind="conv_weight")  # fmt: skip
    assert not calls(direct[0], dt.float64)
    assert not calls(Case(2, (64, 64), (8, 8), (3, 3)), dt.float64)


def test_winograd_may_be_switched_off(monkeypatch):
    case = Case(1, (32, 40), (7, 7), (3, 3), padding=1)
    assert all(calls(case, kind=kind) for kind in ROLES)
    monkeypatch.setattr(config, "winograd", False)
    assert not any(calls(case, kind=kind) for kind in ROLES)


def calls(case, dtype=dt.float32, target=None, kind="conv"):
    """Tell whether a convolution is done by Winograd's transforms."""
    lowered, _ = prepared(kind, case, operands(kind, case, dtype), dtype, target)
    return "forward" in lowered.function.callees


@pytest.mark.parametrize("kind", ["conv", "conv_input"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=lambda d: d.name)
def test_whatever_lies_in_vectors_the_bits_are_the_same(kind, dtype, monkeypatch):
    for name in ("packed columns", "many channels, strided", "many channels, pointwise",
                 "many channels in groups", "many channels in a line"):  # fmt: skip
        arrays = operands(kind, LARGE[name], dtype)
        found = []
        for writer in (ChannelVectors, WindowVectors):
            monkeypatch.setattr(convolution, "ChannelVectors", writer)
            monkeypatch.setattr(convolution, "WindowVectors", writer)
            found.append(result(kind, LARGE[name], arrays, dtype))
        np.testing.assert_array_equal(*found, err_msg=name)


SMALL = [name for name in LARGE if "few places" in name or "least places" in name]


@pytest.mark.parametrize("kind", ["conv", "conv_input"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16, dt.int32],
                         ids=lambda d: d.name)  # fmt: skip
def test_channels_beside_each_other_give_the_bits_of_each_alone(kind, dtype, monkeypatch):
    for name in SMALL:
        arrays = operands(kind, LARGE[name], dtype)
        beside = result(kind, LARGE[name], arrays, dtype)
        with monkeypatch.context() as patch:
            patch.setattr(convolution, "lanes_beside", lambda *_: 0)
            alone = result(kind, LARGE[name], arrays, dtype)
        np.testing.assert_array_equal(beside, alone, err_msg=name)


def test_small_images_have_their_channels_side_by_side(monkeypatch):
    written = []
    write = DepthwiseLanes.write
    monkeypatch.setattr(DepthwiseLanes, "write", lambda self: written.append(1) or write(self))
    for name in SMALL:
        result("conv", LARGE[name], operands("conv", LARGE[name], dt.float32), dt.float32)
    assert len(written) == len(SMALL)
    case = LARGE["depthwise"]  # 37 channels fill no vectors
    result("conv", case, operands("conv", case, dt.float32), dt.float32)
    assert len(written) == len(SMALL)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_groups_side_by_side_give_the_bits_of_each_alone(dtype, monkeypatch):
    for name in ("depthwise", "depthwise, strided", "depthwise in a line"):
        arrays = operands("conv_weight", LARGE[name], dtype)
        together = result("conv_weight", LARGE[name], arrays, dtype)
        monkeypatch.setattr(weight_gradient, "MANY", 0)
        np.testing.assert_array_equal(together, result("conv_weight", LARGE[name], arrays, dtype))
        monkeypatch.undo()


@pytest.mark.parametrize("kind", ["conv", "conv_input"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.float16], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["packed columns", "patches", "long line", "whole image",
                                  "pointwise", "several blocks of k", "many channels",
                                  "many channels, strided", "neighbouring taps"])  # fmt: skip
def test_an_image_has_the_same_bits_alone_and_in_any_batch(kind, dtype, name):
    case = LARGE[name]
    images, weight = operands(kind, case, dtype)
    whole = result(kind, case, [images, weight], dtype)
    for count in {1, case.n - 1}:
        part = copy.copy(case)
        part.n, part.shapes = count, {k: (count, *v[1:]) for k, v in case.shapes.items()}
        part.shapes["w"] = case.shapes["w"]
        alone = result(kind, part, [images[:count].copy(), weight], dtype)
        np.testing.assert_array_equal(alone, whole[:count])


@KINDS
@pytest.mark.parametrize("name", ["strided", "grouped", "depthwise", "solid", "line"])
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_nothing_beyond_the_result_is_written(kind, name, dtype):
    case = CASES[name]
    lowered, arrays = prepared(kind, case, operands(kind, case, dtype), dtype)
    size = arrays[-1].size
    room = np.ones(size + 64, dtype.numpy)
    run_kernel(lowered, [*arrays[:2], room[32:]])
    np.testing.assert_array_equal(room[:32], 1)
    np.testing.assert_array_equal(room[32 + size :], 1)


@KINDS
@pytest.mark.parametrize(
    "target", [Target.x86_64_avx2(), Target.x86_64_avx512(), Target.aarch64(), Target.wasm32()],
    ids=["avx2", "avx512", "neon", "wasm"],
)  # fmt: skip
def test_it_compiles_for_every_target(kind, target):
    for case in (CASES["strided"], LARGE["packed columns"], LARGE["many channels, strided"],
                 LARGE["neighbouring taps"], LARGE["depthwise, strided"]):  # fmt: skip
        lowered, _ = prepared(kind, case, operands(kind, case, dt.float32), dt.float32, target)
        llvm.parse_assembly(emit(lowered.function, "kernel", target)).verify()


@pytest.mark.skipif(host().vector_bits < 256, reason="needs AVX2")
@pytest.mark.parametrize("kind", ["conv", "conv_input"])
def test_narrower_vectors_give_the_same_bits(kind):
    narrow_target = replace(host(), vector_bits=128, registers=16)
    for name in ("packed columns", "strided rows in several tiles", "many channels, strided",
                 "neighbouring taps"):  # fmt: skip
        case = LARGE[name]
        arrays = operands(kind, case, dt.float32)
        wide_bits = result(kind, case, arrays, dt.float32)
        narrow_bits = result(kind, case, arrays, dt.float32, narrow_target)
        np.testing.assert_array_equal(narrow_bits, wide_bits)


@pytest.mark.skipif(host().vector_bits < 256, reason="needs AVX2")
@pytest.mark.parametrize("kind", ["conv", "conv_input"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_whichever_processor_is_met_the_bits_are_the_same(kind, dtype, monkeypatch):
    plain = Target(host().triple, "haswell", "", 256, 16)
    asking = replace(plain, choices=BESIDE_AVX2)
    cases = [LARGE[n] for n in ("packed columns", "several blocks of k", "many channels, strided")]
    cases += [Case(1, (24, 56), (9, 7), (1, 1)), Case(1, (5, 40), (6, 13), (3, 3), padding=1)]
    cases += [LARGE[n] for n in SMALL]
    asked = []
    for case in cases:
        arrays = operands(kind, case, dtype)
        want = result(kind, case, arrays, dtype, plain)
        lowered, _ = prepared(kind, case, arrays, dtype, asking)
        asked.append(ASKED in emit(lowered.function, "kernel", asking))
        for name in ("", *WANTED):  # each is one that is there no more
            if name:
                monkeypatch.setitem(WANTED, name, (0, 0, 0, 1 << 31))
            np.testing.assert_array_equal(result(kind, case, arrays, dtype, asking), want)
        monkeypatch.undo()
    assert any(asked)


def test_windows_of_channels_side_by_side_are_summed_as_wide_as_the_machine_does():
    case = LARGE["depthwise, few places"]
    arrays = operands("conv", case, dt.float32)
    plain = Target("x86_64-unknown-linux-gnu", "haswell", "", 256, 16)
    found = []
    for target in (plain, replace(plain, choices=BESIDE_AVX2)):
        lowered, _ = prepared("conv", case, arrays, dt.float32, target)
        text = emit(lowered.function, "kernel", target)
        found.append([name in text for name in (ASKED, "llvm.fma.v8f32", "llvm.fma.v16f32")])
    assert found == [[False, True, False], [True, True, True]]


def test_layers_of_other_sizes_share_the_code_for_their_windows():
    target = Target("x86_64-unknown-linux-gnu", "haswell", "", 256, 16)
    texts = []
    for places in ((7, 6), (5, 9)):
        case = Case(1, (32, 32), places, (3, 3), padding=1, groups=32)
        lowered, _ = prepared("conv", case, operands("conv", case, dt.float32), dt.float32, target)
        texts.append(lowered.function.callees["windows"].text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=lambda d: d.name)
def test_whichever_operand_is_turned_the_bits_are_the_same(dtype, monkeypatch):
    for name in ("pointwise, many places", "pointwise, many rows", "pointwise in groups"):
        arrays = operands("conv_weight", LARGE[name], dtype)
        found = []
        for suits in (lambda *_: True, lambda *_: False):
            monkeypatch.setattr(weight_gradient, "suits_pointwise", suits)
            found.append(result("conv_weight", LARGE[name], arrays, dtype))
        np.testing.assert_array_equal(*found, err_msg=name)


ONE_IMAGE = {
    "many to few": Case(1, (256, 64), (28, 28), (1, 1)),
    "few to many": Case(1, (96, 512), (14, 14), (1, 1)),
    "every other place": Case(1, (256, 512), (15, 14), (1, 1), stride=2),
    "every other window": Case(1, (64, 256), (14, 14), (3, 3), stride=2, padding=1),
    "every other window, few channels": Case(1, (64, 96), (57, 57), (3, 3), stride=2, padding=1),
    "neighbours": Case(1, (64, 256), (14, 14), (3, 3), padding=1),
    "neighbours in rows": Case(1, (64, 64), (56, 56), (3, 3), padding=1),
}


def cut(case):
    """Return what writes a convolution with a prepared weight."""
    shapes = [case.shapes[r] for r in ROLES["conv"]]
    buffers = [Buffer(dt.float32, math.prod(s)) for s in shapes]
    params = case.params() | {"prepared": True}
    return convolution._writer(Kernel("conv", shapes[-1], buffers, params=params), host())


@pytest.mark.skipif(host().vector_bits != 512, reason="cuts go with the vectors")
@pytest.mark.parametrize("case", ONE_IMAGE.values(), ids=ONE_IMAGE.keys())
def test_half_of_the_tiles_are_half_of_the_work(case):
    writer = cut(case)
    if isinstance(writer, ChannelVectors):
        first, share = writer.g.windows[0], writer.chunk
        each, every = [writer.oc] * writer.parts, writer.chunks
    else:
        first, share = math.ceil(case.out[0] / 2), writer.down
        each, every = [writer.oc * writer.run] * writer.runs, writer.chunks
    assert writer.share == 1
    work = [c * min(share, first - i * share) for c in each for i in range(every)]
    assert len(work) == writer.tiles
    assert writer.tiles % 2 == 0
    half = len(work) // 2
    assert max(sum(work[:half]), sum(work[half:])) <= 0.52 * case.co * first


def test_strided_windows_of_one_place_are_read_where_they_lie():
    assert cut(ONE_IMAGE["every other place"]).plain
    assert not cut(ONE_IMAGE["every other window"]).plain


def test_a_prepared_weight_is_asked_for_as_it_is_used():
    for name, case in ONE_IMAGE.items():
        writer = cut(case)
        text = emit(writer.write().function, "kernel", host())
        assert writer.packed < 1.03 * 16 / 9 * math.prod(case.shapes["w"]), name
        assert "i32 0, i32 2, i32 1)" in text, name
    case = LARGE["packed columns"]
    lowered, _ = prepared("conv", case, operands("conv", case, dt.float32), dt.float32)
    assert "i32 0, i32 2, i32 1)" not in emit(lowered.function, "kernel", host())


@pytest.mark.parametrize("kind", ["conv", "conv_input"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=lambda d: d.name)
def test_a_prepared_weight_gives_the_same_bits(kind, dtype):
    ready = {name for name, case in LARGE.items() if same_when_prepared(kind, case, dtype)}
    assert {"packed columns", "neighbouring taps in groups"} <= ready
    assert "pointwise" not in ready
    more = (
        Case(3, (70, 130), (7, 7), (1, 1)),
        Case(2, (128, 96), (14, 13), (3, 3), stride=2, padding=1),
        *ONE_IMAGE.values(),
    )
    found = [same_when_prepared(kind, case, dtype) for case in more]  # each is compared
    assert any(found)


def same_when_prepared(kind, case, dtype):
    """Compare with the weight read as it is; tell whether there is a prepared form."""
    arrays = operands(kind, case, dtype)
    buffers = [Buffer(dtype, size) for size in (arrays[0].size, arrays[1].size)]
    out = np.full(case.shapes[ROLES[kind][2]], 7, dtype.numpy)
    buffers.append(Buffer(dtype, out.size))
    kernel = Kernel(kind, out.shape, buffers, params=case.params())
    count = convolution.packed_elements(kernel, host())
    if not count:
        return False
    wide = dtype.compute
    room = np.full(count + 64, 7, wide.numpy)
    first = -room.ctypes.data % 64 // wide.itemsize  # as the arena's, its address is such
    packed = room[first : first + count]
    maker = Kernel("prepare", (count,), [buffers[1], Buffer(wide, count, written=True)],
                   params=case.params() | {"of": kind})  # fmt: skip
    run_kernel(TEMPLATES["prepare"](maker, host()), [arrays[1], packed])
    buffers[1] = Buffer(wide, count)
    main = replace(kernel, buffers=buffers, params=case.params() | {"prepared": True})
    run_kernel(TEMPLATES[kind](main, host()), [arrays[0], packed, out])
    np.testing.assert_array_equal(out, result(kind, case, arrays, dtype))
    return True


ALONE = {
    "rows of a few": Case(2, (5, 5), (10, 9), (3, 3), padding=1, groups=5),
    "every other, several tiles": Case(1, (2, 2), (70, 57), (3, 3), stride=2, padding=1, groups=2),
    "two residues, dilated": Case(
        2, (3, 3), (20, 37), (5, 3), stride=(3, 2), padding=((2, 0), (1, 3)), dilation=(1, 3),
        groups=3,
    ),
    "a line": Case(1, (4, 4), (50,), (31,), padding=15, groups=4),
    "one column": Case(1, (2, 2), (9, 1), (3, 1), groups=2),
}  # fmt: skip
SINGLE = pytest.mark.parametrize("case", ALONE.values(), ids=ALONE.keys())


@SINGLE
@pytest.mark.parametrize("kind", ["conv", "conv_input"])
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_channels_alone_are_the_plain_sum(kind, case, dtype):
    check(kind, case, dtype)


@SINGLE
@pytest.mark.parametrize("kind", ["conv", "conv_input"])
def test_channels_alone_have_the_bits_of_windows_in_vectors(kind, case, monkeypatch):
    arrays = operands(kind, case, dt.float32)
    arrays[1].flat[0] = np.inf  # which meets zeros of the padding as well
    few = replace(host(), vector_bits=128, registers=16)
    found = [result(kind, case, arrays, dt.float32), result(kind, case, arrays, dt.float32, few)]
    monkeypatch.setattr(convolution, "lines_of", lambda _, forward: None)
    found.append(result(kind, case, arrays, dt.float32))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])


def test_channels_alone_are_told_from_others():
    one, several = ALONE["a line"].params(), CASES["grouped"].params()
    assert convolution.lines_of(one, forward=True) is not None
    assert convolution.lines_of(several, forward=True) is None
    strided = ALONE["every other, several tiles"].params()
    assert convolution.lines_of(strided, forward=True) is not None
    assert convolution.lines_of(strided, forward=False) is None
