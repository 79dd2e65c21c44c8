"""Reading and writing at positions along a dim: gather, scatter and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.handle import Handle
from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.tensor.dims import aliased, axis
from tenor.tensor.elementwise import maximum_, minimum_, mul_, where
from tenor.tensor.indexing import wrapped
from tenor.tensor.movement import clone
from tenor.tensor.operands import Number, broadcast_shapes, cast, constant, expand, fitted
from tenor.tensor.reduction import reshaped
from tenor.tensor.running import part, shifted

if TYPE_CHECKING:
    from tenor.ir import dtype as dt
    from tenor.tensor.tensor import Tensor

__all__ = [
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_select",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "take",
    "take_along_dim",
]


def _along(name: str, x: Tensor, dim: int, index: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return x and index with one dim at least, the index in range, and the dim."""
    dim = axis(name, dim, len(x.shape_tuple))
    if not x.shape_tuple:
        x = reshaped(x, (1,))
    if not index.shape_tuple:
        index = reshaped(index, (1,))
    what = "index" if name in FROM_THE_END else "place"
    return x, wrapped(index, x.shape_tuple[dim], what), dim


FROM_THE_END = ("index_fill", "take_along_dim")
"""Where negative indices count from the end, as in PyTorch; `take` is a third."""


def _inside(name: str, x: Tensor, dim: int, index: Tensor) -> None:
    """Refuse an index that has other dims than x, or is longer off `dim`."""
    a, b = x.shape_tuple, index.shape_tuple
    if len(a) != len(b) or any(
        m > n for d, (n, m) in enumerate(zip(a, b, strict=True)) if d != dim
    ):
        raise ShapeError(
            f"{name}: the index must have the tensor's dims and not exceed it off dim {dim}.",
            came=[f"tensor {a}", f"index {b}"],
            fix="expand or slice the index",
        )


@macro
@aliased
def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return x[..., index[..., i, ...], ...]: an element of x along dim for each of index.

    Raises:
        ShapeError: the index has other dims than x, or is longer off `dim`.
        IndexRangeError: an index is out of range; raised when the values are computed.
    """
    return _gathered("gather", x, dim, index)


def _gathered(name: str, x: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = index.shape_tuple
    x, index, dim = _along(name, x, dim, index)
    _inside(name, x, dim, index)
    return reshaped(record(ops.TAKE_ALONG, (x, index), (dim,)), shape)


@aliased
def take_along_dim(x: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Return `gather`, with x and indices first broadcast off `dim`; flattened without one."""
    name = "take_along_dim"
    if dim is None:
        return _gathered(name, reshaped(x, (x.numel(),)), 0, reshaped(indices, (indices.numel(),)))
    a, b = list(x.shape_tuple), list(indices.shape_tuple)
    dim = axis(name, dim, len(a))
    extents = (a[dim], b[dim])
    a[dim] = b[dim] = 1
    wide = list(broadcast_shapes(name, tuple(a), tuple(b)))
    wide[dim] = extents[0]
    x = expand(x, tuple(wide))
    wide[dim] = extents[1]
    return _gathered(name, x, dim, expand(indices, tuple(wide)))


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return the elements of x, flattened, at the indices."""
    made: Tensor = record(ops.TAKE, (reshaped(x, (x.numel(),)), wrapped(index, x.numel())), (0,))
    return made


@aliased
def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return x at the indices of one dim.

    Raises:
        ShapeError: the index has more than one dim.
    """
    _vector("index_select", index)
    shape = x.shape_tuple
    x, index, dim = _along("index_select", x, dim, index)
    made: Tensor = record(ops.TAKE, (x, index), (dim,))
    return made if shape else reshaped(made, ())


def _vector(name: str, index: Tensor) -> None:
    if len(index.shape_tuple) > 1:
        raise ShapeError(
            f"{name}: the index must be a vector.",
            came=f"shape {index.shape_tuple}",
            fix="flatten it, or use x[index]",
        )


def _fitting(name: str, index: Tensor, source: Tensor | Number, dtype: dt.DType) -> Tensor:
    """Return what is scattered, cut to the index's shape and of the target's dtype."""
    shape = index.shape_tuple
    if not isinstance(source, Handle):
        return expand(fitted(source, dtype), shape)
    tensor: Tensor = source
    if source.element_type is not dtype:
        raise DTypeError(
            f"{name}: the source must have the tensor's dtype.",
            came=f"{source.element_type.name} into {dtype.name}",
            fix="convert the source with .to()",
        )
    given = tensor.shape_tuple or (1,)
    if len(given) != len(shape) or any(n > m for n, m in zip(shape, given, strict=True)):
        raise ShapeError(
            f"{name}: the index must have the source's dims and not exceed them.",
            came=[f"index {shape}", f"source {given}"],
            fix="slice the index or expand the source",
        )
    tensor = reshaped(tensor, given)
    if given == shape:
        return tensor
    made: Tensor = record(ops.SLICE, (tensor,), ((0,) * len(shape), shape, (1,) * len(shape)))
    return made


def _scattered(
    name: str, x: Tensor, dim: int, index: Tensor, source: Tensor | Number, mode: str
) -> Tensor:
    shape = x.shape_tuple
    x, index, dim = _along(name, x, dim, index)
    _inside(name, x, dim, index)
    filled = _fitting(name, index, source, x.element_type)
    return reshaped(record(ops.PUT_ALONG, (x, index, filled), (dim, mode)), shape)


@aliased
def scatter(
    x: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Number | None = None,
    reduce: str | None = None,
) -> Tensor:
    """Return x with src (or a number) written at the indices along a dim.

    Of equal indices the last in row-major order stays. reduce="add" adds instead.

    Raises:
        DTypeError: src has another dtype than x.
        ShapeError: index and src do not fit x.
        IndexRangeError: an index is out of range; raised when the values are computed.
    """
    source = src if value is None else value
    if source is None or reduce not in (None, "add"):
        raise ArgumentError(
            "scatter: needs src= or value=; reduce is None or 'add'.",
            came=f"src={src!r}, value={value!r}, reduce={reduce!r}",
            fix="give a source; multiply or extremes are in scatter_reduce",
        )
    return _scattered("scatter", x, dim, index, source, "add" if reduce else "set")


@aliased
def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return x with src added at the indices along a dim, always in row-major order.

    Raises:
        DTypeError: src has another dtype than x.
        ShapeError: index and src do not fit x.
        IndexRangeError: an index is out of range; raised when the values are computed.
    """
    return _scattered("scatter_add", x, dim, index, src, "add")


@aliased
def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Return x with src folded in at the indices along a dim.

    Args:
        x: Where to fold into.
        dim: The dim the indices count.
        index: Where each element of src goes.
        src: Floating or integer, of x's dtype.
        reduce: "sum", "prod", "amax", "amin", or "mean" for the sum divided by the number of
            elements.
        include_self: Whether x's own elements take part where something is folded in.
    """
    if reduce not in FOLDS:
        raise ArgumentError(
            "scatter_reduce: there is no such reduction.",
            came=repr(reduce),
            fix=f"use one of {', '.join(FOLDS)}",
        )
    pair = FOLDS[reduce]
    if pair is not None:
        return _scattered_fold(x, dim, index, src, pair, include_self)
    ones = expand(fitted(1, x.element_type), index.shape_tuple)
    zeros = expand(fitted(0, x.element_type), x.shape_tuple)
    met = scatter_add(zeros, dim, index, ones)
    start = x if include_self else where(met > 0, 0, x)
    total = scatter_add(cast(start, x.element_type), dim, index, src)
    if reduce == "sum":
        return total
    count = met + int(include_self)
    divisor = where(count > 0, count, 1)
    quotient = total / divisor if x.element_type.kind == "float" else total // divisor
    return where(met > 0, quotient, total)  # type: ignore[no-any-return]


FOLDS = {
    "sum": None,
    "mean": None,
    "prod": mul_,
    "amax": maximum_,
    "amin": minimum_,
}
"""How two elements are folded into one; sums are the primitive's own."""


def _scattered_fold(
    x: Tensor, dim: int, index: Tensor, src: Tensor, pair: Any, include_self: bool
) -> Tensor:
    """Fold what goes to one place by sorting it together and combining 1, 2, 4 ... neighbours."""
    shape = x.shape_tuple
    x, index, dim = _along("scatter_reduce", x, dim, index)
    source = _fitting("scatter_reduce", index, src, x.element_type)
    if not index.numel():
        return clone(reshaped(x, shape))
    order = record(ops.ARGSORT, (index,), (dim, False))
    place, value = (record(ops.TAKE_ALONG, (t, order), (dim,)) for t in (index, source))
    length, step = index.shape_tuple[dim], 1
    while step < length:
        together = shifted(place, dim, step, -1) == place
        value = where(together, pair(shifted(value, dim, step, 0), value), value)
        step *= 2
    # The last of each run holds the fold of all of it; the others add nothing.
    after = part(place, dim, 1, length - 1)
    still = (0,) * len(x.shape_tuple)
    end = tuple(int(d == dim) for d in range(len(still)))
    last = record(ops.PAD, (after,), (still, end, -1)) != place
    zeros = expand(constant(0, x.element_type), x.shape_tuple)
    found = scatter_add(zeros, dim, place, where(last, value, 0))
    met = scatter_add(zeros, dim, place, cast(last, x.element_type)) > 0
    return reshaped(where(met, pair(x, found) if include_self else found, x), shape)


def _put_rows(name: str, x: Tensor, dim: int, index: Tensor, source: Tensor, mode: str) -> Tensor:
    """Write or add whole slices at the indices of a dim."""
    _vector(name, index)
    shape = x.shape_tuple
    x, index, dim = _along(name, x, dim, index)
    wanted = (*x.shape_tuple[:dim], *index.shape_tuple, *x.shape_tuple[dim + 1 :])
    if source.numel() != size(wanted) or source.element_type is not x.element_type:
        raise ShapeError(
            f"{name}: the source must have shape {wanted} and dtype {x.element_type.name}.",
            came=f"{source.shape_tuple} {source.element_type.name}",
            fix="one slice of the source for each index",
        )
    filled = reshaped(source, wanted)
    return reshaped(record(ops.PUT, (x, index, filled), (dim, mode)), shape)


@aliased
def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Number = 1) -> Tensor:
    """Return x with alpha times the slices of source added at the indices of a dim."""
    return _put_rows("index_add", x, dim, index, source if alpha == 1 else source * alpha, "add")


@aliased
def index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return x with the slices of source written at the indices of a dim."""
    return _put_rows("index_copy", x, dim, index, source, "set")


@aliased
def index_fill(x: Tensor, dim: int, index: Tensor, value: Tensor | Number) -> Tensor:
    """Return x with one value written at the indices of a dim."""
    shape = x.shape_tuple
    dim = axis("index_fill", dim, len(shape))
    count = index.numel()
    filled = expand(fitted(value, x.element_type), (*shape[:dim], count, *shape[dim + 1 :]))
    return _put_rows("index_fill", x, dim, index, filled, "set")
