"""Several kernels over the same rows: a few rows go through all of them while they are near."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.map import lower_map
from tenor.compiler.lower.reduce import lower_reduce
from tenor.compiler.lower.storage import entry
from tenor.ir.node import size
from tenor.ir.program import Lowered

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


def lower_rows(kernel: Kernel, target: Target) -> Lowered:
    """Lower the parts of a kernel, and call each for the rows of a tile.

    Params: span, the elements of the domain a tile covers; private, the buffers only the parts
    see: a tile's rows of them lie in scratch, at the pointer from which the tile's index finds
    them there.
    """
    span, private = kernel.params["span"], kernel.params["private"]
    domain = size(kernel.domain)
    lowered = [PARTS[part.kernel.kind](part.kernel, target) for part in kernel.parts]
    covered = [low.covers(domain) for low in lowered]
    assert all(span % count == 0 for count in covered), "parts cover different rows"
    f, buffers, begin, end, scratch = entry(kernel)
    status = f.params[4]
    used = 0

    def room(count: int) -> Value:
        nonlocal used
        used, at = used + ceil(count / 64) * 64, used
        return f.gep(scratch, at, "i8")

    tables = [room(8 * len(part.wires)) for part in kernel.parts]
    sizes = [b.size * span // domain * b.dtype.itemsize for b in private]
    places = [room(count) for count in sizes]
    rest = room(max(low.scratch for low in lowered))

    def tile(t: Value, _: list[Value]) -> None:
        own = [f.gep(at, f.mul(t, -n), "i8") for at, n in zip(places, sizes, strict=True)]
        rows = zip(kernel.parts, lowered, covered, tables, strict=True)
        for number, (part, low, count, table) in enumerate(rows):
            for i, wire in enumerate(part.wires):
                f.store(buffers[wire] if wire >= 0 else own[~wire], table, i)
            first, last = t, f.add(t, 1)
            if count != span:
                first = f.mul(t, span // count)
                last = f.op("smin", f.add(first, span // count), low.tiles)
            low.function.name = f"part{number}"
            f.call(low.function, [table, first, last, rest, status])

    f.loop(begin, end, 1, tile)
    cost = sum(low.cost for low in lowered)
    return Lowered(f, ceil(domain / span), used, cost, span)
