"""Diagonals and triangles of matrices."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.alias import write
from tenor.engine.trace import record
from tenor.errors import AxisError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.tensor.conversion import from_array
from tenor.tensor.dims import axis
from tenor.tensor.elementwise import where
from tenor.tensor.joining import sliced
from tenor.tensor.movement import clone, movedim, permute, viewed
from tenor.tensor.operands import constant, slot
from tenor.tensor.reduction import reshaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.tensor.operands import Number
    from tenor.tensor.tensor import Tensor

__all__ = [
    "diag", "diag_embed", "diagflat", "diagonal", "tril", "tril_indices", "triu", "triu_indices",
]  # fmt: skip


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
    count = builtins.max(
        0, builtins.min(rows + builtins.min(offset, 0), columns - builtins.max(offset, 0))
    )
    start = offset if offset >= 0 else -offset * columns
    line = viewed(front, (*front.shape_tuple[:-2], rows * columns))
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


def diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return matrices with the last dim of x as their diagonals and zeros elsewhere.

    Args:
        x: Any tensor with a dim.
        offset: How far above the main diagonal.
        dim1: Where the rows go.
        dim2: Where the columns go.
    """
    *batch, n = x.shape_tuple
    extent = n + builtins.abs(offset)
    above, below = builtins.max(offset, 0), builtins.max(-offset, 0)
    # Row r holds element r - below; the mask keeps it in column r + offset.
    still = (0,) * len(batch)
    column = reshaped(x, (*batch, n, 1))
    tall = record(ops.PAD, (column,), ((*still, below, 0), (*still, above, 0), 0))
    here = _below(extent, extent, offset) ^ _below(extent, extent, offset - 1)
    made = where(here, tall, constant(0, x.element_type))
    ndim = len(batch) + 2
    places = axis("diag_embed", dim1, ndim), axis("diag_embed", dim2, ndim)
    return made if places == (ndim - 2, ndim - 1) else movedim(made, (-2, -1), places)


def diagflat(x: Tensor, offset: int = 0) -> Tensor:
    """Return the matrix that has the elements of x, flattened, as its diagonal."""
    return diag_embed(reshaped(x, (x.numel(),)), offset)


def fill_diagonal_(x: Tensor, fill_value: Number, wrap: bool = False) -> Tensor:
    """Write a value along the main diagonal; return the tensor.

    Args:
        x: Two dims, or more of one extent.
        fill_value: The value.
        wrap: Begin anew below the square in a tall matrix.

    Raises:
        ShapeError: x has one dim, or more than two of different extents.
    """
    shape = x.shape_tuple
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise ShapeError(
            "fill_diagonal_: expects two dims, or more of one extent.",
            came=f"shape {shape}",
            fix="use diagonal(offset, dim1, dim2).fill_()",
        )
    step = builtins.sum(size(shape[d + 1 :]) for d in range(len(shape)))
    end = x.numel() if wrap else builtins.min(shape) * step
    place = record(ops.IOTA, (), (x.numel(), dt.int64))
    here = reshaped((place % step == 0) & (place < end), shape)
    write(x, where(here, slot(fill_value, x.element_type), x))
    return x


def _triangle(found: tuple[NDArray[Any], ...], dtype: Any) -> Tensor:
    return from_array(np.stack(found), dt.int64 if dtype is None else dt.of(dtype))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Tensor:
    """Return the rows and columns of a lower triangle's elements, shape [2, count]."""
    return _triangle(np.tril_indices(row, offset, col), dtype)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Tensor:
    """Return the rows and columns of an upper triangle's elements, shape [2, count]."""
    return _triangle(np.triu_indices(row, offset, col), dtype)


_diagonal = diagonal
