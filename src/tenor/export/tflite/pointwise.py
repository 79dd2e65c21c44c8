"""Elementwise layers: arithmetic, comparisons, activations, and functions made of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.tflite.job import FLOAT, MANY, NUMBERS, Job, Row
from tenor.export.tflite.schema import TYPES
from tenor.export.tflite.writer import one_scale
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.tflite.writer import Value

__all__ = ["LAST_DIM", "POINTWISE", "Maths"]

BOTH: Final = (*NUMBERS, dt.bool_)
WHOLE: Final = (dt.int32, dt.int64)


UNIT: Final = one_scale(1 / 256, -128)
"""What results between 0 and 1 are held by: the format prescribes it."""
TANH: Final = one_scale(1 / 128, 0)
LOGS: Final = one_scale(16 / 256, 127)


class Maths:
    """Writes formulas on values of one shape and dtype, the job's."""

    def __init__(self, job: Job, shape: tuple[int, ...] | None = None) -> None:
        self.writer, self.shape = job.writer, job.shape if shape is None else shape

    def __call__(self, name: str, *inputs: Value | float, **options: Any) -> Value:
        """Add an operator; numbers are constants of the dtype of the operands beside them."""
        dtype = next(x.dtype for x in inputs if not isinstance(x, (int, float)))
        made = [self.writer.scalar(x, dtype) if isinstance(x, (int, float)) else x for x in inputs]
        result = dt.bool_ if name in COMPARING else dtype
        return self.writer.op(name, made, self.shape, result, **options)

    def where(self, condition: Value, a: Value | float, b: Value | float) -> Value:
        """Choose between two values."""
        dtype = next(x.dtype for x in (a, b) if not isinstance(x, (int, float)))
        made = [self.writer.scalar(x, dtype) if isinstance(x, (int, float)) else x for x in (a, b)]
        return self.writer.op("SELECT_V2", [condition, *made], self.shape, dtype)


COMPARING: Final = ("LESS", "LESS_EQUAL", "EQUAL", "NOT_EQUAL", "LOGICAL_NOT")


# -- one operator each ----------------------------------------------------------------------------
def _as(name: str) -> Callable[[Job], Value]:
    """Return how an operator with the layer's operands is written."""
    return lambda job: job.out(name, job.operands())


def _acting(name: str) -> Callable[[Job], Value]:
    """Return how an operator that can do an activation is written."""
    return lambda job: job.out(name, job.operands(), activation=job.activation)


def _joint(name: str) -> Callable[[Job], Value]:
    """Return how an operator is written whose operands must have the result's scheme."""

    def write(job: Job) -> Value:
        made = job.operands()
        if job.scheme is not None:
            made = [job.writer.rescaled(x, job.scheme) if x.scheme else x for x in made]
        return job.out(name, made)

    return write


def _arithmetic(name: str, logical: str) -> Callable[[Job], Value]:
    """Return how arithmetic is written that is logic for bool."""

    def write(job: Job) -> Value:
        if job.node.dtype is dt.bool_:
            return job.out(logical, job.operands())
        return job.out(name, job.operands(), activation=job.activation)

    return write


def _extreme(name: str, logical: str) -> Callable[[Job], Value]:
    joint = _joint(name)
    return lambda job: (
        job.out(logical, job.operands()) if job.node.dtype is dt.bool_ else joint(job)
    )


def _less(name: str, logical: str) -> Callable[[Job], Value]:
    """Return how a comparison is written: for bool, a < b is "not a, and b"."""

    def write(job: Job) -> Value:
        a, b = job.operands()
        if a.dtype is not dt.bool_:
            return job.out(name, [a, b])
        return job.out(logical, [job.writer.op("LOGICAL_NOT", [a], a.shape), b])

    return write


# -- several operators each -----------------------------------------------------------------------
def _abs(job: Job) -> Value:
    f, x = Maths(job), job.operand(0)
    return f("MAXIMUM", x, f("NEG", x)) if x.dtype is dt.int64 else f("ABS", x)


def _sign(job: Job) -> Value:
    f, x = Maths(job), job.operand(0)
    if x.dtype is not dt.int64:
        return f("SIGN", x)
    return f.where(f("LESS", x, 0), -1, f("MINIMUM", x, 1))


def _trunc(job: Job) -> Value:
    f, x = Maths(job), job.operand(0)
    return f.where(f("LESS", x, 0.0), f("CEIL", x), f("FLOOR", x))


def _expm1(job: Job) -> Value:
    """e^x - 1: near 0, where that cancels, x (1 + x/2 (1 + x/3 (1 + ...)))."""
    f, x = Maths(job), job.operand(0)
    near = f("ADD", f("MUL", x, 1 / EXPM1[0]), 1.0)
    for n in EXPM1[1:]:
        near = f("ADD", f("MUL", f("MUL", near, x), 1 / n), 1.0)
    far = f("SUB", f("EXP", x), 1.0)
    return f.where(f("LESS", f("ABS", x), 0.5), f("MUL", near, x), far)


EXPM1: Final = (8, 7, 6, 5, 4, 3, 2)
"""The series' divisors: x^9 / 9! is below a rounding of x where |x| < 0.5."""


def _log1p(job: Job) -> Value:
    """log(1 + x): near 0, where that cancels, 2 s (1 + s^2/3 + s^4/5 + ...), s = x / (2 + x)."""
    f, x = Maths(job), job.operand(0)
    s = f("DIV", x, f("ADD", x, 2.0))
    square = f("MUL", s, s)
    near = f("ADD", f("MUL", square, 1 / LOG1P[0]), 1 / LOG1P[1])
    for n in LOG1P[2:]:
        near = f("ADD", f("MUL", near, square), 1 / n)
    near = f("MUL", f("MUL", near, s), 2.0)
    return f.where(f("LESS", f("ABS", x), 0.4), near, f("LOG", f("ADD", x, 1.0)))


LOG1P: Final = (11, 9, 7, 5, 3, 1)
"""The series' divisors: s^12 / 13 is below a rounding of 1 where |x| < 0.4."""


ERF: Final = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
"""Abramowitz and Stegun, 7.1.26: |error| < 1.5e-7."""


def _erf(job: Job) -> Value:
    """sign(x) (1 - t (a1 + t (a2 + ...)) e^(-x^2)) with t = 1 / (1 + 0.3275911 |x|)."""
    f, x = Maths(job), job.operand(0)
    far = f("ABS", x)
    t = f("DIV", 1.0, f("ADD", f("MUL", far, 0.3275911), 1.0))
    total = f("MUL", t, ERF[0])
    for a in ERF[1:]:
        total = f("MUL", f("ADD", total, a), t)
    falling = f("EXP", f("NEG", f("MUL", x, x)))
    return f("MUL", f("SIGN", x), f("SUB", 1.0, f("MUL", total, falling)))


def _not(job: Job) -> Value:
    x = job.operand(0)
    return job.out("LOGICAL_NOT", [x]) if x.dtype is dt.bool_ else Maths(job)("SUB", -1, x)


def _xor(job: Job) -> Value:
    name = "NOT_EQUAL" if job.node.dtype is dt.bool_ else "BITWISE_XOR"
    return job.out(name, job.operands())


def _shl(job: Job) -> Value:
    """A << b is a times 2^b."""
    a, b = job.operands()
    power = job.writer.op("POW", [job.writer.scalar(2, a.dtype), b], b.shape)
    return job.out("MUL", [a, power])


def _cast(job: Job) -> Value:
    x, target = job.operand(0), job.node.dtype
    if target not in TYPES:
        raise job.refuse(f"a .tflite file has no {target.name} here.", "cast to float32 or int32")
    if target is dt.bool_ and x.dtype is not dt.bool_:  # a cast would look at the integer part
        if x.dtype not in BOTH:  # comparing takes these for quantised numbers
            x = job.writer.op("CAST", [x], x.shape, dt.int32, in_type=TYPES[x.dtype],
                              out_type=TYPES[dt.int32])  # fmt: skip
        return job.out("NOT_EQUAL", [x, job.writer.scalar(0, x.dtype)])
    return job.out("CAST", [x], in_type=TYPES[x.dtype], out_type=TYPES[target])


def _wrap_index(job: Job) -> Value:
    """Count negative indices from the end; what is out of range is refused where it is used."""
    x = job.operand(0)
    if job.attr("what") != "index":
        return x
    f = Maths(job)
    return f.where(f("LESS", x, 0), f("ADD", x, job.attr("size")), x)


def _where(job: Job) -> Value:
    made = job.operands()
    if job.scheme is not None:
        made = [job.writer.rescaled(x, job.scheme) if x.scheme else x for x in made]
    return job.out("SELECT_V2", made)


def _silu(job: Job) -> Value:
    x = job.operand(0)
    scheme = UNIT if job.eight else None
    gate = job.writer.op("LOGISTIC", [x], x.shape, scheme=scheme)
    return job.out("MUL", [x, gate])


def _clamp(job: Job) -> Value:
    x, limits = job.operand(0), [np.float32(job.attr(key)) for key in ("low", "high")]
    if job.scheme is None:
        low, high = (job.writer.constant(np.array(n), dt.float32) for n in limits)
    else:  # the result's scheme may hold a little more than what lies between
        x = job.writer.rescaled(x, job.scheme)
        stored = (job.scheme.stored(np.array(n)) for n in limits)
        low, high = (job.writer.constant(n, dt.int8, job.scheme) for n in stored)
    return job.out("MINIMUM", [job.out("MAXIMUM", [x, low]), high])


def _same(job: Job) -> Value:
    return job.x()


# -- along one dim --------------------------------------------------------------------------------
def _last_dim(name: str, **options: Any) -> Callable[[Job], Value]:
    """Return how an operator along the last dim is written, for any dim."""

    def write(job: Job) -> Value:
        x, at = job.x(), job.dim(job.attr("dim"))
        if at == job.rank - 1:
            return job.out(name, [x], **options)
        order = (*(d for d in range(job.rank) if d != at), at)
        turned = job.writer.transpose(x, order)
        dtype = dt.int8 if job.eight else dt.float32
        made = job.writer.op(name, [turned], turned.shape, dtype, job.scheme, **options)
        return job.writer.transpose(made, tuple(np.argsort(order).tolist()))

    return write


LAST_DIM: Final = {
    "softmax": Row(_last_dim("SOFTMAX", beta=1.0), FLOAT, "follow", UNIT),
    "log_softmax": Row(_last_dim("LOG_SOFTMAX"), FLOAT, "follow", LOGS),
}


def _row(write: Callable[[Job], Value], dtypes: tuple[dt.DType, ...] = FLOAT, eight: object = "",
         data: int = 0) -> Row:  # fmt: skip
    return Row(write, dtypes, "follow", eight, data)  # type: ignore[arg-type]


POINTWISE: Final = {
    "neg": _row(_as("NEG"), NUMBERS),
    "abs": _row(_abs, NUMBERS),
    "sign": _row(_sign, NUMBERS),
    "exp": _row(_as("EXP")),
    "expm1": _row(_expm1),
    "log": _row(_as("LOG")),
    "log1p": _row(_log1p),
    "sqrt": _row(_as("SQRT")),
    "rsqrt": _row(_as("RSQRT")),
    "sin": _row(_as("SIN")),
    "cos": _row(_as("COS")),
    "tanh": _row(_as("TANH"), eight=TANH),
    "erf": _row(_erf),
    "sigmoid": _row(_as("LOGISTIC"), eight=UNIT),
    "floor": _row(_as("FLOOR")),
    "ceil": _row(_as("CEIL")),
    "trunc": _row(_trunc),
    "round": _row(_as("ROUND")),
    "not": _row(_not, (dt.bool_, *WHOLE)),
    "cast": _row(_cast, (*MANY, dt.float16)),
    "wrap_index": _row(_wrap_index, (dt.int64,)),
    "add": _row(_arithmetic("ADD", "LOGICAL_OR"), BOTH, "own"),
    "sub": _row(_acting("SUB"), NUMBERS, "own"),
    "mul": _row(_arithmetic("MUL", "LOGICAL_AND"), BOTH, "own"),
    "div": _row(_acting("DIV")),
    "floordiv": _row(_as("FLOOR_DIV"), (dt.float32, dt.int32)),
    "mod": _row(_as("FLOOR_MOD"), NUMBERS),
    "pow": _row(_as("POW"), (dt.float32, dt.int32)),
    "maximum": _row(_extreme("MAXIMUM", "LOGICAL_OR"), BOTH, "joint"),
    "minimum": _row(_extreme("MINIMUM", "LOGICAL_AND"), BOTH, "joint"),
    "eq": _row(_as("EQUAL"), BOTH),
    "ne": _row(_as("NOT_EQUAL"), BOTH),
    "lt": _row(_less("LESS", "LOGICAL_AND"), BOTH),
    "le": _row(_less("LESS_EQUAL", "LOGICAL_OR"), BOTH),
    "and": _row(_as("LOGICAL_AND"), (dt.bool_,)),
    "or": _row(_as("LOGICAL_OR"), (dt.bool_,)),
    "xor": _row(_xor, (dt.bool_, dt.int32)),
    "shl": _row(_shl, (dt.int32,)),
    "shr": _row(_as("RIGHT_SHIFT"), (dt.int32,)),
    "where": _row(_where, BOTH, "joint", 1),
    "relu": _row(_as("RELU"), eight="own"),
    "relu6": _row(_as("RELU6"), eight="own"),
    "silu": _row(_silu, eight="own"),
    "elu": _row(_as("ELU"), eight="own"),
    "hard_swish": _row(_as("HARD_SWISH"), eight="own"),
    "leaky_relu": _row(
        lambda job: job.out("LEAKY_RELU", [job.operand(0)], alpha=job.attr("alpha")), eight="own"
    ),
    "gelu": _row(
        lambda job: job.out("GELU", [job.operand(0)], approximate=job.attr("approximate")),
        eight="own",
    ),
    "clamp": _row(_clamp, eight="own"),
    "detach": _row(_same, MANY, "same"),
    "variable": _row(_same, MANY, "same"),
    "function": _row(_same, MANY, "same"),
    "barrier": _row(_same, MANY, "same"),
}
"""Elementwise primitives and layers, and the tape's identities."""
