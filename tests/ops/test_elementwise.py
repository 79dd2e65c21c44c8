"""Every elementwise function, in every dtype, shape and mode, against PyTorch."""

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.tensor import elementwise, transcendental
from tests.ops.oracle import agree, given
from tests.ops.rows import ALL, FLOATS, INTS, Row, Sample, one, problems, two

LOOSE = {"float64": 8, "float32": 8, "float16": 4, "bfloat16": 4}


def named(function, **options):
    """Return samples of the function of one tensor of that name."""
    return one(lambda m, x: getattr(m, function)(x), **options)


def paired(function, **options):
    return two(lambda m, a, b: getattr(m, function)(a, b), **options)


def tensors(function, **options):
    """Return samples of a function both of whose operands must be tensors."""
    return paired(function, numbers=(), **options)


def several(*parts):
    """Return the samples of several makers."""
    return lambda draw: [sample for part in parts for sample in part(draw)]


def made(label, *shapes, domain="any"):
    """Return a maker of one sample with leaves of some shapes; used as a decorator."""

    def maker(call):
        return lambda draw: [Sample(label, tuple(draw(s, domain) for s in shapes), call)]

    return maker


def with_mask(call):
    def samples(draw):
        for shape, mask in (
            ((3, 5), (3, 5)),
            ((3, 5), (5,)),
            ((3, 1), (1, 4)),
            ((), ()),
            ((0, 3), (3,)),
        ):
            flags = torch.tensor(draw.random.integers(0, 2, mask).astype(bool))
            yield Sample(f"mask {mask} on {shape}", (draw(shape), flags), call)

    return samples


ROWS = {
    "neg": Row(named("neg")),
    "negative": Row(named("negative")),
    "abs": Row(named("abs")),
    "absolute": Row(named("absolute")),
    "sign": Row(named("sign")),
    "floor": Row(named("floor"), takes=("bool",)),
    "ceil": Row(named("ceil"), takes=("bool",)),
    "trunc": Row(named("trunc"), takes=("bool",)),
    "frac": Row(named("frac"), takes=INTS),
    "round": Row(
        several(named("round"), one(lambda m, x: m.round(x, decimals=1))), takes=("bool",)
    ),
    "square": Row(named("square")),
    "reciprocal": Row(named("reciprocal", domain="nonzero")),
    "exp": Row(named("exp")),
    "exp2": Row(named("exp2")),
    "expm1": Row(named("expm1")),
    "log": Row(named("log", domain="positive")),
    "log2": Row(named("log2", domain="positive")),
    "log10": Row(named("log10", domain="positive")),
    "log1p": Row(named("log1p", domain="positive")),
    "sqrt": Row(named("sqrt", domain="positive")),
    "rsqrt": Row(named("rsqrt", domain="positive")),
    "sin": Row(named("sin")),
    "cos": Row(named("cos")),
    "tan": Row(named("tan", domain="unit"), ulps=LOOSE),
    "sinh": Row(named("sinh"), ulps=LOOSE),
    "cosh": Row(named("cosh"), ulps=LOOSE),
    "tanh": Row(named("tanh")),
    "erf": Row(named("erf")),
    "erfc": Row(named("erfc")),
    "sigmoid": Row(named("sigmoid")),
    "logit": Row(
        several(named("logit", domain="unit"), one(lambda m, x: m.logit(x, 0.1), domain="unit"))
    ),
    "relu": Row(named("relu")),
    "isnan": Row(named("isnan")),
    "isinf": Row(named("isinf")),
    "isfinite": Row(named("isfinite")),
    "logical_not": Row(named("logical_not")),
    "bitwise_not": Row(named("bitwise_not")),
    "nan_to_num": Row(
        several(named("nan_to_num"), one(lambda m, x: m.nan_to_num(x, 1.5, 9.0, -7.0)))
    ),
    "add": Row(several(paired("add"), two(lambda m, a, b: m.add(a, b, alpha=2)))),
    "sub": Row(several(paired("sub"), two(lambda m, a, b: m.sub(a, b, alpha=2)))),
    "subtract": Row(paired("subtract")),
    "mul": Row(paired("mul")),
    "multiply": Row(paired("multiply")),
    "div": Row(
        several(
            paired("div", domains=("any", "nonzero")),
            two(lambda m, a, b: m.div(a, b, rounding_mode="floor"), domains=("any", "nonzero")),
            two(lambda m, a, b: m.div(a, b, rounding_mode="trunc"), domains=("any", "nonzero")),
        )
    ),
    "divide": Row(paired("divide", domains=("any", "nonzero"))),
    "true_divide": Row(paired("true_divide", domains=("any", "nonzero"))),
    "floor_divide": Row(paired("floor_divide", domains=("any", "nonzero"))),
    "remainder": Row(paired("remainder", domains=("any", "nonzero"))),
    "fmod": Row(paired("fmod", domains=("any", "nonzero"))),
    "pow": Row(
        several(
            paired("pow", domains=("positive", "few")),
            *[
                two(lambda m, a, b, n=n: m.pow(a, n), numbers=(), domains=("positive", "any"))
                for n in (0, 1, 2, 3, 0.5, -0.5, 1.5, 4)
            ],
        ),
        takes=("bool",),
    ),
    "maximum": Row(tensors("maximum")),
    "minimum": Row(tensors("minimum")),
    "eq": Row(paired("eq")),
    "ne": Row(paired("ne")),
    "not_equal": Row(paired("not_equal")),
    "lt": Row(paired("lt")),
    "less": Row(paired("less")),
    "le": Row(paired("le")),
    "less_equal": Row(paired("less_equal")),
    "gt": Row(paired("gt")),
    "greater": Row(paired("greater")),
    "ge": Row(paired("ge")),
    "greater_equal": Row(paired("greater_equal")),
    "isclose": Row(
        several(
            tensors("isclose", domains=("few", "few")),
            made("equal_nan", (4,))(lambda m, x: m.isclose(x / 0, x / 0, equal_nan=True)),
        )
    ),
    "logical_and": Row(tensors("logical_and")),
    "logical_or": Row(tensors("logical_or")),
    "logical_xor": Row(tensors("logical_xor")),
    "bitwise_and": Row(paired("bitwise_and", numbers=(2, True))),
    "bitwise_or": Row(paired("bitwise_or", numbers=(2, True))),
    "bitwise_xor": Row(paired("bitwise_xor", numbers=(2, True))),
    "logaddexp": Row(tensors("logaddexp"), ulps=LOOSE, takes=(*INTS, "bool")),
    "heaviside": Row(tensors("heaviside", domains=("few", "any"))),
    "lerp": Row(
        several(
            two(lambda m, a, b: m.lerp(a, b, 0.25), numbers=()),
            made("weight", (3, 5), (5,), (3, 1))(lambda m, a, b, w: m.lerp(a, b, w)),
        ),
        takes=INTS,
    ),
    "addcmul": Row(
        several(
            made("broadcast", (3, 5), (5,), (3, 1))(lambda m, a, b, c: m.addcmul(a, b, c)),
            made("value", (3, 5), (5,), (3, 1))(lambda m, a, b, c: m.addcmul(a, b, c, value=3)),
        ),
        takes=("bool",),
    ),
    "addcdiv": Row(
        several(
            made("broadcast", (3, 5), (5,), (3, 1), domain="nonzero")(
                lambda m, a, b, c: m.addcdiv(a, b, c)
            ),
            made("value", (3, 5), (5,), (3, 1), domain="nonzero")(
                lambda m, a, b, c: m.addcdiv(a, b, c, value=3)
            ),
        ),
        takes=(*INTS, "bool"),
    ),
    "clamp": Row(
        several(
            one(lambda m, x: m.clamp(x, 1, 2)),
            one(lambda m, x: m.clamp(x, max=1)),
            one(lambda m, x: m.clamp(x, -0.5)),
            one(lambda m, x: m.clamp(x, 2, 1)),
            one(lambda m, x: m.clamp(x.float(), math.nan, 1)),
            made("NaN among bounds", (3, 5), (5,))(
                lambda m, x, a: m.clamp(x.float(), a.float().log(), -a.float().log())
            ),
            two(lambda m, a, b: m.clamp(a, b), numbers=()),
            two(lambda m, a, b: m.clamp(a, max=b), numbers=()),
            made("both tensors", (3, 5), (5,), (3, 1))(lambda m, x, a, b: m.clamp(x, a, b)),
        ),
        takes=("bool",),
    ),
    "clip": Row(one(lambda m, x: m.clip(x, 1, 2))),
    "where": Row(
        several(
            with_mask(lambda m, x, c: m.where(c, x, 2)),
            with_mask(lambda m, x, c: m.where(c, 2.5, x)),
            with_mask(lambda m, x, c: m.where(c, x, x)),
            with_mask(lambda m, x, c: m.where(c, 1, 2)),
            with_mask(lambda m, x, c: x.where(c, x * 0)),
        )
    ),
    "masked_fill": Row(
        several(
            with_mask(lambda m, x, c: m.masked_fill(x, c, 1)),
            with_mask(lambda m, x, c: x.masked_fill(c, 0)),
        )
    ),
}


def test_every_function_has_a_row():
    assert set(ROWS) == {*elementwise.__all__, *transcendental.__all__}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    row = ROWS[function]
    if dtype not in row.dtypes:
        return
    found = problems(function, row, dtype, count=count)
    assert not found, "\n".join(found[:12])


# -- what a table does not say -----------------------------------------------------------------
CASES = {
    "remainder": lambda m, a, b: m.remainder(a, b),
    "fmod": lambda m, a, b: m.fmod(a, b),
    "floor_divide": lambda m, a, b: m.floor_divide(a, b),
    "%": lambda m, a, b: a % b,
    "//": lambda m, a, b: a // b,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", CASES)
def test_division_with_rest_is_exact_at_any_size(function, dtype):
    a = [1e10, 1e10, -1e10, 7.5e5, 1e-3, -1e-20, 5.0, math.inf, 1e30, 3.0, -3.0, 0.0, -0.0, 1.0]
    b = [3.0, -3.0, 3.0, 0.1, 1e-5, 3.0, math.inf, 2.0, 7.0, -math.inf, math.inf, 5.0, 5.0, 0.0]
    x, y = (torch.tensor(v, dtype=getattr(torch, dtype)) for v in (a, b))
    want = CASES[function](torch, x, y)
    got = CASES[function](tn, given(x), given(y))
    assert torch.equal(torch.tensor(got.numpy()).nan_to_num(7), want.nan_to_num(7))
    assert (got.numpy().view(f"i{want.itemsize}") < 0)[12] == (want.signbit()[12].item())


@pytest.mark.parametrize("dtype", INTS)
def test_integers_wrap(dtype):
    """At the ends of their range integers behave as NumPy's do."""
    info = tn.iinfo(getattr(tn, dtype))
    x = tn.tensor(np.array([info.min, info.max, 0, 1], dtype))
    a = np.array([info.min, info.max, 0, 1], dtype)
    with np.errstate(all="ignore"):
        for got, want in (
            (x + 1, a + a.dtype.type(1)),
            (x * x, a * a),
            (-x, -a),
            (x.abs(), np.abs(a)),
            (~x, ~a),
            (x.fmod(x + 2), np.fmod(a, a + a.dtype.type(2))),
            (x.square(), a * a),
        ):
            assert np.array_equal(got.numpy(), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_are_exact_at_powers(dtype):
    k = torch.arange(-30, 31).to(getattr(torch, dtype))
    assert torch.equal(torch.tensor(tn.log2(given(2.0**k)).numpy()), k)
    assert torch.equal(torch.tensor(tn.exp2(given(k)).numpy()), 2.0**k)
    tens = torch.tensor([10.0**n for n in range(11)], dtype=getattr(torch, dtype))
    assert tn.log10(given(tens)).tolist() == list(range(11))


def test_functions_keep_relative_accuracy_in_their_tails():
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        x = torch.tensor(
            [-9.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 9.0], dtype=dtype
        )
        agree(tn.erfc(given(x)), torch.erfc(x.double()).to(dtype), tolerance, absolute=0)
        y = torch.tensor([1e-6, -1e-6, 1e-3, 1.0, 60.0, 88.9, -88.9], dtype=dtype)
        agree(tn.sinh(given(y)), torch.sinh(y.double()).to(dtype), tolerance, absolute=0)
        agree(tn.cosh(given(y)), torch.cosh(y.double()).to(dtype), tolerance, absolute=0)
        agree(tn.expm1(given(y)), torch.expm1(y.double()).to(dtype), tolerance, absolute=0)


def test_lerp_meets_both_ends():
    a, b = torch.randn(50) * 1e6, torch.randn(50)
    assert torch.equal(torch.tensor(tn.lerp(given(a), given(b), 1.0).numpy()), b)
    assert torch.equal(torch.tensor(tn.lerp(given(a), given(b), 0.0).numpy()), a)
    weight = torch.tensor([0.0, 1.0]).repeat(25)
    assert torch.equal(
        torch.tensor(tn.lerp(given(a), given(b), given(weight)).numpy()),
        torch.where(weight > 0, b, a),
    )


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "reflected +": lambda a, b: b + a,
    "reflected -": lambda a, b: b - a,
    "reflected *": lambda a, b: b * a,
    "reflected /": lambda a, b: b / a,
    "reflected **": lambda a, b: b**a,
    "reflected //": lambda a, b: b // a,
    "reflected %": lambda a, b: b % a,
    "reflected <": lambda a, b: b < a,
}
BITWISE = {
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "reflected &": lambda a, b: b & a,
    "reflected |": lambda a, b: b | a,
    "reflected ^": lambda a, b: b ^ a,
    "reflected <<": lambda a, b: b << a,
}


@pytest.mark.parametrize("dtype", ALL)
def test_operators(dtype, count):
    for name, operator in (OPERATORS | BITWISE).items():
        floats = name in BITWISE and dtype in FLOATS
        numbers = (
            ()
            if floats
            else (2, True)
            if name in BITWISE or "%" in name or "//" in name
            else (2, 2.5)
        )
        row = Row(
            two(
                lambda m, a, b, f=operator: f(a, b),
                domains=("positive", "positive"),
                numbers=numbers,
                pairs=("same shape", "column and row", "no dims and a matrix"),
            ),
            takes=("bool",),
        )
        found = problems(name, row, dtype, modes=("recorded", "immediate"), count=count)
        assert not found, name + "\n" + "\n".join(found[:12])


def test_numpy_scalars_count_as_numbers():
    x = tn.ones(2, dtype=tn.float32)
    assert (x * np.float64(2.5)).dtype is tn.float32
    assert (x * np.int64(2)).tolist() == [2.0, 2.0]
    assert (tn.ones(2, dtype=tn.int64) + np.int8(1)).dtype is tn.int64


def test_errors_say_what_was_wanted_what_came_and_what_to_do():
    x, whole, flags = tn.ones(3, 4), tn.ones(3, dtype=tn.int64), tn.ones(3, dtype=tn.bool)
    for call, kind, words in (
        (lambda: x + tn.ones(3, 5), ShapeError, ("(3, 4)", "(3, 5)", "extents")),
        (lambda: tn.where(x, x, x), DTypeError, ("condition", "float32")),
        (lambda: x & x, DTypeError, ("bitwise_and", "float32")),
        (lambda: flags - flags, DTypeError, ("sub", "bool", "^")),
        (lambda: 1 - flags, DTypeError, ("sub", "bool")),
        (lambda: -flags, DTypeError, ("neg", "bool")),
        (lambda: whole**-1, ArgumentError, ("pow", "int64 ** -1")),
        (lambda: whole.add(whole, alpha=0.5), DTypeError, ("alpha", "0.5")),
        (lambda: x.div(x, rounding_mode="up"), ArgumentError, ("rounding_mode", "'up'")),
        (lambda: x.clamp(), ArgumentError, ("clamp", "bound")),
        (lambda: x.masked_fill(x, 1), DTypeError, ("condition", "float32")),
        (lambda: x.masked_fill(x > 0, x), ArgumentError, ("masked_fill", "(3, 4)")),
        (lambda: tn.isclose(x, whole), DTypeError, ("isclose", "int64")),
        (lambda: whole.round(decimals=2), DTypeError, ("decimals", "int64")),
        (lambda: flags.relu(), DTypeError, ("relu", "bool")),
        (lambda: tn.ones(1, dtype=tn.uint64) + whole, DTypeError, ("uint64", "int64")),
    ):
        with pytest.raises(kind) as caught:
            call()
        for word in words:
            assert word in str(caught.value), (word, str(caught.value))
        assert "fix:" in str(caught.value)
    with pytest.raises(TypeError):
        x + "one"
