"""Order: running sums and extremes, sorting, and what is found by sorting or searching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.trace import record
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.dims import aliased, axis
from tenor.tensor.elementwise import isnan, maximum_, where
from tenor.tensor.movement import sliced
from tenor.tensor.operands import cast
from tenor.tensor.reduction import ValuesIndices, flat, reshaped

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = [
    "argsort", "bincount", "cumprod", "cumsum", "kthvalue", "median", "msort", "nonzero", "sort",
    "topk", "unique",
]  # fmt: skip


# -- running ------------------------------------------------------------------------------------
def _summed(x: Tensor, dtype: DType | None) -> Tensor:
    if dtype is not None:
        return cast(x, dt.of(dtype))
    return x if x.element_type.kind == "float" else cast(x, dt.int64)


@aliased
def cumsum(x: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Return running sums along a dim; integers and bools are summed in int64."""
    dim = axis("cumsum", dim, len(x.shape_tuple))
    x = _summed(x, dtype)
    if not x.shape_tuple:
        return x.clone()
    made: Tensor = record(ops.CUMSUM, (x,), (dim, False))
    return made


def _shifted(x: Tensor, dim: int, by: int, value: float) -> Tensor:
    """Return x moved on along a dim, a value coming in."""
    shape = x.shape_tuple
    low = tuple(by if d == dim else 0 for d in range(len(shape)))
    kept = sliced(x, dim, 0, shape[dim] - by)
    made: Tensor = record(ops.PAD, (kept,), (low, (0,) * len(shape), value))
    return made


@aliased
def cumprod(x: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Return running products along a dim; integers and bools are multiplied in int64."""
    dim = axis("cumprod", dim, len(x.shape_tuple))
    x = _summed(x, dtype)
    if not x.shape_tuple:
        return x.clone()
    step = 1
    while step < x.shape_tuple[dim]:
        x = x * _shifted(x, dim, step, 1)
        step *= 2
    return x


# -- sorting ------------------------------------------------------------------------------------
@aliased
def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return the positions that sort a dim; equal elements keep their order, NaN is the largest."""
    del stable
    dim = axis("argsort", dim, len(x.shape_tuple))
    if not x.shape_tuple:
        return reshaped(record(ops.ARGSORT, (flat(x),), (0, descending)), ())
    made: Tensor = record(ops.ARGSORT, (x,), (dim, bool(descending)))
    return made


def _along(x: Tensor, order: Tensor, dim: int) -> Tensor:
    if not x.shape_tuple:
        return x.clone()
    made: Tensor = record(ops.TAKE_ALONG, (x, order), (dim,))
    return made


@aliased
def sort(
    x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True
) -> ValuesIndices:
    """Return a dim's elements in order, and where they stood (values, indices)."""
    order = argsort(x, dim, descending, stable)
    return ValuesIndices(_along(x, order, axis("sort", dim, len(x.shape_tuple))), order)


def msort(x: Tensor) -> Tensor:
    """Return the elements in order along the first dim."""
    return sort(x, 0).values


@aliased
def topk(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """Return the k largest (or smallest) elements of a dim in order, and where they stood.

    Raises:
        ArgumentError: k is negative or more than the dim's extent.
    """
    del sorted
    dim = axis("topk", dim, len(x.shape_tuple))
    if not x.shape_tuple:
        _within("topk", k, 0, 1)
        found = sort(x, 0)
        return found if k else ValuesIndices(flat(found.values)[:0], flat(found.indices)[:0])
    _within("topk", k, 0, x.shape_tuple[dim])
    order = sliced(argsort(x, dim, largest), dim, 0, k)
    return ValuesIndices(_along(x, order, dim), order)


def _within(name: str, k: int, low: int, high: int) -> None:
    if not low <= k <= high:
        raise ArgumentError(
            f"{name}: k must lie in [{low}, {high}].", came=str(k), fix="check the extent of the dim"
        )


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
    return _picked(x, sliced(order, dim, k - 1, 1), dim, keepdim)


def _picked(x: Tensor, place: Tensor, dim: int, keepdim: bool) -> ValuesIndices:
    """Return the elements at one position of each line, and the positions."""
    value = _along(x, place, dim)
    if keepdim:
        return ValuesIndices(value, place)
    shape = x.shape_tuple[:dim] + x.shape_tuple[dim + 1 :]
    return ValuesIndices(reshaped(value, shape), reshaped(place, shape))


@aliased
def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median of all, or along a dim (values, indices); NaN if there is one.

    Of an even number of elements it is the lower of the middle two, as in PyTorch.

    Raises:
        ShapeError: the dim has no elements.
    """
    if dim is None:
        if not x.numel():
            return from_array(np.array(np.nan), x.element_type)
        return median(flat(x), 0).values
    dim = axis("median", dim, len(x.shape_tuple))
    if not x.shape_tuple:
        return sort(x, dim)
    extent = x.shape_tuple[dim]
    if extent == 0:
        raise ShapeError(
            "median: a dim with no elements has no median.",
            came=f"shape {x.shape_tuple}, dim {dim}",
            fix="check for an empty tensor first",
        )
    order = argsort(x, dim)
    middle = sliced(order, dim, (extent - 1) // 2, 1)
    if x.element_type.kind == "float":
        last = sliced(order, dim, extent - 1, 1)
        middle = where(isnan(_along(x, last, dim)), last, middle)
    return _picked(x, middle, dim, keepdim)


# -- of a size that depends on the values ---------------------------------------------------------
@aliased
def unique(
    x: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Return the different elements in order; every NaN is different.

    Args:
        x: Any tensor; flattened where dim is None.
        sorted: Accepted for PyTorch's sake; the result is always in order.
        return_inverse: Also return where each element of x stands in the result.
        return_counts: Also return how often each occurs.
        dim: Compare the slices along a dim instead of elements.

    Returns:
        The elements, then the positions and the counts where asked for.
    """
    del sorted
    array = concrete(x, "unique()")
    if dim is not None:
        dim = axis("unique", dim, array.ndim)
    values, inverse, counts = np.unique(
        array, return_inverse=True, return_counts=True, axis=dim, equal_nan=False
    )
    inverse = inverse.reshape(array.shape if dim is None else -1)
    found = [from_array(values, x.element_type)]
    if return_inverse:
        found.append(from_array(inverse.astype(np.int64)))
    if return_counts:
        found.append(from_array(counts.astype(np.int64)))
    return found[0] if len(found) == 1 else tuple(found)


def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the positions of elements that differ from 0.

    Returns:
        Shape [count, dims], in row-major order; with as_tuple one tensor of positions for each
        dim, to index with.
    """
    array = concrete(x, "nonzero()")
    if as_tuple:
        return tuple(from_array(p.astype(np.int64)) for p in np.nonzero(np.atleast_1d(array)))
    return from_array(np.argwhere(array).astype(np.int64).reshape(-1, array.ndim))


def bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Return how often each integer from 0 on occurs, or the sum of the weights where it does.

    Raises:
        ArgumentError: x is not a vector of integers from 0 on.
    """
    array = concrete(x, "bincount()")
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise ArgumentError(
            "bincount: expects a vector of integers from 0 on.",
            came=f"{x.element_type.name} of shape {x.shape_tuple}",
            fix="flatten it, and subtract the smallest element",
        )
    if weights is None:
        return from_array(np.bincount(array.astype(np.int64), minlength=minlength).astype(np.int64))
    sums = np.bincount(array.astype(np.int64), concrete(weights, "bincount()"), minlength)
    wanted = dt.float32 if weights.element_type is dt.float32 else dt.float64
    return from_array(sums, wanted)


def repeated_positions(repeats: Tensor, extent: int) -> Tensor:
    """Return each position as often as `repeats` says."""
    counts = concrete(repeats, "repeat_interleave()")
    return from_array(np.repeat(np.arange(extent), np.broadcast_to(counts, (extent,))))


_ = maximum_


# -- searching ----------------------------------------------------------------------------------
def searchsorted(
    sorted_sequence: Tensor, values: Any, *, right: bool = False, side: str | None = None,
    out_int32: bool = False,
) -> Tensor:  # fmt: skip
    """Return where values would be put in to keep the last dim in order.

    Args:
        sorted_sequence: Rising along the last dim; a vector, or of the values' leading dims.
        values: A number or tensor.
        right: Behind equal elements instead of before them.
        side: "left" or "right", the same as `right`.
        out_int32: int32 positions instead of int64.

    Raises:
        ShapeError: the leading dims differ.
    """
    from tenor.tensor.operands import fitted, result_type, constant  # noqa: PLC0415

    right = right or side == "right"
    dtype = result_type(sorted_sequence, values)
    row, value = cast(sorted_sequence, dtype), fitted(values, dtype)
    shape, wanted = row.shape_tuple, value.shape_tuple
    if len(shape) != 1 and shape[:-1] != wanted[:-1]:
        raise ShapeError(
            "searchsorted: the sequence must be a vector, or have the values' leading dims.",
            came=[f"sequence {shape}", f"values {wanted}"],
            fix="expand the sequence",
        )
    extent = shape[-1]
    place = (value * 0).long() if dtype.kind != "float" else where(isnan(value), 0, 0)
    step = 1 << max(extent.bit_length() - 1, 0)
    while step and extent:
        ahead = place + step
        at = where(ahead <= extent, ahead - 1, 0)
        there = (
            record(ops.TAKE, (row, at), (0,)) if len(shape) == 1
            else record(ops.TAKE_ALONG, (row, at), (len(shape) - 1,))
        )
        before = there <= value if right else there < value
        place = where((ahead <= extent) & (before | isnan(value)), ahead, place)
        step //= 2
    del constant
    return cast(place, dt.int32) if out_int32 else place
