"""A product whose tiles an elementwise kernel takes while they are near."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.index import simplify
from tenor.compiler.lower.map import lower_run, runs
from tenor.compiler.lower.storage import memory_type
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["Finish", "may_finish"]

RESULT: Final = 2
"""The number of the buffer a product writes, where its result is not private."""
STREAMS: Final = 1
"""Further arrays of the product's size that are read at the most: with more of them (the moments
of an optimizer) the tile is pushed out of the cache, and going over whole arrays is faster."""


def may_finish(producer: Kernel, kernel: Kernel, target: Target) -> bool:
    """Tell whether an elementwise kernel can be done for any part of a row of a product."""
    row = producer.params["n"]
    if row < 2 or _streams(kernel) > STREAMS + 1:
        return False
    domain = simplify(kernel).domain
    return bool(domain) and domain[-1] % row == 0 and runs(kernel, target)


def _streams(kernel: Kernel) -> int:
    """Return how many buffers as large as the domain are read."""
    whole = size(kernel.domain)
    read = {e.attrs[0] for e in kernel.expressions() if e.op == "load"}
    return sum(kernel.buffers[b].size == whole for b in read)


class Finish:
    """The elementwise kernel, called for the rows of a tile.

    Args:
        kernel: A product, and what takes its results as its part.
        target: The target.

    Attributes:
        private: Whether nobody else reads the product: a tile lies in scratch, and is gone after.
        bytes: Of scratch for its table of arguments.
        cost: Rough nanoseconds of the elementwise kernel.
    """

    def __init__(self, kernel: Kernel, target: Target) -> None:
        (self.part,) = kernel.parts
        self.lowered = lower_run(self.part.kernel, target)
        self.lowered.function.name = "taker"
        self.private = min(self.part.wires) < 0
        result = ~0 if self.private else RESULT
        self.slots = [i for i, wire in enumerate(self.part.wires) if wire == result]
        self.dtype = self.part.kernel.buffers[self.slots[0]].dtype
        self.bytes = 8 * len(self.part.wires)
        self.cost = self.lowered.cost

    def prepare(self, f: Function, buffers: list[Value], table: Value) -> None:
        """Write the table of arguments down, once a call."""
        self.f, self.table = f, table
        for i, wire in enumerate(self.part.wires):
            if wire >= 0:
                f.store(buffers[wire], table, i)

    def rows(
        self, count: Value, length: Value, first: Value, step: int, near: Value, pitch: int
    ) -> None:
        """Do the kernel for rows of a tile.

        Args:
            count, length: How many rows, and elements of each.
            first: Number of the first element in the whole result.
            step: Elements from one row to the next in the whole result.
            near: Where the first element lies; read where the tile is private.
            pitch: Elements from one row to the next there.
        """
        f = self.f

        def row(r: Value) -> None:
            begin = f.add(first, f.mul(r, step))
            if self.private:
                at = f.gep(near, f.sub(f.mul(r, pitch), begin), memory_type(self.dtype))
                for slot in self.slots:
                    f.store(at, self.table, slot)
            status = f.params[4]
            arguments = [self.table, begin, f.add(begin, length), self.table, status]
            f.call(self.lowered.function, arguments)

        if count.const == 1:
            row(f.const(0, "i64"))
        else:
            f.loop(0, count, 1, lambda r, _: row(r))
