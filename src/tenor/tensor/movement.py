"""Functions that say otherwise which element stands where: shapes and orders. Mostly views."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from tenor.engine.alias import record_view
from tenor.engine.macro import viewing
from tenor.engine.trace import record
from tenor.errors import ArgumentError, AxisError, ShapeError
from tenor.ir import op as ops
from tenor.ir.node import Shape, size
from tenor.tensor.dims import Size, aliased, axes, axis, shape_of, solve
from tenor.tensor.layout import restrided, strides_of
from tenor.tensor.operands import broadcast_shapes as broadcast
from tenor.tensor.reduction import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor.tensor import Tensor

__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "clone",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "moveaxis",
    "movedim",
    "permute",
    "ravel",
    "reshape",
    "reshape_as",
    "rot90",
    "squeeze",
    "swapaxes",
    "swapdims",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
]


def clone(x: Tensor) -> Tensor:
    """Return a tensor of its own with x's value; gradients flow through."""
    made: Tensor = record(ops.RESHAPE, (x,), (x.shape_tuple,))
    return made


# -- shapes -------------------------------------------------------------------------------------
def viewed(x: Tensor, shape: Shape) -> Tensor:
    """Return a view in a shape that storage is known to allow."""
    made: Tensor = record_view(ops.RESHAPE, x, (shape,))
    return made


def _shares(x: Tensor, shape: Shape) -> bool:
    """Tell whether a reshape leaves every element where it is in storage."""
    if x.base is None:
        return True
    strides = strides_of(x)
    return strides is not None and restrided(x.shape_tuple, strides, shape) is not None


@viewing
def reshape(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """Return the elements, in row-major order, in a shape; one extent may be -1.

    A view where storage allows it, else a copy.

    Raises:
        ShapeError: the number of elements differs.
    """
    old = x.shape_tuple
    wanted = solve("reshape", shape_of("reshape", shape), size(old))
    return viewed(x, wanted) if _shares(x, wanted) else reshaped(x, wanted)


@viewing
def view(x: Tensor, *size: int | Sequence[int]) -> Tensor:
    """Return a view of the elements in a shape; one extent may be -1.

    Raises:
        ShapeError: the number of elements differs, or storage is not in the order the shape needs.
    """
    wanted = solve("view", shape_of("view", size), x.numel())
    if not _shares(x, wanted):
        raise ShapeError(
            "view: the elements do not lie in memory in the order this shape needs.",
            came=f"a view of shape {x.shape_tuple} with strides {strides_of(x)}, to {wanted}",
            fix="use reshape(), which copies where it must, or contiguous() first",
        )
    return viewed(x, wanted)


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
    return reshape(x, (*shape[:first], size(shape[first : last + 1]), *shape[last + 1 :]))


def ravel(x: Tensor) -> Tensor:
    """Return the elements in one dim."""
    return flatten(x)


@aliased
def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Return x with one dim split into several; one extent may be -1."""
    shape = x.shape_tuple
    dim = axis("unflatten", dim, len(shape))
    parts = solve("unflatten", tuple(sizes), shape[dim])
    return reshape(x, shape[:dim] + parts + shape[dim + 1 :])


@aliased
@viewing
def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Return a view without dims of extent 1: all such, or those named that have it."""
    shape = x.shape_tuple
    if dim is None:
        drop = set(range(len(shape)))
    else:
        named = (dim,) if isinstance(dim, int) else dim
        drop = {axis("squeeze", d, len(shape)) for d in named}
    return viewed(x, tuple(n for i, n in enumerate(shape) if n != 1 or i not in drop))


@aliased
@viewing
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Return a view with a dim of extent 1 put in at `dim`."""
    shape = x.shape_tuple
    dim = axis("unsqueeze", dim, len(shape) + 1)
    return viewed(x, (*shape[:dim], 1, *shape[dim:]))


@viewing
def expand(x: Tensor, *size: int | Sequence[int]) -> Tensor:
    """Return a view in which extents of 1 are repeated; -1 keeps an extent.

    Raises:
        ShapeError: an extent that is not 1 would change.
    """
    shape, wanted = x.shape_tuple, shape_of("expand", size)
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


def broadcast_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return x expanded to a shape."""
    return expand(x, size)


def broadcast_shapes(*shapes: Sequence[int] | int) -> Size:
    """Return the shape that shapes broadcast to.

    Raises:
        ShapeError: two extents differ and neither is 1.
    """
    every = [shape_of("broadcast_shapes", (shape,)) for shape in shapes]
    return Size(broadcast("broadcast_shapes", *every))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors expanded to the shape they broadcast to."""
    shape = broadcast("broadcast_tensors", *[x.shape_tuple for x in tensors])
    return tuple(expand(x, shape) for x in tensors)


def _at_least(x: Tensor, shape: Shape) -> Tensor:
    return x if len(x.shape_tuple) >= len(shape) else viewed(x, shape)


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
@viewing
def permute(x: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Return a view whose dim i is x's dim dims[i].

    Raises:
        AxisError: dims do not name each dim once.
    """
    order = tuple(axis("permute", d, len(x.shape_tuple)) for d in shape_of("permute", dims))
    made: Tensor = record_view(ops.PERMUTE, x, (order,))
    return made


@viewing
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


def adjoint(x: Tensor) -> Tensor:
    """Return a view with the last two dims swapped: real numbers are their own conjugates."""
    return matrix_transpose(x)


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
    """Return a copy with the order along dims reversed.

    Raises:
        ArgumentError: a dim is named twice.
    """
    shape, named = x.shape_tuple, shape_of("flip", dims)
    turned = set(axes("flip", named, len(shape))) if named else set()
    back = [i in turned and n > 0 for i, n in enumerate(shape)]
    starts = tuple(n - 1 if b else 0 for n, b in zip(shape, back, strict=True))
    steps = tuple(-1 if b else 1 for b in back)
    made: Tensor = record(ops.SLICE, (x,), (starts, shape, steps))
    return made


def fliplr(x: Tensor) -> Tensor:
    """Return a copy with the order along dim 1 reversed."""
    return flip(x, 1)


def flipud(x: Tensor) -> Tensor:
    """Return a copy with the order along dim 0 reversed.

    Raises:
        ShapeError: x has no dims.
    """
    if not x.shape_tuple:
        raise ShapeError(
            "flipud: expects a dim to reverse.", came="shape ()", fix="use reshape(1) first"
        )
    return flip(x, 0)


def rot90(x: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Return a copy turned by k quarters, from the first of two dims towards the second.

    Raises:
        ArgumentError: dims does not name two dims.
    """
    named = [axis("rot90", d, len(x.shape_tuple)) for d in dims]
    if len(set(named)) != 2 or len(named) != 2:
        raise ArgumentError(
            "rot90: turns the plane of two dims.",
            came=f"dims={dims}",
            fix="name two different dims",
        )
    first, second = named
    turns = k % 4
    if turns == 0:
        return clone(x)
    if turns == 2:
        return flip(x, first, second)
    return flip(transpose(x, first, second), first if turns == 1 else second)


# -- other names for the same ---------------------------------------------------------------------
swapaxes = swapdims = transpose
moveaxis = movedim
