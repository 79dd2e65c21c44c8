"""Taking tensors apart and putting them together: splits, joins, repeats."""

from __future__ import annotations

import builtins
import itertools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.alias import record_view
from tenor.engine.macro import viewing
from tenor.engine.trace import record
from tenor.errors import ArgumentError, AxisError, IndexRangeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.dims import aliased, axis, shape_of
from tenor.tensor.movement import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    clone,
    expand,
    reshape,
    view,
    viewed,
)
from tenor.tensor.operands import cast, result_type
from tenor.tensor.operands import expand as expanded
from tenor.tensor.reduction import reshaped, same_extent
from tenor.tensor.window import joined, stacked, window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor.tensor import Tensor

__all__ = [
    "block_diag",
    "cartesian_prod",
    "cat",
    "chunk",
    "column_stack",
    "combinations",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "meshgrid",
    "narrow",
    "repeat",
    "repeat_interleave",
    "roll",
    "row_stack",
    "select",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "tile",
    "unbind",
    "unfold",
    "vsplit",
    "vstack",
]


# -- parts --------------------------------------------------------------------------------------
def _along(name: str, x: Tensor, dim: int) -> tuple[int, int]:
    """Return a dim counted from the front, and its extent.

    Raises:
        AxisError: there is no such dim; a tensor of no dims has none to cut.
    """
    shape = x.shape_tuple
    dim = axis(name, dim, len(shape))
    if not shape:
        raise AxisError(
            f"{name}: a tensor of no dims cannot be cut.",
            came="shape ()",
            fix="use unsqueeze(0) first",
        )
    return dim, shape[dim]


def sliced(x: Tensor, dim: int, start: int, length: int, step: int = 1) -> Tensor:
    """Return a view of `length` elements along a dim."""
    shape = x.shape_tuple
    starts = (0,) * dim + (start,) + (0,) * (len(shape) - dim - 1)
    steps = (1,) * dim + (step,) + (1,) * (len(shape) - dim - 1)
    sizes = (*shape[:dim], length, *shape[dim + 1 :])
    return window(x, starts, sizes, steps, sizes)


@aliased
@viewing
def narrow(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return a view of `length` elements from `start` along a dim.

    Raises:
        IndexRangeError: the part does not lie inside the tensor.
    """
    dim, extent = _along("narrow", x, dim)
    first = start + extent if start < 0 else start
    if not 0 <= first <= extent or length < 0 or first + length > extent:
        raise IndexRangeError(
            f"narrow: the part must lie inside the extent {extent} of dim {dim}.",
            came=f"start {start}, length {length}",
            fix="check start and length",
        )
    return sliced(x, dim, first, length)


@aliased
@viewing
def select(x: Tensor, dim: int, index: int) -> Tensor:
    """Return a view at one index of a dim, which goes away.

    Raises:
        IndexRangeError: the index is out of range.
    """
    shape = x.shape_tuple
    dim = axis("select", dim, len(shape))
    extent = shape[dim] if shape else 0
    if not -extent <= index < extent:
        raise IndexRangeError(
            f"select: an index of dim {dim} must lie in [{-extent}, {extent}).",
            came=str(index),
            fix="check the index against the shape",
        )
    return viewed(sliced(x, dim, index % extent, 1), shape[:dim] + shape[dim + 1 :])


@aliased
@viewing
def split(x: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return views: parts of one size, the last perhaps smaller; or of the sizes listed.

    Raises:
        ShapeError: the listed sizes do not add up to the extent.
    """
    dim, extent = _along("split", x, dim)
    if isinstance(split_size, int):
        if split_size <= 0:
            raise ArgumentError(
                "split: the size of a part must be positive.",
                came=str(split_size),
                fix="give a positive size, or a list of sizes",
            )
        starts = range(0, extent, split_size) if extent else range(1)
        sizes = [builtins.min(split_size, extent - s) for s in starts]
    else:
        sizes = [operator.index(n) for n in split_size]
    if builtins.sum(sizes) != extent:
        raise ShapeError(
            f"split: the sizes must add up to the extent {extent} of dim {dim}.",
            came=f"{sizes}, which add up to {builtins.sum(sizes)}",
            fix="correct the sizes",
        )
    parts, start = [], 0
    for length in sizes:
        parts.append(sliced(x, dim, start, length))
        start += length
    return tuple(parts)


@aliased
@viewing
def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return at most `chunks` views of one size, the last perhaps smaller.

    Raises:
        ArgumentError: the number is not positive.
    """
    if chunks <= 0:
        raise ArgumentError(
            "chunk: the number of parts must be positive.", came=str(chunks), fix="give 1 or more"
        )
    dim, extent = _along("chunk", x, dim)
    if extent == 0:
        return split(x, [0] * chunks, dim)
    return split(x, -(-extent // chunks), dim)


@aliased
def tensor_split(x: Tensor, sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return views: so many parts, sizes differing by 1 at most; or parts cut at the indices."""
    dim, extent = _along("tensor_split", x, dim)
    if isinstance(sections, int):
        low, more = divmod(extent, sections)
        return split(x, [low + (i < more) for i in range(sections)], dim)
    cuts = [0, *[slice(0, c).indices(extent)[1] for c in sections], extent]
    pairs = itertools.pairwise(cuts)
    return tuple(sliced(x, dim, a, builtins.max(b - a, 0)) for a, b in pairs)


@aliased
def split_with_sizes(x: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return views of the sizes listed, one after another along a dim."""
    return split(x, list(split_sizes), dim)


def _cut(x: Tensor, name: str, sections: int | Sequence[int], dim: int) -> tuple[Tensor, ...]:
    """Return parts along a dim that x must have; a number of parts must divide it."""
    shape = x.shape_tuple
    even = not isinstance(sections, int) or (len(shape) > dim and shape[dim] % sections == 0)
    if len(shape) <= dim or not even:
        raise ShapeError(
            f"{name}: needs a dim {dim} that the number of parts divides.",
            came=f"shape {shape}, {sections}",
            fix="use tensor_split(), whose parts may differ by one",
        )
    return tensor_split(x, sections, dim)


def hsplit(x: Tensor, sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Return parts side by side: along dim 1, of vectors along dim 0.

    Raises:
        ShapeError: the number of parts does not divide the extent.
    """
    return _cut(x, "hsplit", sections, 0 if len(x.shape_tuple) == 1 else 1)


def vsplit(x: Tensor, sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Return parts one below another: along dim 0 of what has two dims at least.

    Raises:
        ShapeError: the number of parts does not divide the extent, or x is a vector.
    """
    if len(x.shape_tuple) < 2:
        raise ShapeError(
            "vsplit: expects two dims at least.", came=f"shape {x.shape_tuple}", fix="use hsplit()"
        )
    return _cut(x, "vsplit", sections, 0)


def dsplit(x: Tensor, sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Return parts one behind another: along dim 2.

    Raises:
        ShapeError: the number of parts does not divide the extent, or there is no dim 2.
    """
    return _cut(x, "dsplit", sections, 2)


@aliased
@viewing
def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a view for each index of a dim, which goes away."""
    dim, extent = _along("unbind", x, dim)
    return tuple(select(x, dim, i) for i in range(extent))


def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Return sliding windows over a dim, their elements in a new last dim.

    Raises:
        ShapeError: a window is longer than the dim.
    """
    shape = x.shape_tuple
    dim = axis("unfold", dimension, len(shape))
    if not 0 <= size <= shape[dim] or step <= 0:
        raise ShapeError(
            f"unfold: a window must fit into dim {dim} and move on.",
            came=f"size {size}, step {step} for extent {shape[dim]}",
            fix="use a smaller window and a positive step",
        )
    made: Tensor = record_view(ops.UNFOLD, x, (dim, size, step, 1))
    return made


# -- joins --------------------------------------------------------------------------------------
@aliased
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors one after another along a dim, in the dtype they promote to.

    Empty tensors of one dim are passed over, as in PyTorch.

    Raises:
        ArgumentError: there are none.
        ShapeError: they differ in another dim.
    """
    every = list(tensors)
    if not every:
        raise ArgumentError("cat: needs at least one tensor.", came="none", fix="check the list")
    dtype = result_type(*every)
    parts = [x for x in every if x.shape_tuple != (0,)] or every[:1]
    dim = axis("cat", dim, len(parts[0].shape_tuple))
    ranks = {len(x.shape_tuple) for x in parts}
    if len(ranks) > 1 or ranks == {0}:
        raise ShapeError(
            "cat: tensors must have as many dims as one another, one at least.",
            came=[f"shape {x.shape_tuple}" for x in parts],
            fix="use stack() for a new dim, or unsqueeze() first",
        )
    parts = [cast(x, dtype) for x in parts]
    if len(parts) == 1:
        return clone(parts[0])
    made = joined(parts, dim)
    return record(ops.CONCAT, tuple(parts), (dim,)) if made is None else made


@aliased
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors of one shape along a new dim.

    Raises:
        ArgumentError: there are none.
        ShapeError: the shapes differ.
    """
    every = list(tensors)
    if not every:
        raise ArgumentError("stack: needs at least one tensor.", came="none", fix="check the list")
    same_extent("stack", every)
    shape = every[0].shape_tuple
    dim = axis("stack", dim, len(shape) + 1)
    made = stacked(every, dim)
    if made is not None:
        return made
    return cat([reshaped(x, (*shape[:dim], 1, *shape[dim:])) for x in every], dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors side by side: along dim 1, vectors along dim 0."""
    every = [atleast_1d(x) for x in tensors]
    return cat(every, 0 if len(every[0].shape_tuple) == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors one below another: along dim 0, vectors as rows."""
    return cat([atleast_2d(x) for x in tensors], 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors one behind another: along dim 2."""
    return cat([atleast_3d(x) for x in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors side by side, vectors and numbers as columns."""
    return hstack([x if len(x.shape_tuple) > 1 else reshape(x, (x.numel(), 1)) for x in tensors])


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Return every choice of one element from each vector, a row each; one vector as it is."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(grid, -1) for grid in meshgrid(*tensors)], 1)


def combinations(x: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Return every choice of r elements of a vector in their order, a row each.

    Raises:
        ShapeError: x is no vector.
    """
    if len(x.shape_tuple) != 1:
        raise ShapeError(
            "combinations: expects a vector.", came=f"shape {x.shape_tuple}", fix="flatten it"
        )
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(x.shape_tuple[0]), r)), np.int64).reshape(-1, r)
    return x[from_array(places)]


def block_diag(*tensors: Tensor) -> Tensor:
    """Return a matrix with the given ones along its diagonal and zeros elsewhere."""
    every = [atleast_2d(x) for x in tensors]
    width = builtins.sum(x.shape_tuple[1] for x in every)
    rows, left = [], 0
    for x in every:
        columns = x.shape_tuple[1]
        right = width - left - columns
        rows.append(record(ops.PAD, (x,), ((0, left), (0, right), 0)))
        left += columns
    return cat(rows, 0)


def repeat(x: Tensor, *repeats: int | Sequence[int]) -> Tensor:
    """Return copies of x side by side: repeats[i] of them along dim i, counted from the last.

    Raises:
        ShapeError: there are fewer sizes than dims.
    """
    counts, shape = shape_of("repeat", repeats), x.shape_tuple
    if len(counts) < len(shape):
        raise ShapeError(
            "repeat: needs a number of copies for every dim.",
            came=f"{counts} for shape {shape}",
            fix="give more counts, or use tile(), which fills up with 1",
        )
    full = (1,) * (len(counts) - len(shape)) + shape
    apart = tuple(n for extent in full for n in (1, extent))
    wide = tuple(n for pair in zip(counts, full, strict=True) for n in pair)
    joined = tuple(c * n for c, n in zip(counts, full, strict=True))
    return reshaped(expanded(reshaped(x, apart), wide), joined)


def tile(x: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Return copies of x side by side; missing counts in front are 1."""
    counts = shape_of("tile", dims)
    return repeat(x, (1,) * (len(x.shape_tuple) - len(counts)) + counts)


@aliased
def repeat_interleave(
    x: Tensor,
    repeats: int | Tensor | None = None,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """Return x with each element (or each index of a dim) repeated in place.

    Args:
        x: Any tensor; flattened where dim is None. Alone, it holds the counts of 0, 1, 2 ...
        repeats: One count for all, or one for each index.
        dim: The dim to repeat along.
        output_size: Accepted for PyTorch's sake; the extent is worked out.
    """
    del output_size
    if repeats is None:
        x, repeats = record(ops.IOTA, (), (x.numel(), dt.int64)), x
    if dim is None:
        x, dim = reshape(x, -1), 0
    dim = axis("repeat_interleave", dim, len(x.shape_tuple))
    shape = x.shape_tuple
    if not isinstance(repeats, int):
        counts = np.broadcast_to(concrete(repeats, "repeat_interleave()"), (shape[dim],))
        return x.index_select(dim, from_array(np.repeat(np.arange(shape[dim]), counts)))
    apart = reshaped(x, (*shape[: dim + 1], 1, *shape[dim + 1 :]))
    wide = expanded(apart, (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    return reshaped(wide, (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Return the coordinates of every point of a grid, one tensor for each vector given.

    Args:
        tensors: Vectors, or one sequence of them.
        indexing: "ij" for matrix order, "xy" to swap the first two dims.
    """
    vectors = (
        list(tensors[0])
        if len(tensors) == 1 and not hasattr(tensors[0], "within")
        else (list(tensors))
    )
    if indexing not in ("ij", "xy"):
        raise ArgumentError(
            "meshgrid: indexing must be 'ij' or 'xy'.", came=repr(indexing), fix="choose one"
        )
    swap = indexing == "xy" and len(vectors) > 1
    if swap:
        vectors[:2] = vectors[1::-1]
    shape = tuple(v.numel() for v in vectors)
    grids = []
    for i, vector in enumerate(vectors):
        line = view(vector, [-1 if d == i else 1 for d in range(len(shape))])
        grids.append(expand(line, shape))
    if swap:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def roll(x: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Return a copy with elements moved on by `shifts` along dims, the last coming in front.

    Raises:
        ArgumentError: there are not as many shifts as dims.
    """
    if dims is None:
        return reshape(roll(reshape(x, -1), shifts, 0), x.shape_tuple)
    by = [shifts] if isinstance(shifts, int) else list(shifts)
    along = [dims] if isinstance(dims, int) else list(dims)
    if len(by) != len(along):
        raise ArgumentError(
            "roll: needs a shift for each dim.",
            came=f"shifts={shifts}, dims={dims}",
            fix="give as many shifts as dims",
        )
    for shift, dim in zip(by, along, strict=True):
        extent = x.shape_tuple[axis("roll", dim, len(x.shape_tuple))]
        cut = (-shift) % extent if extent else 0
        x = cat([narrow(x, dim, cut, extent - cut), narrow(x, dim, 0, cut)], dim)
    return x


# -- other names for the same ---------------------------------------------------------------------
concat = concatenate = cat
row_stack = vstack
