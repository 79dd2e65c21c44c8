"""The weight of a correlation packed into panels: channels of the result side by side."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

from tenor.compiler.lower.lane import first_lanes, transposed
from tenor.compiler.lower.microkernel import Extent, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.storage import compute_type, load_element
from tenor.ir.loops import Function, Value, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.lower.blocking import Shape
    from tenor.compiler.lower.correlation import Correlation
    from tenor.ir.dtype import DType

__all__ = ["each_panel", "pack_panel"]


def each_panel(
    f: Function, rows: int, columns: int, panel: Value, body: Callable[[int], None]
) -> None:
    """Run `body(channels of the panel)` for a panel of that number; the last may hold fewer."""
    full, rest = divmod(rows, columns)
    if not rest:
        body(columns)
    elif not full:
        body(rest)
    else:
        f.if_(f.compare("eq", panel, full), lambda: body(rest), lambda: body(columns))


def pack_panel(
    f: Function, g: Correlation, dtype: DType, tile: Shape, size: int, from_: Value, to: Value,
    numbers: Value | None,
) -> None:  # fmt: skip
    """Pack a panel: for each (channel of the image, tap), a row of channels of the result.

    Args:
        f: The function being written.
        g: What the weight is for.
        dtype: The weight's.
        tile: What meets the panel.
        size: The channels there are: a row is of whole vectors of them, the rest is zero.
        from_: The weight of the panel's first channel.
        to: The panel.
        numbers: A table of the row of each (channel, tap); None: they follow each other.
    """
    taps = prod(g.taps)
    padded = ceil(size / tile.width) * tile.width
    if taps == 1 or (g.column == taps and numbers is None):
        move = mover(f"pack{size}", Layout(dtype, g.column // taps, g.row),
                     Layout(dtype.compute, padded, 1), size, tile.width, padded=padded)  # fmt: skip
        f.call(move, [from_, to, f.const(g.k, "i64")])
    else:
        given = [] if numbers is None else [numbers]
        f.call(_taps_apart(g, dtype, tile, size, padded, bool(given)), [from_, to, *given])


def _taps_apart(
    g: Correlation, dtype: DType, tile: Shape, size: int, padded: int, table: bool
) -> Function:
    """Return the function (from, to[, numbers]) that packs a panel whose taps lie together."""
    params = [("from", "ptr"), ("to", "ptr")]
    f = Function(f"pack{size}", params + [("numbers", "ptr")] * table)
    from_, to, *numbers = f.params
    every = prod(g.taps)
    lanes = min(tile.width, 1 << (every - 1).bit_length())
    zero = f.const(0, vector(compute_type(dtype), lanes))

    def squares(c: Value, tap: Value, taps: int) -> None:
        for j in range(0, padded, lanes):
            vectors = [
                load_element(
                    f, dtype, from_, f.add(f.add(f.mul(c, g.column), tap), (j + d) * g.row), lanes,
                    mask=first_lanes(f, taps, lanes),
                ) if j + d < size else zero
                for d in range(lanes)
            ]  # fmt: skip
            for d, x in enumerate(transposed(f, vectors)[:taps]):
                at = f.add(f.add(f.mul(c, every), tap), d)
                if numbers:
                    at = f.convert("sext", f.load("i32", numbers[0], at), "i64")
                f.store(x, to, f.add(f.mul(at, padded), j))

    def channel(c: Value, _: list[Value]) -> None:
        taps = Extent(f.const(every, "i64"), lanes, every % lanes)
        sweep(f, taps, lambda tap, count: squares(c, tap, count))

    f.loop(0, g.source, 1, channel)
    return f
