"""An elementwise kernel behind a product takes the product's tiles while they are near.

A bias and an activation, or an optimizer's step behind a weight's gradient, read what a product
has just made, element by element. Done tile by tile they find it in the cache, and where nobody
else reads it the product never reaches memory. Every element is computed as before: no bit
changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tenor.compiler.schedule.access import identity, linear
from tenor.ir.kernel import Buffer, Kernel, Part
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.node import Node

__all__ = ["PRODUCERS", "join_finish"]

PRODUCERS: Final = frozenset(("matmul",))
"""Templates that hand their tiles on."""
FAR: Final = 8
"""Kernels a product waits for at the most: what it reads has to be kept meanwhile."""


Key = tuple["Node", int]
"""A value, and the element of it that a pointer points to."""


def join_finish(schedule: Schedule, fits: Callable[[Kernel, Kernel], bool]) -> Schedule:
    """Return the schedule with elementwise kernels joined to the products they follow.

    Args:
        schedule: Kernels in order.
        fits: Whether an elementwise kernel can be done for any run of elements of a product's row.
    """
    search = _Search(schedule, fits)
    number = 0
    while number < len(search.kernels):
        number += not search.join(number)
    return replace(
        schedule, kernels=search.kernels, values=search.values, labels=search.labels,
        stored=[n for n in schedule.stored if n not in search.gone],
    )  # fmt: skip


class _Search:
    """The kernels so far, and the search for pairs."""

    def __init__(self, schedule: Schedule, fits: Callable[[Kernel, Kernel], bool]) -> None:
        self.kernels, self.values = list(schedule.kernels), list(schedule.values)
        self.labels, self.fits, self.schedule = list(schedule.labels), fits, schedule
        self.outputs = set(schedule.graph.outputs)
        self.donated = {schedule.graph.outputs[at]: leaf for at, leaf in schedule.donated.items()}
        self.gone: set[Node] = set()

    def join(self, number: int) -> bool:
        """Join a product and the first kernel that reads it, if that may be; else return False."""
        kernel = self.kernels[number]
        if kernel.kind not in PRODUCERS:
            return False
        result = self.values[number][-1]
        reader = self._reader(number, result)
        if reader is None or not self.fits(kernel, self.kernels[reader]):
            return False
        if self._reads(number) & self._writes(reader):
            return False
        place = self._place(number, reader)
        if place is None or not self._may_wait(number, place, result):
            return False
        joined = self._joined(number, reader, result)
        label = f"{self.labels[number]}+{self.labels[reader]}"
        for entries, new in zip(
            (self.kernels, self.values, self.labels), (*joined, label), strict=True
        ):
            del entries[reader]  # type: ignore[attr-defined]
            entries.insert(place, new)  # type: ignore[attr-defined]
            del entries[number]  # type: ignore[attr-defined]
        return True

    def _reader(self, number: int, result: Node) -> int | None:
        """Return the next kernel that touches a result, if it reads each element at its index."""
        for i in range(number + 1, len(self.kernels)):
            if self._touches(i) & self._homes([result]):
                return i if result in self.values[i] and self._in_step(i, result) else None
        return None

    def _homes(self, nodes: Iterable[Node]) -> set[Node]:
        """Return the values whose bytes these are parts of."""
        return {self.schedule.home(node)[0] for node in nodes}

    def _touches(self, number: int) -> set[Node]:
        return self._homes(self.values[number])

    def _in_step(self, number: int, result: Node) -> bool:
        kernel, nodes = self.kernels[number], self.values[number]
        if kernel.kind != "map" or size(kernel.domain) != size(result.shape):
            return False
        own = linear(identity(kernel.domain), kernel.domain, len(kernel.domain))
        loads = [e.attrs for e in kernel.expressions() if e.op == "load"]
        of_result = [a for a in loads if nodes[a[0]] is result]
        return not any(guards or far or at != own for _, at, guards, far in of_result)

    def _writes(self, number: int) -> set[Node]:
        """Return what a kernel writes, the leaves it writes over among it."""
        pairs = zip(self.values[number], self.kernels[number].buffers, strict=True)
        made = {n for n, b in pairs if b.written}
        return self._homes(made | {self.donated[n] for n in made if n in self.donated})

    def _reads(self, number: int) -> set[Node]:
        pairs = zip(self.values[number], self.kernels[number].buffers, strict=True)
        return self._homes(n for n, b in pairs if not b.written)

    def _place(self, number: int, reader: int) -> int | None:
        """Return the first place at which the reader may be done; None where that is too far."""
        touched, written = self._touches(reader), self._writes(reader)
        for i in range(reader - 1, number, -1):
            if self._writes(i) & touched or self._touches(i) & written:
                return i + 1 if i + 1 - number <= FAR else None
        return number + 1

    def _may_wait(self, number: int, place: int, result: Node) -> bool:
        """Tell whether a product may be done as late as that."""
        read, made = self._reads(number), self._homes([result])
        between = range(number + 1, place)
        return not any(self._touches(i) & made or self._writes(i) & read for i in between)

    def _joined(self, number: int, reader: int, result: Node) -> tuple[Kernel, list[Node]]:
        """Return both as one kernel, and the nodes behind its pointers."""
        others = (v for i, v in enumerate(self.values) if i not in (number, reader))
        private = result not in self.outputs and not any(result in v for v in others)
        private &= self.schedule.home(result)[0] is result
        shared: dict[Key, Buffer] = {}
        wires: list[list[Key]] = []
        for i in (number, reader):
            keys = [
                (n, b.start) for n, b in zip(self.values[i], self.kernels[i].buffers, strict=True)
            ]
            wires.append(keys)
            for key, buffer in zip(keys, self.kernels[i].buffers, strict=True):
                if not (private and key[0] is result) and (key not in shared or buffer.written):
                    shared[key] = buffer
        numbers = {key: i for i, key in enumerate(shared)} | ({(result, 0): -1} if private else {})
        parts = tuple(
            Part(self.kernels[i], tuple(numbers[key] for key in keys))
            for i, keys in zip((number, reader), wires, strict=True)
        )
        if private:
            self.gone.add(result)
        made = Kernel("finish", self.kernels[number].domain, list(shared.values()), parts=parts)
        return made, [node for node, _ in shared]
