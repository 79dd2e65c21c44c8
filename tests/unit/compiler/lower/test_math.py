"""Vector mathematics against wider arithmetic, over whole domains; bounds from docs/numerics.md."""

import functools
import itertools
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tenor.compiler.lower.math import MATH, philox
from tenor.compiler.lower.philox import block
from tenor.ir import dtype as dt
from tenor.ir.loops import Function, vector
from tenor.ir.program import ABI, Lowered
from tests.jit import run_kernel

NUMERICS = Path(__file__).parents[4] / "docs" / "numerics.md"
ROW = re.compile(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|", re.MULTILINE)
BOUNDS = {name: (float(a), float(b)) for name, a, b in ROW.findall(NUMERICS.read_text())}
UNARY = ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "rsqrt"]
EXTENDED = np.finfo(np.longdouble).nmant >= 63
INTS = {np.float32: np.uint32, np.float64: np.uint64}


def scalar_type(dtype):
    return f"{'f' if dtype.kind == 'float' else 'i'}{8 * dtype.itemsize}"


@functools.cache
def mapped(name, dtype, width):
    """Return a function that applies a rule to arrays, `width` elements at a time."""
    arity = 2 if name in ("pow", "floordiv", "mod") else 1

    def lower(count):
        f = Function(name, ABI, exported=True)
        pointers = [f.load("ptr", f.params[0], k) for k in range(arity + 1)]

        def body(i, _):
            args = [f.load(vector(scalar_type(dtype), width), p, i) for p in pointers[:-1]]
            f.store(MATH[name](f, args, dtype), pointers[-1], i)

        f.loop(0, count, width, body)
        return Lowered(f, 1)

    def run(*arrays):
        count = arrays[0].size
        padded = [np.concatenate([a, np.ones(-count % width, a.dtype)]) for a in arrays]
        out = np.empty_like(padded[0])
        run_kernel(lower(out.size), [*padded, out])
        return out[:count]

    return run


def every_kind(kind, count, seed=0):
    """Return numbers of every size: random bits, edges, and the ranges functions work in."""
    rng = np.random.default_rng(seed)
    info = np.finfo(kind)
    bits = rng.integers(0, 1 << (8 * info.dtype.itemsize - 1), count, dtype=np.uint64)
    sign = np.where(rng.random(count) < 0.5, -1, 1)
    ranges = [(-20, 20), (-1, 1), (0.5, 1.5), (-1.1 * math.log(info.max), math.log(info.max))]
    edges = [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, info.smallest_subnormal, info.tiny, info.max,
             -info.max, -info.tiny, 2.0**20, 2.0**20 - 1, 0.6875, 1.25, 1e5, 1e22]  # fmt: skip
    parts = [bits.astype(INTS[kind]).view(kind), *(rng.uniform(a, b, count) for a, b in ranges)]
    with np.errstate(all="ignore"):
        return np.concatenate([edges, parts[0] * sign, *parts[1:]]).astype(kind)


def sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def erf(x):
    return np.array([math.erf(v) for v in x.tolist()], x.dtype)


REFERENCE = {"erf": erf, "sigmoid": sigmoid, "rsqrt": lambda x: 1 / np.sqrt(x), "pow": np.power}


def wide(name, *arrays):
    """Return the reference, in arithmetic with more bits than the arrays'."""
    more = np.float64 if arrays[0].dtype == np.float32 else np.longdouble
    function = REFERENCE.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        return function(*(a.astype(more) for a in arrays))


def ulps(got, reference):
    """Return the distances in ulps; infinite where only one of the two is finite."""
    kind = got.dtype.type
    with np.errstate(all="ignore"):
        rounded = reference.astype(kind)
        unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(kind).tiny))
        finite = np.isfinite(got) & np.isfinite(rounded)
        far = np.abs(got.astype(reference.dtype) - reference) / unit
    agree = (np.isnan(got) & np.isnan(rounded)) | (got == rounded)
    return np.where(finite, far, np.where(agree, 0, np.inf))


def worst(name, *arrays):
    """Return the largest error in ulps, and where."""
    dtype = dt.of(arrays[0].dtype)
    got = mapped(name, dtype, 8 if dtype is dt.float32 else 4)(*arrays)
    reference = wide(name, *arrays)
    error = ulps(got, reference)
    at = int(np.argmax(error))
    return error[at], [a[at] for a in arrays], got[at], reference[at]


@pytest.mark.parametrize("name", UNARY)
def test_float32_is_within_the_stated_bound(name):
    error, *where = worst(name, every_kind(np.float32, 20_000))
    assert error <= BOUNDS[name][0], where


@pytest.mark.skipif(not EXTENDED, reason="no wider float here to measure float64 against")
@pytest.mark.parametrize("name", UNARY)
def test_float64_is_within_the_stated_bound(name):
    error, *where = worst(name, every_kind(np.float64, 10_000))
    assert error <= BOUNDS[name][1], where


@pytest.mark.parametrize("name", sorted(MATH))
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_scalars_and_vectors_give_the_same_bits(name, dtype):
    kind = dtype.numpy.type
    arity = 2 if name in ("pow", "floordiv", "mod") else 1
    arrays = [every_kind(kind, 400, seed) for seed in range(arity)]
    alone, few, many = (mapped(name, dtype, n)(*arrays).view(INTS[kind]) for n in (1, 3, 8))
    np.testing.assert_array_equal(alone, few)
    np.testing.assert_array_equal(alone, many)


@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "tanh", "erf"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_an_odd_start_keeps_the_sign_of_zero(name, dtype):
    got = mapped(name, dtype, 1)(np.array([0.0, -0.0], dtype.numpy))
    assert got.tolist() == [0, 0]
    assert np.signbit(got).tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "most"), [("exp", 23), ("sigmoid", 21), ("erf", 29), ("tanh", 32), ("log", 34)]
)
def test_float32_takes_few_operations(name, most):
    f = Function(name, ABI, exported=True)
    x = f.load("f32", f.load("ptr", f.params[0], 0))
    before = f.count
    MATH[name](f, [x], dt.float32)
    assert f.count - before <= most


def test_erf_reaches_one():
    for dtype, near in ((dt.float32, 3.95), (dt.float64, 5.95)):
        x = np.array([near, 6, np.inf], dtype.numpy)
        assert mapped("erf", dtype, 1)(x).tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_exp_underflows_gradually(kind):
    info = np.finfo(kind)
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.tiny))
    error, *where = worst("exp", np.linspace(low - 1, high, 5000).astype(kind))
    assert error <= BOUNDS["exp"][0], where


def test_sin_and_cos_of_huge_float64_are_exact_to_the_ulp():
    # 6381956970095103 * 2^797 lies closest of all to a multiple of pi/2 (Muller et al.,
    # Handbook of Floating-Point Arithmetic, table 11.1).
    x = np.array([6381956970095103 * 2.0**797, 1e22, 2.0**1023, -1e300])
    got = mapped("cos", dt.float64, 4)(x)
    assert got[0] == pytest.approx(-4.687165924254627e-19, rel=1e-15)
    assert mapped("sin", dt.float64, 4)(x)[1] == pytest.approx(-0.8522008497671888, rel=1e-15)
    assert got[3] == pytest.approx(math.cos(-1e300), rel=1e-15)


# -- pow --------------------------------------------------------------------------------------
def grid(kind):
    """Return all pairs of numbers that C99's Annex F has a word on."""
    some = [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 0.5, -0.5, 2, -2, 3, -3, 1e30, -1e30,
            2**24, 2**24 + 1, 2**53, 1 + 2**-20, 1 - 2**-20, 5e-324, 1e308, -1e308]  # fmt: skip
    with np.errstate(over="ignore"):
        pairs = np.array(list(itertools.product(some, some))).astype(kind)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_pow_has_the_special_cases_of_annex_f(kind):
    a, b = grid(kind)
    got = mapped("pow", dt.of(kind), 4)(a, b)
    expected = np.array([power(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(got, expected.astype(kind), rtol=1e-6, atol=0)
    known = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(expected)[known])


def power(x, y):
    """Return C's pow; Python's raises where C gives an infinity or NaN."""
    try:
        return math.pow(x, y)
    except OverflowError:
        return math.copysign(math.inf, x if y % 2 == 1 else 1)
    except ValueError:
        return math.nan if x else math.copysign(math.inf, x if y % 2 == 1 else 1)


@pytest.mark.parametrize("kind", [np.float32, pytest.param(np.float64, marks=pytest.mark.skipif(
    not EXTENDED, reason="no wider float here"))])  # fmt: skip
def test_pow_is_within_the_stated_bound(kind):
    rng = np.random.default_rng(0)
    n, top = 10_000, math.log(np.finfo(kind).max)
    base = np.concatenate([rng.uniform(0, 10, n), rng.uniform(0.9, 1.1, n), -rng.uniform(0, 9, n),
                           np.exp(rng.uniform(-top, top, n))]).astype(kind)  # fmt: skip
    whole = np.round(rng.uniform(-30, 30, n))
    exponent = np.concatenate([rng.uniform(-30, 30, n), rng.uniform(-top, top, n) * 9, whole,
                               rng.uniform(-1, 1, n)])  # fmt: skip
    error, *where = worst("pow", base, exponent.astype(kind))
    assert error <= BOUNDS["pow"][kind is np.float64], where


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1, 3.7), (2, 3.7**2), (-1, 1 / 3.7), (3, 3.7**3)]
)
def test_pow_of_a_written_exponent_takes_few_operations(exponent, expected):
    f = Function("pow", ABI, exported=True)
    x, out = (f.load("ptr", f.params[0], k) for k in range(2))
    before = f.count
    f.store(MATH["pow"](f, [f.load("f64", x), f.const(float(exponent), "f64")], dt.float64), out)
    assert f.count - before <= 3
    result = np.empty(1)
    run_kernel(Lowered(f, 1), [np.array([3.7]), result])
    assert result[0] == pytest.approx(expected, rel=3e-16)


# -- division ---------------------------------------------------------------------------------
def exact_floordiv_mod(a, b):
    """Return floor(a/b) and a - floor(a/b) b by rational arithmetic."""
    q = math.floor(Fraction(a) / Fraction(b))
    return q, Fraction(a) - q * Fraction(b)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_float_division_rounds_down_and_leaves_the_exact_rest(kind):
    rng = np.random.default_rng(0)
    a, b = every_kind(kind, 300, 1), rng.permutation(every_kind(kind, 300, 2))
    finite = np.isfinite(a) & np.isfinite(b) & (b != 0)
    a, b = a[finite], b[finite]
    rest, quotient = (mapped(n, dt.of(kind), 4)(a, b) for n in ("mod", "floordiv"))
    for x, y, r, q in zip(a.tolist(), b.tolist(), rest.tolist(), quotient.tolist(), strict=True):
        floor, exact = exact_floordiv_mod(x, y)
        assert r == kind(float(exact)), (x, y)
        if abs(floor) < 2**20:
            assert q == floor, (x, y)


def test_float_division_has_the_edges_of_python_and_torch():
    a = np.array([5, -5, 5, 0, np.inf, np.nan, -0.0, 5, -5, 6], np.float32)
    b = np.array([np.inf, np.inf, 0, 0, 2, 1, 3, -np.inf, np.inf, -3], np.float32)
    nan, inf = np.nan, np.inf
    rest = mapped("mod", dt.float32, 1)(a, b)
    np.testing.assert_array_equal(rest, [5, inf, nan, nan, nan, nan, 0, -inf, inf, 0])
    quotient = mapped("floordiv", dt.float32, 1)(a, b)
    np.testing.assert_array_equal(quotient, [0, -1, inf, nan, nan, nan, 0, -1, -1, -2])
    assert np.signbit(rest[6])


def wrapped(value, dtype):
    """Return an integer modulo the dtype's size."""
    count = 8 * dtype.itemsize
    value %= 1 << count
    return value - (1 << count) if dtype.kind == "int" and value >> (count - 1) else value


def integer_power(a, b):
    if b < 0:
        return (a if b % 2 else 1) if a in (1, -1) else 0
    return pow(a, b, 1 << 64)


INTEGER = {
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "pow": integer_power,
}


@pytest.mark.parametrize("name", INTEGER)
@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_integers_divide_downwards_and_never_trap(name, dtype):
    info = np.iinfo(dtype.numpy)
    edges = sorted({min(max(v, info.min), info.max) for v in
                    (0, 1, -1, 2, -2, 3, -7, 10, info.min, info.min + 1, info.max)})  # fmt: skip
    rng = np.random.default_rng(0)
    some = rng.integers(info.min, info.max, (200, 2), dtype=dtype.numpy, endpoint=True)
    pairs = np.concatenate([np.array(list(itertools.product(edges, edges)), dtype.numpy), some])
    a, b = pairs[:, 0].copy(), pairs[:, 1].copy()
    expected = [wrapped(INTEGER[name](x, y), dtype)
                for x, y in zip(a.tolist(), b.tolist(), strict=True)]  # fmt: skip
    assert mapped(name, dtype, 4)(a, b).tolist() == expected


# -- random -----------------------------------------------------------------------------------
# philox4x32-10 in kat_vectors of Random123, the paper's own distribution: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_words_of_the_paper(counter, key, words):
    f = Function("philox", ABI, exported=True)
    given, out = (f.load("ptr", f.params[0], k) for k in range(2))
    numbers = [f.load("i32", given, k) for k in range(6)]
    for k, word in enumerate(block(f, numbers[4:], numbers[:4])):
        f.store(word, out, k)
    result = np.empty(4, np.uint32)
    run_kernel(Lowered(f, 1), [np.array([*counter, *key], np.uint32), result])
    assert tuple(result.tolist()) == words


def philox_with_numpy(seed, counters):
    """Return the words [4, n] of Philox4x32-10 for counters below 2^64."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    x = [counters & mask, counters >> half, np.zeros_like(counters), np.zeros_like(counters)]
    steps = ((seed, 0x9E3779B9), (seed >> 32, 0xBB67AE85))
    for turn in range(10):
        key = [(word + turn * w) & 0xFFFFFFFF for word, w in steps]
        p, q = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [(q >> half) ^ x[1] ^ np.uint64(key[0]), q & mask,
             (p >> half) ^ x[3] ^ np.uint64(key[1]), p & mask]  # fmt: skip
    return np.array(x)


@pytest.mark.parametrize("width", [1, 8])
def test_philox_takes_seed_and_counter_of_64_bits(width):
    seed, start = 0xDEADBEEF12345678, 2**32 - 20
    f = Function("philox", ABI, exported=True)
    seeds, counters, out = (f.load("ptr", f.params[0], k) for k in range(3))

    def body(i, _):
        at = f.load(vector("i64", width), counters, i)
        for k, word in enumerate(philox(f, f.load("i64", seeds), at)):
            f.store(word, out, f.add(i, 40 * k))

    f.loop(0, 40, width, body)
    given = np.arange(40, dtype=np.uint64) + np.uint64(start)
    result = np.empty((4, 40), np.uint32)
    run_kernel(Lowered(f, 1), [np.array([seed], np.uint64), given, result])
    np.testing.assert_array_equal(result, philox_with_numpy(seed, given))
