"""Functions that move elements: shapes, orders, joins, splits. Views where PyTorch's are views."""

from __future__ import annotations

import builtins
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.alias import record_view
from tenor.engine.trace import record
from tenor.errors import ArgumentError, AxisError, IndexRangeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Shape, size
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.dims import aliased, axis, shape_of, solve
from tenor.tensor.elementwise import where
from tenor.tensor.layout import restrided, strides_of
from tenor.tensor.operands import (
    broadcast_shapes,
    cast,
    constant,
    expand as expanded,
    result_type,
)
from tenor.tensor.reduction import reshaped, same_extent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor.tensor import Tensor

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_tensors", "broadcast_to",
    "cat", "chunk", "clone", "concat", "concatenate", "diag", "diag_embed", "diagonal", "expand",
    "expand_as", "flatten", "flip", "fliplr", "flipud", "hstack", "meshgrid", "movedim", "moveaxis",
    "narrow", "permute", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll",
    "rot90", "select", "split", "squeeze", "stack", "swapaxes", "swapdims", "t", "tensor_split",
    "tile", "transpose", "tril", "triu", "unbind", "unflatten", "unfold", "unsqueeze", "view",
    "view_as", "vstack",
]  # fmt: skip


def clone(x: Tensor) -> Tensor:
    """Return a tensor of its own with x's value; gradients flow through."""
    made: Tensor = record(ops.RESHAPE, (x,), (x.shape_tuple,))
    return made


# -- shapes -------------------------------------------------------------------------------------
def _viewed(x: Tensor, shape: Shape) -> Tensor:
    made: Tensor = record_view(ops.RESHAPE, x, (shape,))
    return made


def _shares(x: Tensor, shape: Shape) -> bool:
    """Tell whether a reshape leaves every element where it is in storage."""
    if x.base is None:
        return True
    strides = strides_of(x)
    return strides is not None and restrided(x.shape_tuple, strides, shape) is not None


def reshape(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """Return the elements, in row-major order, in a shape; one extent may be -1.

    A view where storage allows it, else a copy.

    Raises:
        ShapeError: the number of elements differs.
    """
    old = x.shape_tuple
    wanted = solve("reshape", shape_of("reshape", shape), size(old))
    return _viewed(x, wanted) if _shares(x, wanted) else reshaped(x, wanted)


def view(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """Return a view of the elements in a shape; one extent may be -1.

    Raises:
        ShapeError: the number of elements differs, or storage is not in the order the shape needs.
    """
    wanted = solve("view", shape_of("view", shape), size(x.shape_tuple))
    if not _shares(x, wanted):
        raise ShapeError(
            "view: the elements do not lie in memory in the order this shape needs.",
            came=f"a view of shape {x.shape_tuple} with strides {strides_of(x)}, to {wanted}",
            fix="use reshape(), which copies where it must, or contiguous() first",
        )
    return _viewed(x, wanted)


def view_as(x: Tensor, other: Tensor) -> Tensor:
    """Return a view of x in another tensor's shape."""
    return view(x, other.shape_tuple)


def reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """Return x in another tensor's shape."""
    return reshape(x, other.shape_tuple)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Return x with dims start_dim to end_dim made one.

    Raises:
        AxisError: a dim is out of range, or they are in the wrong order.
    """
    shape = x.shape_tuple
    first, last = axis("flatten", start_dim, len(shape)), axis("flatten", end_dim, len(shape))
    if first > last:
        raise AxisError(
            "flatten: start_dim must not come after end_dim.",
            came=f"start_dim={start_dim}, end_dim={end_dim} for shape {shape}",
            fix="swap them",
        )
    if first == last and shape:
        return x
    return reshape(x, shape[:first] + (size(shape[first : last + 1]),) + shape[last + 1 :])


def ravel(x: Tensor) -> Tensor:
    """Return the elements in one dim."""
    return flatten(x)


def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Return x with one dim split into several; one extent may be -1."""
    shape = x.shape_tuple
    dim = axis("unflatten", dim, len(shape))
    parts = solve("unflatten", tuple(sizes), shape[dim])
    return reshape(x, shape[:dim] + parts + shape[dim + 1 :])


@aliased
def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Return a view without dims of extent 1: all such, or those named that have it."""
    shape = x.shape_tuple
    if dim is None:
        drop = set(range(len(shape)))
    else:
        named = (dim,) if isinstance(dim, int) else dim
        drop = {axis("squeeze", d, len(shape)) for d in named}
    return _viewed(x, tuple(n for i, n in enumerate(shape) if n != 1 or i not in drop))


@aliased
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Return a view with a dim of extent 1 put in at `dim`."""
    shape = x.shape_tuple
    dim = axis("unsqueeze", dim, len(shape) + 1)
    return _viewed(x, (*shape[:dim], 1, *shape[dim:]))


def expand(x: Tensor, *sizes: int | Sequence[int]) -> Tensor:
    """Return a view in which extents of 1 are repeated; -1 keeps an extent.

    Raises:
        ShapeError: an extent that is not 1 would change.
    """
    shape, wanted = x.shape_tuple, shape_of("expand", sizes)
    head = len(wanted) - len(shape)
    kept = [shape[i - head] if n == -1 and i >= head else n for i, n in enumerate(wanted)]
    fits = head >= 0 and builtins.all(
        n >= 0 and (i < head or shape[i - head] in (1, n)) for i, n in enumerate(kept)
    )
    if not fits:
        raise ShapeError(
            "expand: only dims of extent 1, and new dims in front, can be repeated.",
            came=f"{shape} to {wanted}",
            fix="line the dims up with unsqueeze(), or use repeat()",
        )
    made: Tensor = record_view(ops.EXPAND, x, (tuple(kept),))
    return made


def expand_as(x: Tensor, other: Tensor) -> Tensor:
    """Return x expanded to another tensor's shape."""
    return expand(x, other.shape_tuple)


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return x expanded to a shape."""
    return expand(x, shape)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors expanded to the shape they broadcast to."""
    shape = broadcast_shapes("broadcast_tensors", *[x.shape_tuple for x in tensors])
    return tuple(expand(x, shape) for x in tensors)


def _at_least(x: Tensor, shape: Shape) -> Tensor:
    return x if len(x.shape_tuple) >= len(shape) else _viewed(x, shape)


def atleast_1d(x: Tensor) -> Tensor:
    """Return x with one dim at least."""
    return _at_least(x, (1,))


def atleast_2d(x: Tensor) -> Tensor:
    """Return x with two dims at least, new ones in front."""
    return _at_least(x, (1, x.numel()))


def atleast_3d(x: Tensor) -> Tensor:
    """Return x with three dims at least: (1, n, 1) of a vector, (m, n, 1) of a matrix."""
    shape = x.shape_tuple
    return _at_least(x, (*shape, 1) if len(shape) == 2 else (1, x.numel(), 1))


# -- orders -------------------------------------------------------------------------------------
def permute(x: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Return a view whose dim i is x's dim dims[i].

    Raises:
        AxisError: dims do not name each dim once.
    """
    order = tuple(axis("permute", d, len(x.shape_tuple)) for d in shape_of("permute", dims))
    made: Tensor = record_view(ops.PERMUTE, x, (order,))
    return made


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return a view with two dims swapped."""
    ndim = len(x.shape_tuple)
    first, second = axis("transpose", dim0, ndim), axis("transpose", dim1, ndim)
    order = list(range(ndim))
    if order:
        order[first], order[second] = second, first
    made: Tensor = record_view(ops.PERMUTE, x, (tuple(order),))
    return made


def t(x: Tensor) -> Tensor:
    """Return the transpose of a matrix; vectors as they are.

    Raises:
        ShapeError: x has more than two dims.
    """
    if len(x.shape_tuple) > 2:
        raise ShapeError(
            "t: expects at most two dims.",
            came=f"shape {x.shape_tuple}",
            fix="use transpose(dim0, dim1), or mT for a batch of matrices",
        )
    return transpose(x, 0, -1)


def matrix_transpose(x: Tensor) -> Tensor:
    """Return a view with the last two dims swapped.

    Raises:
        ShapeError: x has fewer than two dims.
    """
    if len(x.shape_tuple) < 2:
        raise ShapeError(
            "mT: expects two dims at least.",
            came=f"shape {x.shape_tuple}",
            fix="add a dim with unsqueeze()",
        )
    return transpose(x, -2, -1)


def reversed_dims(x: Tensor) -> Tensor:
    """Return a view with the dims in reverse order."""
    return permute(x, tuple(range(len(x.shape_tuple)))[::-1])


def movedim(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Return a view with dims moved to new places, the others in their order.

    Raises:
        ArgumentError: there are not as many places as dims.
    """
    ndim = len(x.shape_tuple)
    sources = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(targets):
        raise ArgumentError(
            "movedim: source and destination must name as many dims.",
            came=f"{source} and {destination}",
            fix="give one destination for each source",
        )
    order: list[int] = [-1] * ndim
    for a, b in zip(sources, targets, strict=True):
        order[axis("movedim", b, ndim)] = axis("movedim", a, ndim)
    rest = iter(d for d in range(ndim) if d not in order)
    return permute(x, [next(rest) if d < 0 else d for d in order])


def flip(x: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Return a copy with the order along dims reversed."""
    shape = x.shape_tuple
    turned = {axis("flip", d, len(shape)) for d in shape_of("flip", dims)}
    back = [i in turned and n > 0 for i, n in enumerate(shape)]
    starts = tuple(n - 1 if b else 0 for n, b in zip(shape, back, strict=True))
    steps = tuple(-1 if b else 1 for b in back)
    made: Tensor = record(ops.SLICE, (x,), (starts, shape, steps))
    return made


def fliplr(x: Tensor) -> Tensor:
    """Return a copy with the order along dim 1 reversed."""
    return flip(x, 1)


def flipud(x: Tensor) -> Tensor:
    """Return a copy with the order along dim 0 reversed."""
    return flip(x, 0)


def roll(
    x: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Tensor:
    """Return a copy with elements moved on by `shifts` along dims, the last coming in front."""
    if dims is None:
        return reshape(roll(reshape(x, -1), shifts, 0), x.shape_tuple)
    by = [shifts] if isinstance(shifts, int) else list(shifts)
    along = [dims] if isinstance(dims, int) else list(dims)
    for shift, dim in zip(by, along, strict=True):
        extent = x.shape_tuple[axis("roll", dim, len(x.shape_tuple))]
        cut = (-shift) % extent if extent else 0
        x = cat([narrow(x, dim, cut, extent - cut), narrow(x, dim, 0, cut)], dim)
    return x


def rot90(x: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Return a copy turned by k quarters, from the first of two dims towards the second."""
    first, second = dims
    turns = k % 4
    if turns == 0:
        return clone(x)
    if turns == 2:
        return flip(x, first, second)
    return flip(transpose(x, first, second), first if turns == 1 else second)


# -- parts --------------------------------------------------------------------------------------
def sliced(x: Tensor, dim: int, start: int, length: int, step: int = 1) -> Tensor:
    """Return a view of `length` elements along a dim."""
    shape = x.shape_tuple
    starts = (0,) * dim + (start,) + (0,) * (len(shape) - dim - 1)
    steps = (1,) * dim + (step,) + (1,) * (len(shape) - dim - 1)
    sizes = (*shape[:dim], length, *shape[dim + 1 :])
    made: Tensor = record_view(ops.SLICE, x, (starts, sizes, steps))
    return made


@aliased
def narrow(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return a view of `length` elements from `start` along a dim.

    Raises:
        IndexRangeError: the part does not lie inside the tensor.
    """
    dim = axis("narrow", dim, len(x.shape_tuple))
    extent = x.shape_tuple[dim]
    first = start + extent if start < 0 else start
    if not 0 <= first <= extent or length < 0 or first + length > extent:
        raise IndexRangeError(
            f"narrow: the part must lie inside the extent {extent} of dim {dim}.",
            came=f"start {start}, length {length}",
            fix="check start and length",
        )
    return sliced(x, dim, first, length)


@aliased
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
    return _viewed(sliced(x, dim, index % extent, 1), shape[:dim] + shape[dim + 1 :])


@aliased
def split(x: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return views: parts of one size, the last perhaps smaller; or of the sizes listed.

    Raises:
        ShapeError: the listed sizes do not add up to the extent.
    """
    dim = axis("split", dim, len(x.shape_tuple))
    extent = x.shape_tuple[dim]
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
def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return at most `chunks` views of one size, the last perhaps smaller.

    Raises:
        ArgumentError: the number is not positive.
    """
    if chunks <= 0:
        raise ArgumentError(
            "chunk: the number of parts must be positive.", came=str(chunks), fix="give 1 or more"
        )
    extent = x.shape_tuple[axis("chunk", dim, len(x.shape_tuple))]
    if extent == 0:
        return split(x, [0] * chunks, dim)
    return split(x, -(-extent // chunks), dim)


@aliased
def tensor_split(x: Tensor, sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return views: so many parts, sizes differing by 1 at most; or parts cut at the indices."""
    extent = x.shape_tuple[axis("tensor_split", dim, len(x.shape_tuple))]
    if isinstance(sections, int):
        low, more = divmod(extent, sections)
        return split(x, [low + (i < more) for i in range(sections)], dim)
    cuts = [0, *[slice(0, c).indices(extent)[1] for c in sections], extent]
    return split(x, [builtins.max(b - a, 0) for a, b in zip(cuts, cuts[1:], strict=False)], dim)


@aliased
def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a view for each index of a dim, which goes away."""
    extent = x.shape_tuple[axis("unbind", dim, len(x.shape_tuple))]
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
    return clone(parts[0]) if len(parts) == 1 else record(ops.CONCAT, tuple(parts), (dim,))


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
    return cat([reshaped(x, (*shape[:dim], 1, *shape[dim:])) for x in every], dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors side by side: along dim 1, vectors along dim 0."""
    every = [atleast_1d(x) for x in tensors]
    return cat(every, 0 if len(every[0].shape_tuple) == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors one below another: along dim 0, vectors as rows."""
    return cat([atleast_2d(x) for x in tensors], 0)


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


def repeat(x: Tensor, *sizes: int | Sequence[int]) -> Tensor:
    """Return copies of x side by side: sizes[i] of them along dim i, counted from the last.

    Raises:
        ShapeError: there are fewer sizes than dims.
    """
    counts, shape = shape_of("repeat", sizes), x.shape_tuple
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
    x: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Return x with each element (or each index of a dim) repeated in place.

    Args:
        x: Any tensor; flattened where dim is None.
        repeats: One count for all, or one for each index.
        dim: The dim to repeat along.
        output_size: Accepted for PyTorch's sake; the extent is worked out.
    """
    del output_size
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
    vectors = list(tensors[0]) if len(tensors) == 1 and not hasattr(tensors[0], "trace") else (
        list(tensors)
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
        grids = [transpose(g, 0, 1) for g in grids]
        grids[:2] = grids[1::-1]
    return tuple(grids)


# -- diagonals ----------------------------------------------------------------------------------
def _below(rows: int, columns: int, diagonal: int) -> Tensor:
    """Return where column - row <= diagonal."""
    row = record(ops.RESHAPE, (record(ops.IOTA, (), (rows, dt.int64)),), ((rows, 1),))
    column = record(ops.IOTA, (), (columns, dt.int64))
    return column - row <= diagonal  # type: ignore[no-any-return]


def _matrix(name: str, x: Tensor) -> tuple[int, int]:
    shape = x.shape_tuple
    if len(shape) < 2:
        raise ShapeError(
            f"{name}: expects two dims at least.",
            came=f"shape {shape}",
            fix="add a dim with unsqueeze()",
        )
    return shape[-2], shape[-1]


def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """Return the last two dims' lower triangle, zeros above `diagonal`."""
    keep = _below(*_matrix("tril", x), diagonal)
    return where(keep, x, constant(0, x.element_type))  # type: ignore[no-any-return]


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """Return the last two dims' upper triangle, zeros below `diagonal`."""
    drop = _below(*_matrix("triu", x), diagonal - 1)
    return where(drop, constant(0, x.element_type), x)  # type: ignore[no-any-return]


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a view of the diagonal of two dims, as a new last dim; offset > 0 lies above it."""
    ndim = len(x.shape_tuple)
    first, second = axis("diagonal", dim1, ndim), axis("diagonal", dim2, ndim)
    if ndim < 2 or first == second:
        raise AxisError(
            "diagonal: needs two different dims.",
            came=f"dims {dim1} and {dim2} of shape {x.shape_tuple}",
            fix="name two dims of a tensor that has two",
        )
    front = permute(x, [*[d for d in range(ndim) if d not in (first, second)], first, second])
    rows, columns = front.shape_tuple[-2:]
    count = builtins.max(0, builtins.min(rows + builtins.min(offset, 0), columns - builtins.max(offset, 0)))
    start = offset if offset >= 0 else -offset * columns
    line = _viewed(front, (*front.shape_tuple[:-2], rows * columns))
    return sliced(line, ndim - 2, start if count else 0, count, columns + 1)


def diag(x: Tensor, diagonal: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or the matrix that has a vector as its diagonal.

    Raises:
        ShapeError: x has neither one dim nor two.
    """
    if len(x.shape_tuple) == 2:
        return clone(_diagonal(x, diagonal))
    if len(x.shape_tuple) != 1:
        raise ShapeError(
            "diag: expects a vector or a matrix.",
            came=f"shape {x.shape_tuple}",
            fix="use diagonal() or diag_embed() for batches",
        )
    return diag_embed(x, diagonal)


def diag_embed(x: Tensor, offset: int = 0) -> Tensor:
    """Return matrices with the last dim of x as their diagonals."""
    *batch, n = x.shape_tuple
    size = n + builtins.abs(offset)
    row = offset if offset < 0 else 0
    # One row more than needed, flattened with one element too many a row, is a diagonal.
    wide = record(ops.PAD, (reshaped(x, (*batch, n, 1)),), (
        (0,) * (len(batch) + 2), (0,) * (len(batch) + 1) + (size,), 0))  # fmt: skip
    line = reshaped(wide, (*batch, n * (size + 1)))
    start = offset if offset >= 0 else -row * size
    after = size * size - start - n * (size + 1)
    zeros = (0,) * len(batch)
    if after < 0:
        line = record(ops.SLICE, (line,), (
            (0,) * (len(batch) + 1), (*batch, size * size - start), (1,) * (len(batch) + 1)))  # fmt: skip
        after = 0
    padded = record(ops.PAD, (line,), ((*zeros, start), (*zeros, after), 0))
    return reshaped(padded, (*batch, size, size))


# -- other names for the same ---------------------------------------------------------------------
_diagonal = diagonal
concat = concatenate = cat
swapaxes = swapdims = transpose
moveaxis = movedim
