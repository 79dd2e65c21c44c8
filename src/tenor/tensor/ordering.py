"""Order: sorting, the largest and the middle ones, and places in what is sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.trace import record
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.conversion import from_array
from tenor.tensor.dims import aliased, axis
from tenor.tensor.elementwise import isnan, lerp, where
from tenor.tensor.operands import cast, expand, fitted, result_type
from tenor.tensor.reduction import ValuesIndices, flat, only_floats, reshaped
from tenor.tensor.running import part

if TYPE_CHECKING:
    from tenor.tensor.operands import Number
    from tenor.tensor.tensor import Tensor

__all__ = [
    "argsort", "bucketize", "kthvalue", "median", "mode", "msort", "nanmedian", "quantile",
    "searchsorted", "sort", "topk",
]  # fmt: skip


FEW: Final = 4
"""One in so many, or fewer, are picked out without sorting all."""


# -- sorting ------------------------------------------------------------------------------------
@aliased
def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return the positions that sort a dim; equal elements keep their order, NaN is the largest."""
    del stable
    dim = axis("argsort", dim, len(x.shape_tuple))
    if not x.shape_tuple:
        return reshaped(record(ops.ARGSORT, (flat(x),), (0, bool(descending))), ())
    made: Tensor = record(ops.ARGSORT, (x,), (dim, bool(descending)))
    return made


def _along(x: Tensor, order: Tensor, dim: int) -> Tensor:
    """Return the elements at positions along a dim."""
    if not x.shape_tuple:
        return x.clone()
    made: Tensor = record(ops.TAKE_ALONG, (x, order), (dim,))
    return made


@aliased
def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> ValuesIndices:
    """Return a dim's elements in order, and where they stood.

    Args:
        x: Any tensor.
        dim: The dim to sort along.
        descending: The largest first.
        stable: Accepted for PyTorch's sake; equal elements always keep their order.

    Returns:
        (values, indices), both of x's shape. NaN is the largest.

    Example:
        >>> import tenor as tn
        >>> tn.sort(tn.tensor([3, 1, 2])).indices
        tensor([1, 2, 0])
    """
    order = argsort(x, dim, descending, stable)
    return ValuesIndices(_along(x, order, axis("sort", dim, len(x.shape_tuple))), order)


def msort(x: Tensor) -> Tensor:
    """Return the elements in order along the first dim."""
    return sort(x, 0).values


def _within(name: str, k: int, low: int, high: int) -> None:
    if not low <= k <= high:
        raise ArgumentError(
            f"{name}: k must lie in [{low}, {high}].",
            came=str(k),
            fix="check the extent of the dim",
        )


@aliased
def topk(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """Return the k largest (or smallest) elements of a dim in order, and where they stood.

    Args:
        x: Any tensor.
        k: How many.
        dim: The dim to look along.
        largest: The largest rather than the smallest.
        sorted: Accepted for PyTorch's sake; the result is always in order.

    Raises:
        ArgumentError: k is negative or more than the dim's extent.
    """
    del sorted
    dim = axis("topk", dim, len(x.shape_tuple))
    _within("topk", k, 0, x.shape_tuple[dim] if x.shape_tuple else 1)
    if not x.shape_tuple:
        return ValuesIndices(x.clone(), argsort(x, dim, largest))
    if 0 < FEW * k <= x.shape_tuple[dim]:
        order = record(ops.TOPK, (x,), (dim, k, bool(largest)))
    else:
        order = part(argsort(x, dim, largest), dim, 0, k)
    return ValuesIndices(_along(x, order, dim), order)


# -- one of each line -----------------------------------------------------------------------------
def _picked(x: Tensor, place: Tensor, dim: int, keepdim: bool) -> ValuesIndices:
    """Return the elements at one position of each line, and the positions."""
    value = _along(x, place, dim)
    if keepdim:
        return ValuesIndices(value, place)
    shape = x.shape_tuple[:dim] + x.shape_tuple[dim + 1 :]
    return ValuesIndices(reshaped(value, shape), reshaped(place, shape))


def _line(name: str, x: Tensor, dim: int) -> int:
    """Return a dim that has elements.

    Raises:
        ShapeError: it has none.
    """
    dim = axis(name, dim, len(x.shape_tuple))
    if x.shape_tuple and x.shape_tuple[dim] == 0:
        raise ShapeError(
            f"{name}: a dim with no elements has none to choose.",
            came=f"shape {x.shape_tuple}, dim {dim}",
            fix="check for an empty tensor first",
        )
    return dim


@aliased
def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """Return the k-th smallest element of a dim (k counts from 1), and where it stood.

    Raises:
        ArgumentError: there is no such element.
    """
    dim = axis("kthvalue", dim, len(x.shape_tuple))
    _within("kthvalue", k, 1, x.shape_tuple[dim] if x.shape_tuple else 1)
    order = argsort(x, dim)
    if not x.shape_tuple:
        return ValuesIndices(x.clone(), order)
    return _picked(x, part(order, dim, k - 1, 1), dim, keepdim)


def _middle(x: Tensor, name: str, dim: int | None, keepdim: bool, skip: bool) -> Any:
    """Return medians; those of what is not NaN if `skip`, else NaN where there is one."""
    if dim is None:
        if not x.numel():
            return from_array(np.array(np.nan), x.element_type)
        return _middle(flat(x), name, 0, False, skip).values
    dim = _line(name, x, dim)
    order = argsort(x, dim)
    if not x.shape_tuple:
        return ValuesIndices(x.clone(), order)
    last = x.shape_tuple[dim] - 1
    if x.element_type.kind != "float":
        return _picked(x, part(order, dim, last // 2, 1), dim, keepdim)
    # NaN sorts last, so that the count of what is not NaN tells where the middle is.
    plain = cast(~isnan(x), dt.int64).sum(dim, keepdim=True)
    if skip:
        at = where(plain > 0, (plain - 1) // 2, 0)
    else:
        at = where(plain == last + 1, last // 2, plain)
    return _picked(x, record(ops.TAKE_ALONG, (order, at), (dim,)), dim, keepdim)


@aliased
def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median of all, or along a dim (values, indices); NaN if there is one.

    Of an even number of elements it is the lower of the middle two, as in PyTorch.

    Raises:
        ShapeError: the dim has no elements.
    """
    return _middle(x, "median", dim, keepdim, skip=False)


@aliased
def nanmedian(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median of what is not NaN, of all or along a dim (values, indices).

    Raises:
        ShapeError: the dim has no elements.
    """
    return _middle(x, "nanmedian", dim, keepdim, skip=True)


@aliased
def mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """Return the most frequent element of a dim, the smallest of equally frequent ones.

    Returns:
        (values, indices): the element, and the last place where it stands.

    Raises:
        ShapeError: the dim has no elements.
    """
    dim = _line("mode", x, dim)
    values, order = sort(x, dim)
    if not x.shape_tuple:
        return ValuesIndices(values, order)
    shape = x.shape_tuple
    last = len(shape)
    mine = reshaped(values, (*shape[: dim + 1], 1, *shape[dim + 1 :]))
    others = reshaped(values, (*shape[:dim], 1, *shape[dim:]))
    often = cast(mine == others, dt.int64).sum(dim + 1)
    assert len(often.shape_tuple) == last
    first = record(ops.ARGMAX, (often,), (dim,))
    final = first + record(ops.MAX, (often,), ((dim,), "first")) - 1
    return _picked(x, record(ops.TAKE_ALONG, (order, final), (dim,)), dim, keepdim)


ROUNDINGS = ("linear", "lower", "higher", "nearest", "midpoint")


@aliased
def quantile(
    x: Tensor,
    q: Tensor | float,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Return the values below which fractions q of the elements lie, of all or along a dim.

    Args:
        x: float32 or float64.
        q: A fraction in [0, 1], or a vector of them, which makes a new first dim.
        dim: The dim to look along; all elements if left out.
        keepdim: Whether the dim stays with extent 1.
        interpolation: Between two elements "linear", or one of them: "lower", "higher",
            "nearest"; or their "midpoint".

    Raises:
        ArgumentError: the interpolation is unknown, or a fraction lies outside [0, 1].
        DTypeError: x is not floating.
    """
    only_floats("quantile", x)
    if interpolation not in ROUNDINGS:
        raise ArgumentError(
            "quantile: there is no such interpolation.",
            came=repr(interpolation),
            fix=f"use one of {', '.join(ROUNDINGS)}",
        )
    if isinstance(q, float | int) and not 0 <= q <= 1:
        raise ArgumentError("quantile: q must lie in [0, 1].", came=str(q), fix="give a fraction")
    ndim, several = len(x.shape_tuple), isinstance(q, Handle) and bool(q.shape_tuple)
    if dim is None:
        x, dim, kept = flat(x), 0, (1,) * ndim
    else:
        dim = _line("quantile", x, dim)
        kept = tuple(1 if d == dim else n for d, n in enumerate(x.shape_tuple))
        x = flat(x) if not ndim else x
    made = _quantiles(x, flat(fitted(q, x.element_type)), dim, interpolation)
    front = made.movedim(dim, 0)
    rest = kept if keepdim else tuple(front.shape_tuple[1:])
    return reshaped(front, (*front.shape_tuple[:1], *rest) if several else rest)


def _quantiles(x: Tensor, q: Tensor, dim: int, interpolation: str) -> Tensor:
    """Return quantiles with the fractions along the dim."""
    shape = x.shape_tuple
    values = sort(x, dim).values
    line = tuple(-1 if d == dim else 1 for d in range(len(shape)))
    rank = q.reshape(*line) * (shape[dim] - 1)
    if interpolation in ("lower", "higher", "nearest"):
        rank = {"lower": rank.floor, "higher": rank.ceil, "nearest": rank.round}[interpolation]()
    low, high = flat(rank.floor().long()), flat(rank.ceil().long())
    below, above = (record(ops.TAKE, (values, at), (dim,)) for at in (low, high))
    part_way = rank * 0 + 0.5 if interpolation == "midpoint" else rank - rank.floor()
    made = lerp(below, above, expand(part_way, below.shape_tuple))
    if x.element_type.kind == "float":
        made = where(isnan(x).any(dim, keepdim=True), float("nan"), made)
    return made


# -- places in what is sorted ---------------------------------------------------------------------
def searchsorted(
    sorted_sequence: Tensor, input: Tensor | Number, *, out_int32: bool = False,
    right: bool = False, side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return where values would be put in to keep the last dim in order.

    Args:
        sorted_sequence: Rising along the last dim; a vector, or of the values' leading dims.
        input: The values, a tensor or one number.
        out_int32: int32 positions instead of int64.
        right: Behind equal elements instead of before them.
        side: "left" or "right", the same as `right`.
        sorter: Positions that sort the sequence, where it is not sorted.

    Raises:
        ShapeError: the leading dims differ.
        ArgumentError: side is neither "left" nor "right".
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ArgumentError(
            "searchsorted: side must be 'left' or 'right', and agree with right.",
            came=f"side={side!r}, right={right}",
            fix="give one of the two",
        )
    if sorter is not None:
        sorted_sequence = _along(sorted_sequence, sorter, len(sorter.shape_tuple) - 1)
    dtype = result_type(sorted_sequence, input)
    row, value = cast(sorted_sequence, dtype), fitted(input, dtype)
    shape, wanted = row.shape_tuple, value.shape_tuple
    if not shape or (len(shape) != 1 and shape[:-1] != wanted[:-1]):
        raise ShapeError(
            "searchsorted: the sequence must be a vector, or have the values' leading dims.",
            came=[f"sequence {shape}", f"values {wanted}"],
            fix="expand the sequence",
        )
    found = _found(row, value, right or side == "right")
    return cast(found, dt.int32) if out_int32 else found


def _found(row: Tensor, value: Tensor, right: bool) -> Tensor:
    """Search by halving: the place grows by each power of two that stays before the value."""
    extent, last = row.shape_tuple[-1], len(row.shape_tuple) - 1
    place: Tensor = expand(from_array(np.array(0)), value.shape_tuple)
    step = 1 << extent.bit_length() >> 1
    while step:
        ahead = place + step
        at = where(ahead <= extent, ahead - 1, 0)
        op = ops.TAKE_ALONG if last else ops.TAKE
        there = record(op, (row, at), (last,))
        # Written so that NaN, which is the largest, goes past everything smaller.
        behind = ~(there > value) if right else ~(there >= value)
        place = where((ahead <= extent) & behind, ahead, place)
        step //= 2
    return place


def bucketize(
    x: Tensor | Number, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """Return the number of the bucket between rising boundaries that each element falls into.

    Raises:
        ShapeError: the boundaries are no vector.
    """
    if len(boundaries.shape_tuple) != 1:
        raise ShapeError(
            "bucketize: the boundaries must be a vector.",
            came=f"shape {boundaries.shape_tuple}",
            fix="use searchsorted() for boundaries of each row",
        )
    return searchsorted(boundaries, x, out_int32=out_int32, right=right)
