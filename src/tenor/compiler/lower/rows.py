"""Several kernels over the same rows: a few rows go through all of them while they are near."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.frame import ahead_of, is_large
from tenor.compiler.lower.map import lower_map
from tenor.compiler.lower.reduce import lower_reduce
from tenor.compiler.lower.storage import Scratch, entry
from tenor.ir.node import size
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Value
    from tenor.ir.target import Target

__all__ = ["lower_rows"]

PARTS: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "map": lower_map,
    "reduce": lower_reduce,
}

NEAR: Final = 1 << 18
"""Elements of columns that are done together: the second-level cache holds them."""


def lower_rows(kernel: Kernel, target: Target) -> Lowered:
    """Lower the parts of a kernel, and call each for the rows of a tile.

    Params: span, the elements of the domain a tile covers; private, the buffers only the parts
    see: a tile's rows of them lie in scratch, at the pointer from which the tile's index finds
    them there; columns, whether a tile is columns, of which many are done together.
    """
    span, private = kernel.params["span"], kernel.params["private"]
    domain = size(kernel.domain)
    lowered = [
        PARTS[part.kernel.kind](replace(part.kernel, params={"ahead": ahead}), target)
        for part, ahead in zip(kernel.parts, _ahead(kernel), strict=True)
    ]
    covered = [low.covers(domain) for low in lowered]
    assert all(span % count == 0 for count in covered), "parts cover different rows"
    f, buffers, begin, end, scratch = entry(kernel)
    status = f.params[4]
    space = Scratch(f, scratch)
    tables = [space.take(8 * len(part.wires)) for part in kernel.parts]
    sizes = [b.size * span // domain * b.dtype.itemsize for b in private]
    places = [space.take(count) for count in sizes]
    rest = space.take(max(low.scratch for low in lowered))

    step = max(1, NEAR // span) if kernel.params["columns"] and not free(span) else 1

    def tile(t: Value, _: list[Value]) -> None:
        own = [f.gep(at, f.mul(t, -n), "i8") for at, n in zip(places, sizes, strict=True)]
        rows = zip(kernel.parts, lowered, covered, tables, strict=True)
        for number, (part, low, count, table) in enumerate(rows):
            for i, wire in enumerate(part.wires):
                f.store(buffers[wire] if wire >= 0 else own[~wire], table, i)
            first, last = t, f.add(t, 1) if step == 1 else f.op("smin", f.add(t, step), end)
            if count != span:
                each = span // count
                first, last = f.mul(first, each), f.op("smin", f.mul(last, each), low.tiles)
            low.function.name = f"part{number}"
            f.call(low.function, [table, first, last, rest, status])

    f.loop(begin, end, step, tile)
    cost = sum(low.cost for low in lowered)
    return Lowered(f, ceil(domain / span), space.used, cost, span)


def _ahead(kernel: Kernel) -> list[dict[int, int]]:
    """Return for each part how many elements ahead it asks for those of its buffers.

    The first part to read rows would wait for memory while there is nothing else to do: of what
    several read, the last one asks for the next rows.
    """
    span, domain = kernel.params["span"], size(kernel.domain)
    readers: dict[int, list[int]] = {}
    for number, part in enumerate(kernel.parts):
        for wire, buffer in zip(part.wires, part.kernel.buffers, strict=True):
            if wire >= 0 and is_large(buffer) and buffer.size == domain and not buffer.written:
                readers.setdefault(wire, []).append(number)
    ahead: list[dict[int, int]] = [{} for _ in kernel.parts]
    for wire, parts in readers.items():
        next_rows = len(parts) > 1 and not kernel.params["columns"]
        number = parts[-1 if next_rows else 0]
        which = kernel.parts[number].wires.index(wire)
        near = ahead_of(kernel.parts[number].kernel.buffers[which])
        ahead[number][which] = span if next_rows else near
    return ahead
