"""Strides as PyTorch would have them, worked out from how a view was derived.

Tenor's values have no strides; which reshapes share storage and which copy is part of PyTorch's
meaning, so it is answered here from the chain of view operations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.engine.handle import Handle
    from tenor.ir.node import Shape
    from tenor.ir.op import Op

__all__ = ["contiguous", "is_contiguous", "restrided", "strides_of"]

Strides = tuple[int, ...]
Chain = tuple[tuple["Op", tuple[Any, ...]], ...]


def contiguous(shape: Shape) -> Strides:
    """Return the strides, in elements, of row-major storage."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def strides_of(x: Handle) -> Strides | None:
    """Return the strides of a tensor; None for a view that strides cannot describe."""
    if x.base is None:
        return contiguous(x.shape_tuple)
    return _followed(x.base.shape_tuple, x.chain)


@lru_cache(maxsize=4096)
def _followed(shape: Shape, view: Chain) -> Strides | None:
    strides: Strides | None = contiguous(shape)
    for op, attrs in view:
        if strides is None:
            return None
        shape, strides = _through(op, attrs, shape, strides)
    return strides


def _through(
    op: Op, attrs: tuple[Any, ...], shape: Shape, strides: Strides
) -> tuple[Shape, Strides | None]:
    if op is ops.RESHAPE:
        return attrs[0], restrided(shape, strides, attrs[0])
    if op is ops.PERMUTE:
        return tuple(shape[d] for d in attrs[0]), tuple(strides[d] for d in attrs[0])
    if op is ops.SLICE:
        return attrs[1], tuple(s * step for s, step in zip(strides, attrs[2], strict=True))
    if op is ops.EXPAND:
        wide = attrs[0]
        head = len(wide) - len(shape)
        tail = [s if n == m else 0 for n, m, s in zip(shape, wide[head:], strides, strict=True)]
        return wide, (0,) * head + tuple(tail)
    if op is ops.UNFOLD:
        dim, width, step, dilation = attrs
        count = max(0, (shape[dim] - (width - 1) * dilation - 1) // step + 1)
        moved = (*strides[:dim], strides[dim] * step, *strides[dim + 1 :], strides[dim] * dilation)
        return (*shape[:dim], count, *shape[dim + 1 :], width), moved
    return shape, strides


def restrided(shape: Shape, strides: Strides, new: Shape) -> Strides | None:
    """Return the strides of a reshape that moves nothing, or None where there are none.

    Old dims are merged into runs that lie evenly in memory; each run must be split by new dims
    exactly.
    """
    if size(shape) == 0:
        return contiguous(new)
    runs: list[tuple[int, int]] = []
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1:
            continue
        if runs and runs[-1][1] == extent * stride:
            runs[-1] = (runs[-1][0] * extent, stride)
        else:
            runs.append((extent, stride))
    result: list[int] = []
    wanted = list(new)
    left, stride = runs.pop() if runs else (1, 1)
    for extent in reversed(wanted):
        if left == 1 and extent != 1:
            if not runs:
                return None
            left, stride = runs.pop()
        if left % extent:
            return None
        result.append(stride)
        stride *= extent
        left //= extent
    return tuple(reversed(result)) if left == 1 and not runs else None


def is_contiguous(x: Handle) -> bool:
    """Return whether a tensor's elements lie in storage in row-major order."""
    if x.base is None or size(x.shape_tuple) == 0:
        return True
    shape, strides = x.shape_tuple, strides_of(x)
    if strides is None:
        return False
    wanted = contiguous(shape)
    return all(n == 1 or s == w for n, s, w in zip(shape, strides, wanted, strict=True))
