"""An elementwise kernel becomes part of the product or convolution that it follows.

A bias and an activation, or an optimizer's step behind a weight's gradient, read what a kernel has
just made, element by element. Done to a piece as soon as the piece is there, they find it in the
cache or in a register, and where nobody else reads it the result never reaches memory. Every
element is computed as before: no bit changes.

The search for such pairs and the joining are one for all kernels. What a map may hold, and where
the result is until the map takes it, depends on how a kernel leaves what it makes: tile by tile,
piece by piece of an image's channels, or element by element. A `Way` says that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tenor.compiler.schedule.access import identity, linear
from tenor.ir.kernel import Affine, Kernel, Part
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.node import Node, Shape

__all__ = ["Way", "by_element", "by_piece", "by_tile", "join_maps"]

FAR: Final = 8
"""Kernels a product waits for at the most: what it reads has to be kept meanwhile."""
PLACED: Final = frozenset(("random", "iota", "inside", "reduced", "wrap_index"))
"""What a map done to pieces may not hold: it says where an element is, or checks it."""
PIECE_WEIGHT: Final = 64
"""Expressions of a map at the most: its code stands in every convolution it follows."""
ELEMENT_WEIGHT: Final = 48
"""Expressions of a map at the most: its code stands in the product for each of its elements."""
BOUND: Final = 7
"""Values behind the pointers of both at the most, where each is bound by itself."""


@dataclass(frozen=True)
class Way:
    """How kernels hand what they make to the map that follows.

    Attributes:
        hands: Whether a kernel does.
        fits: Whether a map can take what a kernel makes; it reads each element at its own index.
        over: Kinds whose result stands in a buffer of the map's until the map writes there; of
            others it is private where the map alone reads it, and has its own buffer elsewhere.
        shared: Whether others may read the result. Then both are done as early as the map may be.
        bound: Values behind the pointers of both at the most; 0: as many as there are.
    """

    hands: Callable[[Kernel], bool]
    fits: Callable[[Kernel, Kernel], bool]
    over: frozenset[str] = frozenset()
    shared: bool = False
    bound: int = 0


def by_tile(fits: Callable[[Kernel, Kernel], bool]) -> Way:
    """Return the way of matrix products: a map takes runs of rows.

    Args:
        fits: Whether a map can be done for any run of elements of a product's row.
    """
    return Way(lambda kernel: kernel.kind == "matmul", fits, shared=True)


def by_piece(hands: Callable[[Kernel], bool]) -> Way:
    """Return the way of convolutions: a map takes some places of some channels.

    Args:
        hands: Whether a convolution leaves its result so.
    """
    return Way(hands, _takes_pieces, over=frozenset(("conv", "conv_input")))


def by_element(kinds: AbstractSet[str]) -> Way:
    """Return the way of products that leave an element at a time, from a register.

    Args:
        kinds: Those products.
    """
    return Way(lambda kernel: kernel.kind in kinds, _takes_elements, bound=BOUND)


def _takes_pieces(producer: Kernel, kernel: Kernel) -> bool:
    """Tell whether a map can be done to any places of any channels, wherever those are."""
    domain, own = kernel.domain, _own(kernel.domain)
    if domain != producer.domain or len(domain) < 3:
        return False
    if any(store.affine != own for store in kernel.stores):
        return False
    used = list(kernel.expressions())
    if len(used) > PIECE_WEIGHT or any(e.op in PLACED for e in used):
        return False
    loads = [e.attrs for e in used if e.op == "load"]
    return not any(guards or far or not _flat(at, domain) for _, at, guards, far in loads)


def _takes_elements(_producer: Kernel, kernel: Kernel) -> bool:
    """Tell whether a map is small enough."""
    return len(list(kernel.expressions())) <= ELEMENT_WEIGHT


def _flat(affine: Affine, domain: Shape) -> bool:
    """Tell whether the places of an image are one run to an affine, or one element."""
    inner = affine.strides[2:]
    extents = domain[2:]
    real = [(s, n) for s, n in zip(inner, extents, strict=True) if n > 1]
    if not real:
        return True
    last = real[-1][0]
    return last in (0, 1) and all(a == b * n for (a, _), (b, n) in pairwise(real))


def _own(domain: Shape) -> Affine:
    """Return the address of an index of a domain in what is as large as the domain."""
    return linear(identity(domain), domain, len(domain))


def join_maps(schedule: Schedule, way: Way) -> Schedule:
    """Return the schedule with maps joined to the kernels they follow.

    Args:
        schedule: Kernels in order.
        way: Which kernels, and how.
    """
    search = _Search(schedule, way)
    number = 0
    while number < len(search.kernels):
        number += not search.join(number)
    return replace(
        schedule, kernels=search.kernels, values=search.values, labels=search.labels,
        stored=[n for n in schedule.stored if n not in search.gone],
    )  # fmt: skip


class _Search:
    """The kernels so far, and the search for pairs."""

    def __init__(self, schedule: Schedule, way: Way) -> None:
        self.kernels, self.values = list(schedule.kernels), list(schedule.values)
        self.labels, self.way = list(schedule.labels), way
        self.alone, self.homes = schedule.alone(), schedule.homes
        self.donated = {schedule.graph.outputs[at]: leaf for at, leaf in schedule.donated.items()}
        self.gone: set[Node] = set()

    def join(self, number: int) -> bool:
        """Join a kernel and the first one that reads its result, if that may be."""
        kernel, made = self.kernels[number], self.values[number][-1]
        if kernel.parts or not self.way.hands(kernel):
            return False
        if not (self.way.shared or made in self.alone):
            return False
        reader = self._reader(number, made)
        if reader is None:
            return False
        # Who reads the result alone needs it nowhere else.
        stands = None if made in self.alone else made
        if kernel.kind in self.way.over:
            stands = self._over(reader, made)
            if stands is None:
                return False
        place = self._place(number, reader)
        if place is None or not self._may_wait(number, place, reader):
            return False
        joined = self._joined(number, reader, stands)
        if 0 < self.way.bound < len(set(joined[1])):
            return False
        if stands is not made:
            self.gone.add(made)
        label = f"{self.labels[number]}+{self.labels[reader]}"
        for entries, new in zip(
            (self.kernels, self.values, self.labels), (*joined, label), strict=True
        ):
            del entries[reader]  # type: ignore[attr-defined]
            entries.insert(place, new)  # type: ignore[attr-defined]
            del entries[number]  # type: ignore[attr-defined]
        return True

    def _reader(self, number: int, made: Node) -> int | None:
        """Return the next kernel that touches a result, if it is a map that can take it."""
        home = self.homes([made])
        for i in range(number + 1, len(self.kernels)):
            if self._touches(i) & home:
                fits = made in self.values[i] and self._in_step(i, made)
                fits = fits and self.way.fits(self.kernels[number], self.kernels[i])
                return i if fits else None
        return None

    def _in_step(self, number: int, made: Node) -> bool:
        """Tell whether a kernel is a map that reads each element of a result at its index."""
        kernel, nodes = self.kernels[number], self.values[number]
        if kernel.kind != "map" or size(kernel.domain) != size(made.shape):
            return False
        own = _own(kernel.domain)
        loads = [e.attrs for e in kernel.expressions() if e.op == "load"]
        of_made = [a for a in loads if nodes[a[0]] is made]
        return not any(guards or far or at != own for _, at, guards, far in of_made)

    def _over(self, number: int, made: Node) -> Node | None:
        """Return what a map writes in whose buffer a result can stand until then."""
        kernel, nodes = self.kernels[number], self.values[number]
        for store in kernel.stores:
            node, buffer = nodes[store.buffer], kernel.buffers[store.buffer]
            if node not in self.donated and (buffer.dtype, buffer.size) == (
                made.dtype, size(made.shape)
            ):  # fmt: skip
                return node
        return None

    def _touches(self, number: int) -> set[Node]:
        return self.homes(self.values[number])

    def _writes(self, number: int) -> set[Node]:
        """Return what a kernel writes, the leaves it writes over among it."""
        pairs = zip(self.values[number], self.kernels[number].buffers, strict=True)
        return self.homes(n for n, b in pairs if b.written) | self._writes_over(number)

    def _writes_over(self, number: int) -> set[Node]:
        """Return the leaves a kernel writes its results over."""
        return {self.donated[n] for n in self.values[number] if n in self.donated}

    def _place(self, number: int, reader: int) -> int | None:
        """Return the place at which both are done; None where that is too far."""
        if not self.way.shared:
            return reader
        touched, written = self._touches(reader), self._writes(reader)
        for i in range(reader - 1, number, -1):
            if self._writes(i) & touched or self._touches(i) & written:
                return i + 1 if i + 1 - number <= FAR else None
        return number + 1

    def _may_wait(self, number: int, place: int, reader: int) -> bool:
        """Tell whether a kernel may be done as late as that, with its reader.

        What it reads is there as long as nobody writes over it; its result nobody asks for sooner.
        """
        read = set(self.values[number])
        return not any(read & self._writes_over(i) for i in (*range(number + 1, place), reader))

    def _joined(self, number: int, reader: int, stands: Node | None) -> tuple[Kernel, list[Node]]:
        """Return both as one kernel, and the nodes behind its pointers.

        The result stands behind the pointer of a value, or is private. Anything else that both
        read each has its own pointer to: passes change the form of what a template reads.
        """
        first, then, made = self.kernels[number], self.kernels[reader], self.values[number][-1]
        nodes, buffers = self.values[number][:-1], first.buffers[:-1]
        if stands is not None:
            nodes, buffers = [*nodes, stands], first.buffers
        at = ~0 if stands is None else len(nodes) - 1
        wires = []
        for node, buffer in zip(self.values[reader], then.buffers, strict=True):
            if node is made or node is stands:
                wires.append(at)
            else:
                wires.append(len(nodes))
                nodes, buffers = [*nodes, node], [*buffers, buffer]
        return replace(first, buffers=buffers, parts=(Part(then, tuple(wires)),)), nodes
