"""Functions that fold dims away: sums, means, extremes, norms, and what is made of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tenor.engine.handle import Handle
from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.tensor.dims import Dims, aliased, axes, axis
from tenor.tensor.elementwise import abs as magnitude
from tenor.tensor.elementwise import exp, log, maximum_, minimum_, ne_, sqrt, truth, where
from tenor.tensor.operands import Number, cast, constant, expand, floating, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.node import Shape
    from tenor.ir.op import Op
    from tenor.tensor.tensor import Tensor

__all__ = [
    "ValuesIndices", "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero",
    "log_softmax", "logsumexp", "max", "mean", "min", "norm", "prod", "softmax", "std", "std_mean",
    "sum", "var", "var_mean",
]  # fmt: skip


class MinMax(NamedTuple):
    """The smallest and the largest value."""

    min: Tensor
    max: Tensor


class ValuesIndices(NamedTuple):
    """Values, and where along the dim they stood."""

    values: Tensor
    indices: Tensor


def flat(x: Tensor) -> Tensor:
    """Return the elements in one dim, as a value of its own."""
    shape = x.shape_tuple
    return x if len(shape) == 1 else record(ops.RESHAPE, (x,), ((size(shape),),))


def reshaped(x: Tensor, shape: Shape) -> Tensor:
    """Return the elements in a shape, as a value of its own."""
    return x if x.shape_tuple == shape else record(ops.RESHAPE, (x,), (shape,))


def fold(x: Tensor, op: Op, name: str, dim: Dims, keepdim: bool, *attrs: Any) -> Tensor:
    """Record a reduction; all dims at once are first made one.

    The primitive keeps reduced dims with extent 1; they are reshaped away unless kept.
    """
    shape = x.shape_tuple
    dims = axes(name, dim, len(shape))
    if len(dims) == len(shape):
        whole = record(op, (flat(x),), ((0,), *attrs))
        return reshaped(whole, (1,) * len(shape) if keepdim else ())
    made: Tensor = record(op, (x,), (dims, *attrs))
    if keepdim:
        return made
    return reshaped(made, tuple(n for i, n in enumerate(shape) if i not in dims))


def counted(x: Tensor, name: str, dim: Dims) -> int:
    """Return how many elements each result of a reduction is made of."""
    shape = x.shape_tuple
    return size(shape[d] for d in axes(name, dim, len(shape)))


def only_floats(name: str, x: Tensor) -> None:
    """Refuse integers, whose mean is seldom an integer.

    Raises:
        DTypeError: x is not floating.
    """
    if x.element_type.kind != "float":
        raise DTypeError(
            f"{name}: is defined for floating dtypes.",
            came=x.element_type.name,
            fix=f"convert with .float(), or give dtype=, e.g. x.float().{name}()",
        )


def widened(x: Tensor) -> Tensor:
    """Return float16 and bfloat16 in float32, so that a composition is rounded once."""
    return cast(x, x.element_type.compute)


# -- sums and products --------------------------------------------------------------------------
def summable(x: Tensor, dtype: DType | None) -> Tensor:
    """Return x in the dtype it is summed in: integers and bools in int64, else its own."""
    if dtype is not None:
        return cast(x, dt.of(dtype))
    return raised(x) if x.element_type.kind == "float" else cast(x, dt.int64)


@macro
@aliased
def sum(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Return the sum over dims; integers and bools are summed in int64."""
    return fold(summable(x, dtype), ops.SUM, "sum", dim, keepdim)


@aliased
def prod(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Return the product over dims; integers and bools are multiplied in int64."""
    return fold(summable(x, dtype), ops.PROD, "prod", dim, keepdim)


@macro
@aliased
def mean(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Return the mean over dims; NaN over no elements.

    Raises:
        DTypeError: x is not floating and no floating dtype is asked for.
    """
    if dtype is not None:
        x = cast(x, dt.of(dtype))
    only_floats("mean", x)
    wide = widened(x)
    total = fold(wide, ops.SUM, "mean", dim, keepdim)
    count = constant(counted(x, "mean", dim), wide.element_type)
    return cast(record(ops.DIV, (total, count)), x.element_type)


def _spread_of(
    x: Tensor, name: str, dim: Dims, correction: float, keepdim: bool
) -> tuple[Tensor, Tensor]:
    """Return the variance and the mean, in the dtype they are worked out in."""
    only_floats(name, x)
    wide = widened(x)
    middle = mean(wide, dim, keepdim=True)
    apart = wide - middle
    total = fold(apart * apart, ops.SUM, name, dim, keepdim)
    free = counted(x, name, dim) - correction
    divisor = constant(free if free > 0 else 0, wide.element_type)
    shape = total.shape_tuple
    return record(ops.DIV, (total, divisor)), reshaped(middle, shape)


def _correction(unbiased: bool | None, correction: Number) -> Number:
    return correction if unbiased is None else int(unbiased)


@macro
@aliased
def var(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number = 1,
) -> Tensor:
    """Return sum((x - mean)^2) / (n - correction) over dims.

    Args:
        x: Floating.
        dim: Dims to fold; all by default. A bool stands for `unbiased`, as in PyTorch.
        unbiased: True for a correction of 1, False for 0.
        keepdim: Whether the dims stay with extent 1.
        correction: Degrees of freedom taken off.

    Raises:
        DTypeError: x is not floating.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    found, _ = _spread_of(x, "var", dim, _correction(unbiased, correction), keepdim)
    return cast(found, x.element_type)


@macro
@aliased
def std(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number = 1,
) -> Tensor:
    """Return the square root of the variance; arguments as for `var`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    found, _ = _spread_of(x, "std", dim, _correction(unbiased, correction), keepdim)
    return cast(_root(found), x.element_type)


@macro
@aliased
def var_mean(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number = 1,
) -> tuple[Tensor, Tensor]:
    """Return the variance and the mean over dims; arguments as for `var`.

    Raises:
        DTypeError: x is not floating.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    free = _correction(unbiased, correction)
    found, middle = _spread_of(x, "var_mean", dim, free, keepdim)
    return cast(found, x.element_type), cast(middle, x.element_type)


@macro
@aliased
def std_mean(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number = 1,
) -> tuple[Tensor, Tensor]:
    """Return the standard deviation and the mean over dims; arguments as for `var`.

    Raises:
        DTypeError: x is not floating.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    free = _correction(unbiased, correction)
    found, middle = _spread_of(x, "std_mean", dim, free, keepdim)
    return cast(_root(found), x.element_type), cast(middle, x.element_type)


# -- extremes -----------------------------------------------------------------------------------
@aliased
def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the maximum over dims; equal maxima share the gradient.

    Raises:
        ShapeError: there is nothing to take the maximum of.
    """
    return fold(x, ops.MAX, "amax", dim, keepdim, "even")


@aliased
def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the minimum over dims; equal minima share the gradient.

    Raises:
        ShapeError: there is nothing to take the minimum of.
    """
    return fold(x, ops.MIN, "amin", dim, keepdim, "even")


@aliased
def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """Return the minimum and the maximum, over a dim or all.

    Raises:
        ShapeError: there is nothing to take them of.
    """
    return MinMax(amin(x, dim, keepdim), amax(x, dim, keepdim))


@aliased
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return where the maximum stands (the first of equal ones), along a dim or flattened."""
    return _position(x, ops.ARGMAX, "argmax", dim, keepdim)


@aliased
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return where the minimum stands (the first of equal ones), along a dim or flattened."""
    return _position(x, ops.ARGMIN, "argmin", dim, keepdim)


def _position(x: Tensor, op: Op, name: str, dim: int | None, keepdim: bool) -> Tensor:
    shape = x.shape_tuple
    if dim is None or not shape:
        if dim is not None:
            axis(name, dim, 0)
        whole = record(op, (flat(x),), (0,))
        return reshaped(whole, (1,) * len(shape) if keepdim else ())
    dim = axis(name, dim, len(shape))
    made: Tensor = record(op, (x,), (dim,))
    return made if keepdim else reshaped(made, shape[:dim] + shape[dim + 1 :])


def _extreme(x: Tensor, name: str, dim: Any, keepdim: bool, other: Tensor | None) -> Any:
    """Do what PyTorch's max and min do: of all, of two tensors, or along a dim with positions."""
    reduce, position, pair = EXTREMES[name]
    if isinstance(dim, Handle) or other is not None:
        return pair(x, dim if other is None else other)
    if dim is None:
        return fold(x, reduce, name, None, keepdim, "even")
    dim = axis(name, dim, len(x.shape_tuple))
    values = fold(x, reduce, name, dim, keepdim, "first")
    return ValuesIndices(values, _position(x, position, name, dim, keepdim))


EXTREMES = {"max": (ops.MAX, ops.ARGMAX, maximum_), "min": (ops.MIN, ops.ARGMIN, minimum_)}


@aliased
def max(x: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """Return the maximum of all; along a dim, (values, indices); of two tensors, the larger.

    Raises:
        ShapeError: there is nothing to take the maximum of.
    """
    return _extreme(x, "max", dim, keepdim, other)


@aliased
def min(x: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """Return the minimum of all; along a dim, (values, indices); of two tensors, the smaller.

    Raises:
        ShapeError: there is nothing to take the minimum of.
    """
    return _extreme(x, "min", dim, keepdim, other)


# -- truth --------------------------------------------------------------------------------------
def _quantified(x: Tensor, name: str, dim: Dims, keepdim: bool) -> Tensor:
    """Fold truth as the extreme of 0 and 1; over no elements the answer is the neutral one."""
    op, neutral = (ops.MAX, False) if name == "any" else (ops.MIN, True)
    shape = x.shape_tuple
    dims = axes(name, dim, len(shape))
    wanted = dt.uint8 if x.element_type is dt.uint8 else dt.bool_  # as in PyTorch
    if counted(x, name, dim) == 0:
        kept = [1 if i in dims else n for i, n in enumerate(shape) if keepdim or i not in dims]
        return expand(constant(neutral, wanted), tuple(kept))
    return cast(fold(cast(truth(x), dt.int32), op, name, dim, keepdim, "first"), wanted)


@aliased
def any(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether any element over dims differs from 0."""
    return _quantified(x, "any", dim, keepdim)


@aliased
def all(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether every element over dims differs from 0."""
    return _quantified(x, "all", dim, keepdim)


@aliased
def count_nonzero(x: Tensor, dim: Dims = None) -> Tensor:
    """Return how many elements over dims differ from 0."""
    return sum(truth(x), dim)


# -- norms and softmax --------------------------------------------------------------------------
@aliased
def norm(
    x: Tensor,
    p: float | str = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Return the p-norm of the elements over dims.

    (sum |x|^p)^(1/p); the largest |x| for p = inf, the smallest for -inf, the number of elements
    that are not 0 for p = 0. "fro" is 2.

    Raises:
        DTypeError: x is not floating.
    """
    if dtype is not None:
        x = cast(x, dt.of(dtype))
    only_floats("norm", x)
    x = raised(x)
    wide = widened(x)
    return cast(_norm(wide, 2.0 if p == "fro" else _order(p), dim, keepdim), x.element_type)


def _order(p: float | str) -> float:
    try:
        return float(p)
    except ValueError:
        raise ArgumentError(
            "norm: p must be a number or 'fro'.", came=repr(p), fix="give p=2 for the usual norm"
        ) from None


def _norm(x: Tensor, p: float, dim: Dims, keepdim: bool) -> Tensor:
    if p == math.inf:
        return amax(magnitude(x), dim, keepdim)
    if p == -math.inf:
        return amin(magnitude(x), dim, keepdim)
    if p == 0:
        return sum(cast(ne_(x, 0), x.element_type), dim, keepdim)
    if p == 1:
        return sum(magnitude(x), dim, keepdim)
    if p == 2:
        return _root(sum(x * x, dim, keepdim))
    high = magnitude(x)
    if p < 0:
        return sum(high**p, dim, keepdim) ** (1.0 / p)
    powers = _from_zero(high, lambda h: h**p) if p < 1 else high**p
    return _from_zero(sum(powers, dim, keepdim), lambda total: total ** (1.0 / p))


def _from_zero(x: Tensor, curve: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a curve through (0, 0); its slope there is taken to be 0 rather than infinite."""
    zero = x == 0
    return where(zero, 0.0, curve(where(zero, 1.0, x)))  # type: ignore[no-any-return]


def _root(squares: Tensor) -> Tensor:
    """Return the square root, with a slope of 0 at 0."""
    return _from_zero(squares, sqrt)


def _peak(x: Tensor, name: str, dim: Dims) -> Tensor:
    """Return the maximum to subtract before exponentials, 0 where it is infinite; a constant."""
    high = fold(x.detach(), ops.MAX, name, dim, True, "first")
    return where(magnitude(high) == math.inf, 0.0, high)  # type: ignore[no-any-return]


@macro
@aliased
def logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over dims, without overflow; -inf over no elements."""
    x = floating(x)
    wide = widened(x)
    if counted(x, "logsumexp", dim) == 0:
        return cast(log(sum(exp(wide), dim, keepdim)), x.element_type)
    peak = _peak(wide, "logsumexp", dim)
    total = log(sum(exp(wide - peak), dim, keepdim))
    return cast(total + reshaped(peak, total.shape_tuple), x.element_type)


def _normal_dim(x: Tensor, name: str, dim: int | None) -> int:
    only_floats(name, x)
    if dim is None:
        raise ArgumentError(
            f"{name}: needs the dim along which the results sum to one.",
            came="dim=None",
            fix="give dim=-1 for the last",
        )
    return axis(name, dim, len(x.shape_tuple))


@macro
@aliased
def softmax(x: Tensor, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """Return exp(x) / sum(exp(x)) along a dim, without overflow.

    Raises:
        DTypeError: x is not floating.
    """
    if dtype is not None:
        x = cast(x, dt.of(dtype))
    x = raised(x)
    dim = _normal_dim(x, "softmax", dim)
    if not x.numel():
        return x.clone()
    wide = widened(x)
    grown = exp(wide - fold(wide.detach(), ops.MAX, "softmax", dim, True, "first"))
    return cast(grown / fold(grown, ops.SUM, "softmax", dim, True), x.element_type)


@macro
@aliased
def log_softmax(x: Tensor, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """Return log(softmax(x)) along a dim: x - logsumexp(x).

    Raises:
        DTypeError: x is not floating.
    """
    if dtype is not None:
        x = cast(x, dt.of(dtype))
    x = raised(x)
    dim = _normal_dim(x, "log_softmax", dim)
    if not x.numel():
        return x.clone()
    wide = widened(x)
    low = wide - fold(wide.detach(), ops.MAX, "log_softmax", dim, True, "first")
    total = log(fold(exp(low), ops.SUM, "log_softmax", dim, True))
    return cast(low - total, x.element_type)


def same_extent(name: str, tensors: Sequence[Tensor]) -> None:
    """Refuse tensors of different shapes.

    Raises:
        ShapeError: two differ.
    """
    if len({t.shape_tuple for t in tensors}) > 1:
        raise ShapeError(
            f"{name}: all tensors must have one shape.",
            came=[str(t.shape_tuple) for t in tensors],
            fix="expand or reshape them first",
        )
