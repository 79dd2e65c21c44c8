"""Routines for what small machines lack, run here and compared bit for bit with NumPy and C."""

import ctypes
import ctypes.util
import shutil
import subprocess

import numpy as np
import pytest

from tenor.compiler.emit import llvm
from tenor.compiler.lower.routines import PAIRS, ROUTINES
from tenor.compiler.lower.soft_double import SOFT_DOUBLE
from tenor.ir.target import Target
from tenor.runtime import cpu, cross

ALL = ROUTINES | SOFT_DOUBLE
PLAIN = Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16, has_fma=False)
C = {"f32": ctypes.c_float, "f64": ctypes.c_double, "i32": ctypes.c_int32, "i64": ctypes.c_int64}
COUNT = 2000
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 5e-324, -5e-324,
           2.2250738585072014e-308, 1.7976931348623157e308, 1e-310, 4503599627370495.5]  # fmt: skip
pytestmark = [
    pytest.mark.skipif(not shutil.which("gcc"), reason="gcc links the routines"),
    pytest.mark.skipif(cpu.machine() != "x86_64", reason="they are compiled for x86-64"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Return all routines, under names that no library has."""
    folder = tmp_path_factory.mktemp("routines")
    texts = [llvm.emit(make(f"t_{name}"), f"t_{name}", PLAIN) for name, make in ALL.items()]
    for i, text in enumerate(texts):
        (folder / f"{i}.o").write_bytes(cross.object_file(text, PLAIN, reloc="pic"))
    objects = [folder / f"{i}.o" for i in range(len(texts))]
    subprocess.run(["gcc", "-shared", "-nostdlib", "-o", folder / "r.so", *objects], check=True)
    return ctypes.CDLL(str(folder / "r.so"))


def applied(library, name, *arrays):
    """Apply a routine to the bits of elements, as its types are."""
    function, run = ALL[name](name), getattr(library, f"t_{name}")
    kinds = [p.type for p in function.params]
    run.argtypes, run.restype = [C[k] for k in kinds], C[function.result.type]
    given = [a.view(f"{k[0]}{int(k[1:]) // 8}")
             for a, k in zip(arrays, kinds, strict=True)]  # fmt: skip
    rows = zip(*(a.tolist() for a in given), strict=True)
    kind = function.result.type
    return np.array([run(*row) for row in rows], f"{kind[0]}{int(kind[1:]) // 8}")


def doubles(seed):
    """Return anything: random bits, moderate numbers, special ones, the smallest."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 2**64 - 1, COUNT, dtype=np.uint64).view(np.float64)
    near = rng.normal(size=COUNT) * 2.0 ** rng.integers(-3, 40, COUNT)
    tiny = rng.normal(size=COUNT) * 2.0 ** rng.integers(-1070, -1000, COUNT)
    return np.choose(rng.integers(0, 4, COUNT), [raw, near, rng.choice(SPECIAL, COUNT), tiny])


def close_to(x, seed):
    """Return numbers of which many nearly cancel x."""
    rng = np.random.default_rng(seed)
    near = -x * (1 + rng.integers(-3, 4, COUNT) * 2.0**-52)
    return np.where(rng.random(COUNT) < 0.4, near, doubles(seed + 1))


def integers(seed):
    """Return 64-bit integers of all lengths."""
    rng = np.random.default_rng(seed)
    return rng.integers(-(2**63), 2**63 - 1, COUNT) >> rng.integers(0, 63, COUNT)


def same_bits(got, want):
    got, want = got.view(want.dtype), np.asarray(want)
    word = f"u{want.dtype.itemsize}"
    equal = got.view(word) == want.view(word)
    if want.dtype.kind == "f":
        equal |= np.isnan(got) & np.isnan(want)
    assert equal.all(), f"{np.sum(~equal)} differ, e.g. {got[~equal][:3]} for {want[~equal][:3]}"


@pytest.mark.parametrize("tail", ["f", ""])
@pytest.mark.parametrize(
    ("name", "oracle"),
    [("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc), ("roundeven", np.rint)],
)
def test_rounding(name, oracle, tail, library):
    x = doubles(1).astype(np.float32 if tail else np.float64)
    same_bits(applied(library, name + tail, x), oracle(x))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_arithmetic(name, library):
    x = doubles(2)
    y = close_to(x, 3)
    want = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[name](x, y)
    same_bits(applied(library, f"__aeabi_d{name}", x, y), want)
    same_bits(applied(library, f"__{name}df3", x, y), want)


def test_root_and_fused_product(library):
    x = doubles(4)
    same_bits(applied(library, "sqrt", np.abs(x)), np.sqrt(np.abs(x)))
    same_bits(applied(library, "sqrt", x), np.sqrt(x))
    y = close_to(x, 5)
    z = close_to(x * y, 7)
    c = ctypes.CDLL(ctypes.util.find_library("m"))
    c.fma.argtypes, c.fma.restype = [ctypes.c_double] * 3, ctypes.c_double
    want = [c.fma(*row) for row in zip(x.tolist(), y.tolist(), z.tolist(), strict=True)]
    same_bits(applied(library, "fma", x, y, z), np.array(want))


TESTS = {"eq": np.equal, "lt": np.less, "le": np.less_equal, "ge": np.greater_equal,
         "gt": np.greater}  # fmt: skip
SIGNS = {"eq": lambda r: r == 0, "lt": lambda r: r < 0, "le": lambda r: r <= 0,
         "ge": lambda r: r >= 0, "gt": lambda r: r > 0}  # fmt: skip


@pytest.mark.parametrize("name", TESTS)
def test_comparisons(name, library):
    x = doubles(8)
    y = np.where(np.random.default_rng(9).random(COUNT) < 0.3, x, close_to(x, 10))
    want = TESTS[name](x, y)
    assert np.array_equal(applied(library, f"__aeabi_dcmp{name}", x, y), want)
    assert np.array_equal(SIGNS[name](applied(library, f"__{name}df2", x, y)), want)
    unordered = np.isnan(x) | np.isnan(y)
    assert np.array_equal(applied(library, "__aeabi_dcmpun", x, y), unordered)
    assert np.array_equal(applied(library, "__unorddf2", x, y) != 0, unordered)


@pytest.mark.parametrize("name", ["__udivdi3", "__divdi3", "__umoddi3", "__moddi3"])
def test_division(name, library):
    a, b = integers(11), integers(12)
    b[b == 0] = 3
    want = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if name.startswith("__u"):
            x, y = x % 2**64, y % 2**64
        q = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        want.append((q if "div" in name else x - q * y) % 2**64)
    same_bits(applied(library, name, a, b), np.array(want, np.uint64))
    assert set(PAIRS.values()) <= set(ROUTINES)


FROM = {"__aeabi_l2f": ("i8", "f4"), "__aeabi_ul2f": ("u8", "f4"), "__aeabi_l2d": ("i8", "f8"),
        "__aeabi_ul2d": ("u8", "f8"), "__floatdisf": ("i8", "f4"), "__floatundisf": ("u8", "f4"),
        "__floatdidf": ("i8", "f8"), "__floatundidf": ("u8", "f8"), "__aeabi_i2d": ("i4", "f8"),
        "__aeabi_ui2d": ("u4", "f8"), "__floatsidf": ("i4", "f8"),
        "__floatunsidf": ("u4", "f8")}  # fmt: skip
TO = {"__aeabi_f2lz": ("f4", "i8"), "__aeabi_f2ulz": ("f4", "u8"), "__aeabi_d2lz": ("f8", "i8"),
      "__aeabi_d2ulz": ("f8", "u8"), "__fixsfdi": ("f4", "i8"), "__fixunssfdi": ("f4", "u8"),
      "__fixdfdi": ("f8", "i8"), "__fixunsdfdi": ("f8", "u8"), "__aeabi_d2iz": ("f8", "i4"),
      "__aeabi_d2uiz": ("f8", "u4"), "__fixdfsi": ("f8", "i4"),
      "__fixunsdfsi": ("f8", "u4")}  # fmt: skip
BETWEEN = {"__aeabi_d2f": ("f8", "f4"), "__truncdfsf2": ("f8", "f4"), "__aeabi_f2d": ("f4", "f8"),
           "__extendsfdf2": ("f4", "f8")}  # fmt: skip


@pytest.mark.parametrize("name", FROM)
def test_integers_as_floats(name, library):
    come, go = FROM[name]
    ends = np.array([0, 1, -1, 2**63 - 1, -(2**63), 2**24 + 1, 2**53 + 1, 2**24 + 3])
    x = np.concatenate([integers(13), ends]).astype(come)
    same_bits(applied(library, name, x), x.astype(go))


@pytest.mark.parametrize("name", TO)
def test_floats_as_integers(name, library):
    come, go = TO[name]
    top = 8 * int(go[1]) - 2
    x = np.random.default_rng(14).uniform(1, 2, COUNT) * 2.0 ** np.linspace(-3, top - 1, COUNT)
    x *= np.where(np.arange(COUNT) % 2, 1, -1 if go[0] == "i" else 1)
    x = x.astype(come)
    same_bits(applied(library, name, x), x.astype(go))


@pytest.mark.parametrize("name", BETWEEN)
def test_floats_of_two_sizes(name, library):
    come, go = BETWEEN[name]
    x = doubles(15)
    x[::3] = np.random.default_rng(16).normal(size=x[::3].shape) * 2.0 ** np.linspace(
        -155, -120, len(x[::3])
    )
    x = x.astype(come)
    same_bits(applied(library, name, x), x.astype(go))


def test_every_routine_is_tried():
    tried = {*FROM, *TO, *BETWEEN, "fma", "sqrt", "__udivdi3", "__divdi3", "__umoddi3", "__moddi3",
             "__nedf2", "__aeabi_dcmpun", "__unorddf2"}  # fmt: skip
    tried |= {f"{stem}{n}{tail}" for n in ("add", "sub", "mul", "div")
              for stem, tail in (("__aeabi_d", ""), ("__", "df3"))}  # fmt: skip
    tried |= {
        f"{stem}{n}{tail}" for n in TESTS for stem, tail in (("__aeabi_dcmp", ""), ("__", "df2"))
    }
    tried |= {n + tail for n in ("floor", "ceil", "trunc", "roundeven") for tail in ("f", "")}
    assert set(ALL) == tried
