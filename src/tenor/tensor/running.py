"""Running results along a dim: sums, products, extremes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.engine.trace import record
from tenor.errors import ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.dims import aliased, axis
from tenor.tensor.elementwise import isnan, where
from tenor.tensor.operands import broadcast_shapes, cast
from tenor.tensor.reduction import ValuesIndices, only_floats, summable, widened
from tenor.tensor.transcendental import logaddexp

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.tensor.operands import Number
    from tenor.tensor.tensor import Tensor

__all__ = [
    "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "diff", "logcumsumexp",
    "trapezoid", "trapz",
]  # fmt: skip


def part(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return a copy of `length` elements along a dim."""
    shape = x.shape_tuple
    starts = (0,) * dim + (start,) + (0,) * (len(shape) - dim - 1)
    sizes = (*shape[:dim], length, *shape[dim + 1 :])
    made: Tensor = record(ops.SLICE, (x,), (starts, sizes, (1,) * len(shape)))
    return made


def shifted(x: Tensor, dim: int, by: int, value: Number) -> Tensor:
    """Return x moved on along a dim, a value coming in."""
    shape = x.shape_tuple
    low = tuple(by if d == dim else 0 for d in range(len(shape)))
    kept = part(x, dim, 0, shape[dim] - by)
    made: Tensor = record(ops.PAD, (kept,), (low, (0,) * len(shape), value))
    return made


@aliased
def cumsum(x: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Return running sums along a dim; integers and bools are summed in int64.

    Example:
        >>> import tenor as tn
        >>> tn.cumsum(tn.tensor([1, 2, 3]), 0)
        tensor([1, 3, 6])
    """
    dim = axis("cumsum", dim, len(x.shape_tuple))
    x = summable(x, dtype)
    if not x.shape_tuple:
        return x.clone()
    made: Tensor = record(ops.CUMSUM, (x,), (dim, False))
    return made


@aliased
def cumprod(x: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Return running products along a dim; integers and bools are multiplied in int64.

    Products of 2, 4, 8 ... neighbours are combined, so gradients are right at zeros too.
    """
    dim = axis("cumprod", dim, len(x.shape_tuple))
    x = summable(x, dtype)
    if not x.shape_tuple:
        return x.clone()
    wide, step = widened(x), 1
    while step < x.shape_tuple[dim]:
        wide = wide * shifted(wide, dim, step, 1)
        step *= 2
    return x.clone() if wide is x else cast(wide, x.element_type)


@aliased
def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """Return running log(sum(exp(x))) along a dim, without overflow.

    Raises:
        DTypeError: x is not floating.
    """
    only_floats("logcumsumexp", x)
    dim = axis("logcumsumexp", dim, len(x.shape_tuple))
    if not x.shape_tuple:
        return x.clone()
    wide, step = widened(x), 1
    while step < x.shape_tuple[dim]:
        before = shifted(wide, dim, step, 0)
        place = _places(wide, dim)
        wide = where(place < step, wide, logaddexp(before, wide))
        step *= 2
    return x.clone() if wide is x else cast(wide, x.element_type)


def _places(x: Tensor, dim: int) -> Tensor:
    """Return each element's position along a dim, as extents of 1 elsewhere."""
    shape = x.shape_tuple
    line = record(ops.IOTA, (), (shape[dim], dt.int64))
    wanted = tuple(n if d == dim else 1 for d, n in enumerate(shape))
    made: Tensor = record(ops.RESHAPE, (line,), (wanted,))
    return made


def _extremes(
    x: Tensor, dim: int, name: str, beats: Callable[[Tensor, Tensor], Tensor]
) -> ValuesIndices:
    """Return running extremes: the best of 2, 4, 8 ... neighbours, the later of equal ones."""
    dim = axis(name, dim, len(x.shape_tuple))
    shape = x.shape_tuple
    if not shape:
        return ValuesIndices(x.clone(), cast(x * 0, dt.int64))
    plain = x.detach()
    place = record(ops.EXPAND, (_places(x, dim),), (shape,))
    value, start, step = plain, _places(x, dim), 1
    while step < shape[dim]:
        before, earlier = shifted(value, dim, step, 0), shifted(place, dim, step, 0)
        later = beats(value, before)
        if x.element_type.kind == "float":
            later = isnan(value) | (later & ~isnan(before))
        later = later | (start < step)
        value, place = where(later, value, before), where(later, place, earlier)
        step *= 2
    return ValuesIndices(record(ops.TAKE_ALONG, (x, place), (dim,)), place)


@aliased
def cummax(x: Tensor, dim: int) -> ValuesIndices:
    """Return running maxima along a dim, and where they stood; the last of equal ones."""
    return _extremes(x, dim, "cummax", lambda a, b: a >= b)


@aliased
def cummin(x: Tensor, dim: int) -> ValuesIndices:
    """Return running minima along a dim, and where they stood; the last of equal ones."""
    return _extremes(x, dim, "cummin", lambda a, b: a <= b)


@aliased
def diff(
    x: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Return differences of neighbours along a dim, taken n times.

    Raises:
        ShapeError: x has no dims.
    """
    if not x.shape_tuple:
        raise ShapeError("diff: expects one dim at least.", came="shape ()", fix="reshape to (1,)")
    dim = axis("diff", dim, len(x.shape_tuple))
    parts = [t for t in (prepend, x, append) if t is not None]
    if len(parts) > 1:
        x = record(ops.CONCAT, tuple(parts), (dim,))
    for _ in range(min(n, x.shape_tuple[dim])):
        extent = x.shape_tuple[dim] - 1
        high, low = part(x, dim, 1, extent), part(x, dim, 0, extent)
        x = high ^ low if x.element_type is dt.bool_ else high - low
    return x


def _steps(y: Tensor, x: Tensor | None, dx: Number, dim: int) -> Tensor:
    """Return the area between neighbours: half their sum times their distance."""
    extent = max(y.shape_tuple[dim] - 1, 0)
    both = part(y, dim, min(1, y.shape_tuple[dim]), extent) + part(y, dim, 0, extent)
    if x is None:
        return both * (dx / 2)
    if len(x.shape_tuple) == 1 and len(y.shape_tuple) > 1:
        wanted = tuple(-1 if d == dim else 1 for d in range(len(y.shape_tuple)))
        x = x.reshape(*wanted)
    width = diff(x, 1, dim - len(y.shape_tuple))
    broadcast_shapes("trapezoid", both.shape_tuple, width.shape_tuple)
    return both * width / 2


@aliased
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Number = 1, dim: int = -1) -> Tensor:
    """Return the integral along a dim by the trapezoidal rule.

    Args:
        y: Heights.
        x: Where they stand; `dx` apart if left out.
        dx: The distance of neighbours.
        dim: The dim to integrate along.
    """
    dim = axis("trapezoid", dim, len(y.shape_tuple))
    return _steps(y, x, dx, dim).sum(dim)


@aliased
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Number = 1, dim: int = -1
) -> Tensor:
    """Return running integrals along a dim by the trapezoidal rule; see `trapezoid`."""
    dim = axis("cumulative_trapezoid", dim, len(y.shape_tuple))
    return cumsum(_steps(y, x, dx, dim), dim)


trapz = trapezoid
