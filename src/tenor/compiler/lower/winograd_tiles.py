"""What Winograd's F(2x2, 3x3) and its gradient share: an image's tiles, transformed."""

from __future__ import annotations

from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.config import config
from tenor.ir import dtype as dt
from tenor.ir.loops import Function, Value, vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.compiler.lower.window import Padded
    from tenor.ir.dtype import DType

__all__ = ["POINTS", "both", "pays", "pitch_of", "transform_tiles"]

POINTS: Final = 16
"""Points of a transformed tile."""
CHANNELS: Final = 32
"""Channels from which on the products outweigh the transforms."""


def pays(dtype: DType, taps: tuple[int, ...], source: int, rows: int, out: tuple[int, ...]) -> bool:
    """Tell whether neighbouring taps are worth transforming: by the shape of one image.

    Args:
        dtype: Of the elements.
        taps: Extents of the window.
        source, rows: Channels of a group on both sides.
        out: Extents of the result that is cut into tiles of two by two.
    """
    covered = prod(ceil(n / 2) * 2 for n in out)
    return (
        config.winograd
        and dtype is dt.float32
        and taps == (3, 3)
        and min(source, rows) >= CHANNELS
        and 2 * covered <= 3 * prod(out)
    )


def both(
    points: dict[tuple[int, int], Value], count: int,
    along: Callable[[Sequence[Value]], list[Value]],
) -> list[Value]:  # fmt: skip
    """Return a square of points with both dims transformed, row-major."""
    columns = [along([points[r, s] for r in range(count)]) for s in range(count)]
    return [x for row in zip(*columns, strict=True) for x in along(row)]


def pitch_of(count: int, width: int) -> int:
    """Return the elements from one channel's tiles to the next.

    Rows that are a power of two apart would share cache lines' sets.
    """
    lines = ceil(count / width)
    return (lines + 1 - lines % 2) * width


def transform_tiles(
    kind: str, lanes: int, shape: Padded, grid: tuple[int, int], pitch: int, plane: int
) -> Function:
    """Return the function (copy, points, channels) that transforms each channel's tiles.

    Args:
        kind: Scalar type of the elements.
        lanes: Tiles of a row that go together. Vectors are stored whole: the next row, or image,
            overwrites what is too much.
        shape: The padded copy, a plane for each residue modulo 2.
        grid: Tiles down and across.
        pitch: Elements from one channel's points to the next.
        plane: Elements from one point to the next.
    """
    f = Function("forward", [("from", "ptr"), ("to", "ptr"), ("channels", "i64")])
    from_, to, channels = f.params
    down, across = grid

    def along(v: Sequence[Value]) -> list[Value]:
        return [f.sub(v[0], v[2]), f.add(v[1], v[2]), f.sub(v[2], v[1]), f.sub(v[1], v[3])]

    def tiles(c: Value, i: Value, j: Value) -> None:
        start = f.add(f.add(f.mul(c, shape.channel), f.mul(i, shape.pitches[0])), j)
        met = {
            (r, s): f.load(vector(kind, lanes), from_, f.add(
                start,
                (r % 2 * 2 + s % 2) * shape.plane + r // 2 * shape.pitches[0] + s // 2,
            ))
            for r, s in product(range(4), repeat=2)
        }  # fmt: skip
        at = f.add(f.add(f.mul(c, pitch), f.mul(i, across)), j)
        for p, x in enumerate(both(met, 4, along)):
            f.store(x, to, f.add(at, p * plane))

    def rows(c: Value, _: list[Value]) -> None:
        f.loop(0, down, 1, lambda i, _: f.loop(
            0, across, lanes, lambda j, _: tiles(c, i, j)))  # fmt: skip

    f.loop(0, channels, 1, rows)
    return f
