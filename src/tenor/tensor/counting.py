"""What occurs, where and how often: results whose size depends on the values, so they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.trace import record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.dims import aliased, axis
from tenor.tensor.operands import cast, constant, expand, fitted, result_type
from tenor.tensor.reduction import reshaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.tensor.operands import Number
    from tenor.tensor.tensor import Tensor

__all__ = [
    "argwhere", "bincount", "histc", "isin", "nonzero", "unique", "unique_consecutive",
]  # fmt: skip


def _whole(array: NDArray[Any]) -> Tensor:
    return from_array(array.astype(np.int64))


def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the positions of elements that differ from 0.

    Returns:
        Shape [count, dims], in row-major order; with as_tuple one tensor of positions for each
        dim, to index with.
    """
    array = concrete(x, "nonzero()")
    if as_tuple:
        return tuple(_whole(p) for p in np.nonzero(np.atleast_1d(array)))
    return _whole(np.argwhere(array))


def argwhere(x: Tensor) -> Tensor:
    """Return the positions of elements that differ from 0, shape [count, dims]."""
    return nonzero(x)  # type: ignore[no-any-return]


def _answers(parts: list[Tensor], inverse: bool, counts: bool) -> Any:
    """Return the first of (values, inverse, counts), and of the others those asked for."""
    wanted = (True, inverse, counts)
    found = [part for part, keep in zip(parts, wanted, strict=True) if keep]
    return found[0] if len(found) == 1 else tuple(found)


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

    Example:
        >>> import tenor as tn
        >>> tn.unique(tn.tensor([3, 1, 3]), return_counts=True)
        (tensor([1, 3]), tensor([1, 2]))
    """
    del sorted
    array = concrete(x, "unique()")
    if dim is not None:
        dim = axis("unique", dim, array.ndim)
        array = np.atleast_1d(array)
    values, inverse, counts = np.unique(
        array, return_inverse=True, return_counts=True, axis=dim, equal_nan=False
    )
    inverse = inverse.reshape(x.shape_tuple if dim is None else -1)
    parts = [from_array(values, x.element_type), _whole(inverse), _whole(counts)]
    return _answers(parts, return_inverse, return_counts)


@aliased
def unique_consecutive(
    x: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Return the elements without repeats of the one before; arguments as for `unique`."""
    array = concrete(x, "unique_consecutive()")
    shape = array.shape if dim is None else (-1,)
    dim, array = (
        (0, array.reshape(-1)) if dim is None
        else (axis("unique_consecutive", dim, array.ndim), np.atleast_1d(array))
    )  # fmt: skip
    line = np.moveaxis(array, dim, 0)
    new = np.ones(len(line), bool)
    if len(line) > 1:
        rest = tuple(range(1, line.ndim))
        new[1:] = (line[1:] != line[:-1]).any(axis=rest)
    inverse = (np.cumsum(new) - 1).reshape(shape)
    counts = np.diff(np.append(np.flatnonzero(new), len(line)))
    values = np.moveaxis(line[new], 0, dim)
    parts = [from_array(values, x.element_type), _whole(inverse), _whole(counts)]
    return _answers(parts, return_inverse, return_counts)


def bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Return how often each integer from 0 on occurs, or the sum of the weights where it does.

    Args:
        x: A vector of integers from 0 on.
        weights: What each element counts for; 1 by default.
        minlength: The extent of the result at least.

    Raises:
        ArgumentError: x is not a vector of integers from 0 on.
        ShapeError: there are not as many weights as elements.
    """
    array = concrete(x, "bincount()")
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise ArgumentError(
            "bincount: expects a vector of integers from 0 on.",
            came=f"{x.element_type.name} of shape {x.shape_tuple}",
            fix="flatten it, and subtract the smallest element",
        )
    if minlength < 0:
        raise ArgumentError(
            "bincount: minlength is not negative.", came=str(minlength), fix="leave it out"
        )
    extent = max(minlength, int(array.max()) + 1 if array.size else 0)
    if weights is None:
        return _whole(np.bincount(array.astype(np.int64), minlength=extent))
    if weights.shape_tuple != x.shape_tuple:
        raise ShapeError(
            "bincount: there must be one weight for each element.",
            came=[f"elements {x.shape_tuple}", f"weights {weights.shape_tuple}"],
            fix="give weights of the same shape",
        )
    wanted = dt.float32 if weights.element_type is dt.float32 else dt.float64
    return _added(cast(x, dt.int64), cast(weights, wanted), extent)


def _added(index: Tensor, source: Tensor, extent: int) -> Tensor:
    """Return zeros with sources added at indices, in their order."""
    zeros = expand(constant(0, source.element_type), (extent,))
    made: Tensor = record(ops.PUT, (zeros, index, source), (0, "add"))
    return made


def histc(x: Tensor, bins: int = 100, min: Number = 0, max: Number = 0) -> Tensor:
    """Return how many elements fall into each of equal bins from min to max.

    Args:
        x: Floating; elements outside, and NaN, are left out.
        bins: The number of bins.
        min: The lower end; with max = 0 too, that of the data.
        max: The upper end, which belongs to the last bin.

    Raises:
        ArgumentError: there is no bin, max is below min, or an end is not finite.
    """
    if x.element_type.kind != "float":
        raise DTypeError(
            "histc: is defined for floating dtypes.", came=x.element_type.name, fix="use .float()"
        )
    array = concrete(x, "histc()").reshape(-1)
    low, high = float(min), float(max)
    if low == high == 0 and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    if bins <= 0 or high < low or not np.isfinite([low, high]).all():
        raise ArgumentError(
            "histc: needs one bin at least, and finite ends in order.",
            came=f"bins={bins}, min={low}, max={high}",
            fix="give min and max",
        )
    inside = array[(array >= low) & (array <= high)].astype(np.float64)
    place = np.minimum((inside - low) * bins / (high - low), bins - 1).astype(np.int64)
    return from_array(np.bincount(place, minlength=bins).astype(np.float64), x.element_type)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Return which elements are among the test elements; which are not, with invert.

    Raises:
        ArgumentError: neither is a tensor.
    """
    del assume_unique
    given = [v for v in (elements, test_elements) if isinstance(v, Handle)]
    if not given:
        raise ArgumentError("isin: one operand must be a tensor.", came="numbers", fix="wrap one")
    dtype = result_type(elements, test_elements)
    x, tests = (fitted(v, dtype) for v in (elements, test_elements))
    tests = reshaped(tests, (tests.numel(),))
    found = (reshaped(x, (*x.shape_tuple, 1)) == tests).any(-1)
    return ~found if invert else found
