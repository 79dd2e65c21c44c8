"""What map and reduce kernels share: the entry, the walk over rows, the vector loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.evaluate import WORD, Axis, Evaluator
from tenor.compiler.lower.storage import ROWS
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import ABI
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.kernel import Affine, Buffer, Kernel
    from tenor.ir.target import Target

__all__ = ["GRAIN", "ahead_of", "begin", "is_large", "over_rows", "over_vectors"]

MASKED: Final = 512
"""Bits of x86's vectors that come with masks for bytes; half as wide ones have those for words."""
NEVER: Final = 16
"""Bytes that no element has."""
LARGE: Final = 1 << 21
"""Bytes of an array from which on it is far."""
AHEAD: Final = 2048
"""Bytes ahead of its use that an array is asked for."""
GRAIN: Final = 8192
"""Elements a tile holds, about: enough to be worth handing to another thread."""


def begin(kernel: Kernel, target: Target) -> tuple[Evaluator, Value, Value]:
    """Start a kernel's function; return its evaluator, and the range of tiles."""
    f = Function(kernel.kind, ABI, exported=True)
    args, low, high, scratch, status = f.params
    buffers = [f.load("ptr", args, i) for i in range(len(kernel.buffers))]
    e = Evaluator(f, kernel, buffers, scratch, status)
    e.masks = _masks(target)
    e.ahead = _ahead(kernel)
    return e, low, high


def _masks(target: Target) -> int:
    """Return the bytes of an element from which on a load of some lanes is an instruction."""
    if not target.triple.startswith("x86") or target.vector_bits < MASKED // 2:
        return NEVER
    return 1 if target.vector_bits >= MASKED else WORD


def _ahead(kernel: Kernel) -> Callable[[int, Affine], int]:
    """Return how far ahead elements are asked for: those of large arrays, or as the params say.

    The machine foresees little where a vector takes many instructions, and nothing of a new page.
    """
    given: dict[int, int] | None = kernel.params.get("ahead")
    if given is None:
        given = {i: ahead_of(b) for i, b in enumerate(kernel.buffers) if is_large(b)}
    far = given
    return lambda number, _: far.get(number, 0)


def ahead_of(buffer: Buffer) -> int:
    """Return how many elements ahead of its use a large array is asked for."""
    return AHEAD // buffer.dtype.itemsize


def is_large(buffer: Buffer) -> bool:
    """Tell whether an array is worth asking for; one of a size not known yet is."""
    return free(buffer.size) or buffer.size * buffer.dtype.itemsize >= LARGE


def over_rows(
    e: Evaluator, low: Value, high: Value, dims: Sequence[int], extents: Sequence[int],
    per_tile: int, rows: int, body: Callable[[Value], None],
    ask: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Run `body(unit)` for every unit of the tiles [low, high), with the axes of `dims` set.

    Args:
        e: The evaluator; level 1 is the unit's.
        low, high: The tiles.
        dims: The outer dims, whose extents a unit's number is split into, last fastest.
        extents: Their extents.
        per_tile: Units of a tile.
        rows: Units in all.
        body: Writes one unit.
        ask: Asks for what a unit will read, some units ahead.
    """
    f = e.f
    first = f.mul(low, per_tile)
    last = f.mul(high, per_tile)
    if free(rows) or free(per_tile) or rows % per_tile:
        last = f.op("smin", last, rows)

    def at(u: Value) -> None:
        e.enter(1)
        rest = u
        for d, n in zip(reversed(dims), reversed(extents), strict=True):
            outermost = d == dims[0]
            index = rest if outermost else f.op("urem", rest, n)
            rest = rest if outermost else f.op("udiv", rest, n)
            e.axes[d] = Axis(index, 1)

    def unit(u: Value, _: object) -> None:
        if ask is not None:
            at(f.op("smin", f.add(u, ROWS), f.sub(last, 1)))
            ask()
        at(u)
        body(u)

    f.loop(first, last, 1, unit)


def over_vectors(
    e: Evaluator,
    dim: int,
    low: Value,
    high: Value,
    unroll: int,
    level: int,
    body: Callable[[], None],
    *,
    whole: bool = False,
) -> None:
    """Run `body()` over [low, high) of the vector dim: whole vectors first, masked ones after.

    Where it is `whole`, steps of so many vectors end with it, and there are none.

    The masked vectors compute by the same formula, so an element's bits do not depend on where it
    stands.
    """
    f, width = e.f, e.width
    step = width * unroll
    e.vector_dim = dim
    count = f.sub(high, low)
    full = high if whole else f.add(low, f.sub(count, f.op("srem", count, step)))
    fixed = count.const if isinstance(count.const, int) else None

    def main(i: Value, _: object) -> None:
        e.axes[dim] = Axis(i, level)
        e.mask = None
        e.enter(level)
        for u in range(unroll):
            e.shift = u * width
            e.refresh()
            body()
        e.shift = 0

    if fixed is None or fixed >= step:
        f.loop(low, full, step, main)

    def rest(i: Value, _: object) -> None:
        e.axes[dim] = Axis(i, level)
        e.enter(level)
        if width > 1:
            lane = f.add(f.splat(i, width), f.iota(vector("i64", width)))
            e.mask = f.compare("slt", lane, f.splat(high, width))
        body()
        e.mask = None

    if not whole and (fixed is None or fixed % step):
        f.loop(full, high, width, rest)
