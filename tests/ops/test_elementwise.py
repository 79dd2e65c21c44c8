"""Every elementwise function, in every dtype, shape and mode, against PyTorch."""

import math

import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.tensor import elementwise
from tests.ops.rows import ALL, FLOATS, HALVES, INTS, Row, Sample, one, problems, two

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
        for shape, mask in (((3, 5), (3, 5)), ((3, 5), (5,)), ((3, 1), (1, 4)), ((), ()), ((0, 3), (3,))):
            flags = torch.tensor(draw.random.integers(0, 2, mask).astype(bool))
            yield Sample(f"mask {mask} on {shape}", (draw(shape), flags), call)

    return samples


ROWS = {
    "neg": Row(named("neg")),
    "negative": Row(named("negative")),
    "abs": Row(named("abs")),
    "absolute": Row(named("absolute")),
    "sign": Row(named("sign")),
    "floor": Row(named("floor")),
    "ceil": Row(named("ceil")),
    "trunc": Row(named("trunc")),
    "frac": Row(named("frac")),
    "round": Row(several(named("round"), one(lambda m, x: m.round(x, decimals=1)))),
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
    "logit": Row(several(named("logit", domain="unit"), one(lambda m, x: m.logit(x, 0.1), domain="unit"))),
    "relu": Row(named("relu")),
    "isnan": Row(named("isnan")),
    "isinf": Row(named("isinf")),
    "isfinite": Row(named("isfinite")),
    "logical_not": Row(named("logical_not")),
    "bitwise_not": Row(named("bitwise_not")),
    "nan_to_num": Row(several(named("nan_to_num"), one(lambda m, x: m.nan_to_num(x, 1.5, 9.0, -7.0)))),
    "add": Row(several(paired("add"), two(lambda m, a, b: m.add(a, b, alpha=2)))),
    "sub": Row(several(paired("sub"), two(lambda m, a, b: m.sub(a, b, alpha=2)))),
    "subtract": Row(paired("subtract")),
    "mul": Row(paired("mul")),
    "multiply": Row(paired("multiply")),
    "div": Row(several(
        paired("div", domains=("any", "nonzero")),
        two(lambda m, a, b: m.div(a, b, rounding_mode="floor"), domains=("any", "nonzero")),
        two(lambda m, a, b: m.div(a, b, rounding_mode="trunc"), domains=("any", "nonzero")),
    )),
    "divide": Row(paired("divide", domains=("any", "nonzero"))),
    "true_divide": Row(paired("true_divide", domains=("any", "nonzero"))),
    "floor_divide": Row(paired("floor_divide", domains=("any", "nonzero"))),
    "remainder": Row(paired("remainder", domains=("any", "nonzero"))),
    "fmod": Row(paired("fmod", domains=("any", "nonzero"))),
    "pow": Row(several(paired("pow", domains=("positive", "few")),
                       *[two(lambda m, a, b, n=n: m.pow(a, n), numbers=(), domains=("positive", "any"))
                         for n in (0, 1, 2, 3, 0.5, -0.5, 1.5, 4)])),
    "maximum": Row(tensors("maximum")),
    "minimum": Row(tensors("minimum")),
    "eq": Row(paired("eq")), "ne": Row(paired("ne")), "not_equal": Row(paired("not_equal")),
    "lt": Row(paired("lt")), "less": Row(paired("less")),
    "le": Row(paired("le")), "less_equal": Row(paired("less_equal")),
    "gt": Row(paired("gt")), "greater": Row(paired("greater")),
    "ge": Row(paired("ge")), "greater_equal": Row(paired("greater_equal")),
    "isclose": Row(several(tensors("isclose", domains=("few", "few")),
                           made("equal_nan", (4,))(lambda m, x: m.isclose(x / 0, x / 0, equal_nan=True)))),
    "logical_and": Row(tensors("logical_and")),
    "logical_or": Row(tensors("logical_or")),
    "logical_xor": Row(tensors("logical_xor")),
    "bitwise_and": Row(paired("bitwise_and", numbers=(2, True))),
    "bitwise_or": Row(paired("bitwise_or", numbers=(2, True))),
    "bitwise_xor": Row(paired("bitwise_xor", numbers=(2, True))),
    "logaddexp": Row(tensors("logaddexp"), ulps=LOOSE),
    "heaviside": Row(tensors("heaviside", domains=("few", "any"))),
    "lerp": Row(several(two(lambda m, a, b: m.lerp(a, b, 0.25), numbers=()),
                        made("weight", (3, 5), (5,), (3, 1))(lambda m, a, b, w: m.lerp(a, b, w)))),
    "addcmul": Row(several(made("broadcast", (3, 5), (5,), (3, 1))(lambda m, a, b, c: m.addcmul(a, b, c)),
                           made("value", (3, 5), (5,), (3, 1))(lambda m, a, b, c: m.addcmul(a, b, c, value=3)))),
    "addcdiv": Row(several(
        made("broadcast", (3, 5), (5,), (3, 1), domain="nonzero")(lambda m, a, b, c: m.addcdiv(a, b, c)),
        made("value", (3, 5), (5,), (3, 1), domain="nonzero")(lambda m, a, b, c: m.addcdiv(a, b, c, value=3)))),
    "clamp": Row(several(
        one(lambda m, x: m.clamp(x, 1, 2)), one(lambda m, x: m.clamp(x, max=1)), one(lambda m, x: m.clamp(x, -0.5)),
        one(lambda m, x: m.clamp(x, 2, 1)),
        two(lambda m, a, b: m.clamp(a, b), numbers=()), two(lambda m, a, b: m.clamp(a, max=b), numbers=()),
        made("both tensors", (3, 5), (5,), (3, 1))(lambda m, x, a, b: m.clamp(x, a, b)))),
    "clip": Row(one(lambda m, x: m.clip(x, 1, 2))),
    "where": Row(several(
        with_mask(lambda m, x, c: m.where(c, x, 2)), with_mask(lambda m, x, c: m.where(c, 2.5, x)),
        with_mask(lambda m, x, c: m.where(c, x, x)), with_mask(lambda m, x, c: m.where(c, 1, 2)),
        with_mask(lambda m, x, c: x.where(c, x * 0)))),
    "masked_fill": Row(several(with_mask(lambda m, x, c: m.masked_fill(x, c, 1)),
                               with_mask(lambda m, x, c: x.masked_fill(c, 0)))),
}  # fmt: skip


def test_every_function_has_a_row():
    assert set(ROWS) == set(elementwise.__all__)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    row = ROWS[function]
    if dtype not in row.dtypes:
        return
    found = problems(function, row, dtype, count=count)
    assert not found, "\n".join(found[:12])
