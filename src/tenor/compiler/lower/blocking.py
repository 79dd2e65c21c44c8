"""How a contraction is cut: registers, blocks of k, and tiles for threads.

Only `depth_of` may show in the bits of a result, and it looks at k alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.ir.target import Target

__all__ = ["DEPTH", "FETCHED", "FEW", "MANY", "TILES", "Shape", "cycles_of", "depth_of", "halved",
           "lanes_of", "parted", "pieces_of", "register_tile", "shared", "strip_tile", "tiles_for",
           "turned_tile", "usual"]  # fmt: skip

DEPTH: Final = 512
"""Longest run of k that goes through one accumulator before it is added to C."""

TALLEST: Final = 14
"""Rows of a register tile, at the most."""
WAYS: Final = 8
"""Rows, far apart by a power of two, that the first-level cache holds beside other data."""
GRAIN: Final = 1_000_000
"""Multiply-adds a tile does at the least, where there is a choice."""
MANY: Final = 4096
"""Stands for an extent that is not known."""
USUAL: Final = 32
"""Stands for a batch that is not known."""
FETCHED: Final = 8
"""How much longer a multiply-add takes where each element of b is used once or twice."""
FEW: Final = 16
"""Rows for which a matrix that stays the same is brought into strips."""
SHARED: Final = 3_000
"""Nanoseconds a tile takes at the least, where a matrix is read once."""
TILES: Final = 8
"""Tiles a large contraction has at least."""


def depth_of(k: int) -> int:
    """Return the length of a block of k: equal blocks, rounded up to 16."""
    blocks = max(1, ceil(k / DEPTH))
    return ceil(ceil(k / blocks) / 16) * 16 if blocks > 1 else k


def usual(batch: int) -> int:
    """Return a batch, or a usual one where it is not known: for choices that show in no result."""
    return USUAL if free(batch) else batch


def lanes_of(dtype: DType, target: Target) -> int:
    """Return the lanes of a vector of sums; narrow integers use as many as 32-bit ones."""
    return target.lanes(max(32, 8 * dtype.compute.itemsize))


@dataclass(frozen=True)
class Shape:
    """A tile of C held in registers: rows, vectors of columns, lanes of a vector."""

    rows: int
    vectors: int
    width: int

    @property
    def columns(self) -> int:
        """Columns of the tile."""
        return self.vectors * self.width


def register_tile(
    m: int, n: int, width: int, target: Target, panel: int = 0, *, even: bool = False
) -> Shape:
    """Return the tile that takes the fewest cycles on an m x n result.

    Extents known at run time only are taken for long ones. Columns of B that lie together are
    `panel` at a time, of which a tile takes a part; 0: all do. Where tiles are to be even across,
    as two threads share them, an odd one costs as much as two.
    """
    m, n = (MANY if free(x) else x for x in (m, n))
    room = target.registers - 1
    best, fewest = Shape(1, 1, min(width, _power(n))), float("inf")
    for lanes in {width, min(width, _power(n))}:
        for vectors in range(1, 9):
            if vectors > 1 and (vectors - 1) * lanes >= n:
                break
            for rows in range(1, min(m, TALLEST if vectors == 1 else WAYS) + 1):
                if rows * vectors + vectors > room or (panel and panel % (vectors * lanes)):
                    break
                tile = Shape(rows, vectors, lanes)
                across = n + (even and n > tile.columns) * (-n % (2 * tile.columns))
                cycles = cycles_of(m, across, tile)
                if cycles < fewest:
                    best, fewest = tile, cycles
    return best


def turned_tile(m: int, n: int, width: int) -> Shape | None:
    """Return the tile for a B that is transposed on the fly; None where packing it pays."""
    if free(m) or m > 8 or n < width or width < 4:
        return None
    return Shape(m, 2 if m == 1 and width <= 8 and n > width else 1, width)


def _power(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


def cycles_of(m: int, n: int, tile: Shape) -> float:
    """Return cycles of one step of k over the whole result, and a price for odd edges."""

    def step(rows: int, vectors: int) -> float:
        if not rows or not vectors:
            return 0
        # Loads that fit beside the multiply-adds still cost, since lines are on their way
        # meanwhile; and a set of the first-level cache holds a line of eight rows.
        loads = 0.12 * rows + 0.3 * vectors + 0.2 * max(0, rows - 8)
        return max(0.5 * rows * vectors, 0.5 * (rows + vectors), 4) + loads + 0.25

    full_m, rest_m = divmod(m, tile.rows)
    full_n, rest_n = divmod(n, tile.columns)
    edge = ceil(rest_n / tile.width)
    total = 0.0
    for count, rows in ((full_m, tile.rows), (1, rest_m)):
        total += count * (full_n * step(rows, tile.vectors) + step(rows, edge))
    return total * (1 + 0.01 * bool(rest_m) + 0.02 * bool(rest_n))


def tiles_for(work: int) -> int:
    """Return how many tiles so many multiply-adds should be cut into at least: one, or even.

    Of work known at run time only, it is asked once whether it is worth cutting.
    """
    if free(work):
        return TILES if work >= 2 * GRAIN else 1
    tiles = min(TILES, work // GRAIN)
    return tiles + tiles % 2 if tiles > 1 else 1


def strip_tile(m: int, n: int, width: int, target: Target) -> Shape:
    """Return the tile for a matrix that lies in strips of a tile's columns."""
    return register_tile(m, n, width, target, even=True)


def pieces_of(nanoseconds: int, pieces: int) -> int:
    """Return how many of a kernel's equal pieces a tile takes, so that two threads do as many."""
    wanted = max(1, min(TILES, nanoseconds // SHARED, pieces))
    least = ceil(pieces / (wanted + wanted % 2 * (1 < wanted < pieces)))
    if wanted == 1:
        return least

    def longer(each: int) -> int:
        return ceil(ceil(pieces / each) / 2) * each

    return min(range(least, min(2 * least, pieces) + 1), key=longer)


def parted(count: int, piece: int, most: int, at_least: int = 1) -> int:
    """Return a multiple of `piece`, about `most` at the most, that cuts `count` evenly."""
    pieces = ceil(count / piece)
    parts = max(at_least, ceil(count / max(most, piece)))
    return ceil(pieces / min(parts, pieces)) * piece


def shared(count: int, piece: int, vector: int, most: int, at_least: int = 1) -> int:
    """Return an equal share of a count, if it is of whole vectors, or what `parted` returns."""
    parts = max(at_least, ceil(count / max(most, piece)))
    each, rest = divmod(count, parts)
    return parted(count, piece, most, at_least) if rest or each % vector or each < piece else each


def halved(count: int, at_least: int) -> int:
    """Return the length of at least so many parts: half of several are about half of the whole."""
    longest = ceil(count / at_least)
    lengths = range(longest, max(1, longest // 2) - 1, -1) if longest < count else (longest,)
    return min(lengths, key=lambda n: min(count, ceil(ceil(count / n) / 2) * n))
