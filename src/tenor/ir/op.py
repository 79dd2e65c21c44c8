"""The primitive operations, one row each. Everything else is composition in `tensor` and `nn`.

Shapes: an elementwise op's inputs have the output's shape, or shape () (a scalar that meets every
element). dtypes: an elementwise op's inputs have one dtype; `cast` is written out. Reductions keep
the reduced dims with extent 1; dims are non-negative and ascending.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OPS", "Op"]


class Op:
    """A primitive: its name, family, and the names of its static attributes.

    Attributes:
        name: The name, as in IR text.
        family: "parameter", "constant", "elementwise", "reduce", "movement", "index",
            "contraction", "order" or "tape".
        arity: Number of inputs; -1 for any number.
        attrs: Names of the static attributes, in order.
        meaning: What it computes.
    """

    __slots__ = ("arity", "attrs", "family", "meaning", "name")

    def __init__(self, name: str, family: str, arity: int, attrs: str, meaning: str) -> None:
        self.name = name
        self.family = family
        self.arity = arity
        self.attrs = tuple(attrs.split())
        self.meaning = meaning

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name.upper()


OPS: Final[dict[str, Op]] = {}


def row(name: str, family: str, arity: int, attrs: str, meaning: str) -> Op:
    """Add a primitive to the table."""
    OPS[name] = Op(name, family, arity, attrs, meaning)
    return OPS[name]


# What a graph is given.
LEAF: Final = row("leaf", "parameter", 0, "shape dtype", "a tensor given at run time")
SCALAR: Final = row(
    "scalar", "parameter", 0, "dtype", "a Python number given at run time; shape ()"
)
# What it makes from nothing.
CONST: Final = row(
    "const", "constant", 0, "value dtype", "a number known while recording; shape ()"
)
IOTA: Final = row("iota", "constant", 0, "length dtype", "0, 1, ... length-1; shape (length,)")
RANDOM_BITS: Final = row(
    "random_bits", "constant", 2, "shape",
    "uint32 words of Philox4x32-10; inputs: int64 scalars seed and offset. Element i of the "
    "flattened output is word i%4 of the block with counter (offset + i//4) and key seed",
)  # fmt: skip

# Elementwise, one input.
NEG: Final = row("neg", "elementwise", 1, "", "-x")
ABS: Final = row("abs", "elementwise", 1, "", "|x|")
SIGN: Final = row("sign", "elementwise", 1, "", "-1, 0 or 1; NaN for NaN")
EXP: Final = row("exp", "elementwise", 1, "", "e to the x")
EXPM1: Final = row("expm1", "elementwise", 1, "", "e to the x, minus 1")
LOG: Final = row("log", "elementwise", 1, "", "natural logarithm")
LOG1P: Final = row("log1p", "elementwise", 1, "", "log(1 + x)")
SQRT: Final = row("sqrt", "elementwise", 1, "", "square root")
RSQRT: Final = row("rsqrt", "elementwise", 1, "", "1 / sqrt(x)")
SIN: Final = row("sin", "elementwise", 1, "", "sine")
COS: Final = row("cos", "elementwise", 1, "", "cosine")
TANH: Final = row("tanh", "elementwise", 1, "", "hyperbolic tangent")
ERF: Final = row("erf", "elementwise", 1, "", "error function")
SIGMOID: Final = row("sigmoid", "elementwise", 1, "", "1 / (1 + exp(-x))")
FLOOR: Final = row("floor", "elementwise", 1, "", "largest integer not above x")
CEIL: Final = row("ceil", "elementwise", 1, "", "smallest integer not below x")
TRUNC: Final = row("trunc", "elementwise", 1, "", "x without its fraction")
ROUND: Final = row("round", "elementwise", 1, "", "nearest integer, ties to even")
NOT: Final = row("not", "elementwise", 1, "", "bitwise (integers) or logical (bool) complement")
CAST: Final = row(
    "cast", "elementwise", 1, "dtype", "the value in another dtype; float to int truncates"
)
WRAP_INDEX: Final = row(
    "wrap_index", "elementwise", 1, "size what",
    "an index in range: what 'index', x + size where x < 0, else x, in [-size, size); "
    "'place', 'row' or 'label', x itself, in [0, size). "
    "Out of range is an error, raised after the run",
)  # fmt: skip
QUANTIZE: Final = row(
    "quantize", "elementwise", 1, "zero_point low high",
    "int8: x rounded to nearest, ties to even, plus zero_point, clamped to [low, high]; NaN is low",
)  # fmt: skip
# Elementwise, two inputs.
ADD: Final = row("add", "elementwise", 2, "", "a + b; or for bool")
SUB: Final = row("sub", "elementwise", 2, "", "a - b")
MUL: Final = row("mul", "elementwise", 2, "", "a * b; and for bool")
DIV: Final = row("div", "elementwise", 2, "", "a / b, floats only")
FLOORDIV: Final = row("floordiv", "elementwise", 2, "", "floor(a / b)")
MOD: Final = row("mod", "elementwise", 2, "", "a - floor(a / b) * b, the sign of b")
POW: Final = row("pow", "elementwise", 2, "", "a to the power b")
MAXIMUM: Final = row("maximum", "elementwise", 2, "", "the larger; NaN if either is")
MINIMUM: Final = row("minimum", "elementwise", 2, "", "the smaller; NaN if either is")
EQ: Final = row("eq", "elementwise", 2, "", "a == b, bool")
NE: Final = row("ne", "elementwise", 2, "", "a != b, bool")
LT: Final = row("lt", "elementwise", 2, "", "a < b, bool")
LE: Final = row("le", "elementwise", 2, "", "a <= b, bool")
AND: Final = row("and", "elementwise", 2, "", "bitwise or logical and")
OR: Final = row("or", "elementwise", 2, "", "bitwise or logical or")
XOR: Final = row("xor", "elementwise", 2, "", "bitwise or logical exclusive or")
SHL: Final = row("shl", "elementwise", 2, "", "a << b")
SHR: Final = row("shr", "elementwise", 2, "", "a >> b, arithmetic for signed")
WHERE: Final = row(
    "where", "elementwise", 3, "", "a if condition (bool) else b; inputs condition, a, b"
)

# Reductions; the reduced dims stay with extent 1.
SUM: Final = row(
    "sum", "reduce", 1, "dims", "sum over dims; float16 and bfloat16 accumulate in float32"
)
PROD: Final = row("prod", "reduce", 1, "dims", "product over dims")
MAX: Final = row(
    "max",
    "reduce",
    1,
    "dims ties",
    "maximum over dims; ties: 'even' shares the gradient, 'first' gives it to the first",
)
MIN: Final = row("min", "reduce", 1, "dims ties", "minimum over dims; ties as for max")
ARGMAX: Final = row(
    "argmax", "reduce", 1, "dim", "int64 position of the first maximum (or NaN) along one dim"
)
ARGMIN: Final = row(
    "argmin", "reduce", 1, "dim", "int64 position of the first minimum (or NaN) along one dim"
)

# Movement: which element stands where.
RESHAPE: Final = row("reshape", "movement", 1, "shape", "the same elements in row-major order")
EXPAND: Final = row(
    "expand", "movement", 1, "shape", "NumPy's broadcast_to: new leading dims, extent 1 repeated"
)
PERMUTE: Final = row("permute", "movement", 1, "dims", "output dim i is input dim dims[i]")
SLICE: Final = row(
    "slice",
    "movement",
    1,
    "starts sizes steps",
    "output[i] = x[starts + i * steps]; steps may be negative",
)
PAD: Final = row(
    "pad", "movement", 1, "low high value", "low and high elements of a constant around each dim"
)
UNFOLD: Final = row(
    "unfold",
    "movement",
    1,
    "dim size step dilation",
    "sliding windows: output[..., w, ..., k] = x[..., w*step + k*dilation, ...], k a new last dim",
)
FOLD: Final = row(
    "fold",
    "movement",
    1,
    "dim length step dilation",
    "unfold transposed: window entries added back at their places, along that length",
)
CONCAT: Final = row("concat", "movement", -1, "dim", "the inputs one after another along dim")
SLICE_UPDATE: Final = row(
    "slice_update",
    "movement",
    2,
    "starts steps",
    "x with value written at starts + i * steps; inputs x, value",
)

# Indices are int64 and already in range (see wrap_index).
TAKE: Final = row(
    "take", "index", 2, "dim", "output[a, i, b] = x[a, index[i], b]; index's dims replace dim"
)
TAKE_ALONG: Final = row(
    "take_along",
    "index",
    2,
    "dim",
    "torch.gather: output[..., i, ...] = x[..., index[..., i, ...], ...]",
)
PUT: Final = row(
    "put",
    "index",
    3,
    "dim mode",
    "x, index, source: x with source set or added at index along dim, in index order",
)
PUT_ALONG: Final = row(
    "put_along",
    "index",
    3,
    "dim mode",
    "torch.scatter / scatter_add; inputs x, index, source; in row-major order",
)

# Contractions.
MATMUL: Final = row("matmul", "contraction", 2, "", "[..., M, K] @ [..., K, N]; leading dims equal")
MATMUL_INT8: Final = row(
    "matmul_int8",
    "contraction",
    2,
    "",
    "a @ b^T of a [M, K] uint8 or int8 and b [N, K] int8, summed in int32 (modulo 2^32, so "
    "exactly for K up to 65,793)",
)
CONV: Final = row(
    "conv",
    "contraction",
    2,
    "stride padding dilation groups",
    "cross-correlation of x [N, C, *S] with w [O, C/groups, *K]; padding is ((low, high), ...)",
)
CONV_INT8: Final = row(
    "conv_int8",
    "contraction",
    2,
    "stride padding dilation groups fill",
    "conv of int8 x and w, summed in int32 (modulo 2^32); padding holds the number fill",
)
CONV_INPUT: Final = row(
    "conv_input",
    "contraction",
    2,
    "shape stride padding dilation groups",
    "the input gradient of conv, from w and g [N, O, *P]; shape is x's; inputs g, w",
)
CONV_WEIGHT: Final = row(
    "conv_weight",
    "contraction",
    2,
    "shape stride padding dilation groups",
    "the weight gradient of conv, from x and g; shape is w's; inputs x, g",
)

ATTENTION: Final = row(
    "attention",
    "contraction",
    -1,
    "causal scale",
    "softmax(scale q k^T + mask) v from q [N, H, T, D], k [N, H, S, D], v [N, H, S, E] and perhaps "
    "a mask [N or 1, H or 1, T or 1, S], as [N, T, H, E]; causal: position t looks at positions up "
    "to t; 0 where a mask of -inf leaves nothing to look at",
)
ATTENTION_GRADIENT: Final = row(
    "attention_gradient",
    "contraction",
    -1,
    "causal scale",
    "the gradients of attention, from q, k, v, g [N, T, H, E] and perhaps a mask: those of q "
    "[N, T, H, D], k [N, S, H, D] and v [N, S, H, E] one after another; 1-d",
)

# Order.
CUMSUM: Final = row(
    "cumsum", "order", 1, "dim reverse", "running sum along dim, from the end when reverse"
)
ARGSORT: Final = row(
    "argsort",
    "order",
    1,
    "dim descending",
    "int64 positions that sort along dim; stable; NaN is the largest",
)
TOPK: Final = row("topk", "order", 1, "dim k descending", "the first k of argsort along dim")

# The tape: identities that mean something to autograd or to the optimiser.
DETACH: Final = row("detach", "tape", 1, "", "x, with no gradient")
VARIABLE: Final = row("variable", "tape", 1, "", "x as a new leaf that requires a gradient")
FUNCTION: Final = row(
    "function", "tape", -1, "index", "input 0, whose gradient a custom Function gives"
)
BARRIER: Final = row(
    "barrier",
    "tape",
    -1,
    "",
    "input 0, never merged with an equal value, and computed after the other inputs (recomputation "
    "stays recomputed, and waits until it is wanted)",
)
