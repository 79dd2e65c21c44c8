"""What a program keeps from one run to the next: operands it has prepared, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

from tenor.runtime import allocator

if TYPE_CHECKING:
    from tenor.runtime.allocator import Buffer

    Sources = tuple[tuple[ref[Any], int], ...]

__all__ = ["Kept", "Prepared", "written"]

_users: list[Kept] = []
"""Not empty as soon as a program keeps anything: until then nobody asks what was written."""


def written(buffers: list[Any], numbers: tuple[int, ...]) -> None:
    """Note that a run writes over some of these buffers."""
    if _users:
        for number in numbers:
            buffers[number].version += 1


class Kept:
    """Prepared operands, and the buffers they were made from.

    What is kept is never written again: another thread may be reading it. Operands that change
    from run to run are prepared in memory that is let go: it is kept from the second run on the
    same ones.

    Args:
        nbytes: How much it is.
        leaves: The numbers of the inputs it is made from.
    """

    __slots__ = ("leaves", "nbytes", "state")

    def __init__(self, nbytes: int, leaves: tuple[int, ...]) -> None:
        self.nbytes, self.leaves = nbytes, leaves
        self.state: tuple[Sources, Buffer | None] = ((), None)
        if not _users:
            _users.append(self)

    def take(self, inputs: list[Any]) -> Prepared:
        """Return what was prepared from these inputs as they are now, or memory to do it in."""
        known, buffer = self.state
        if buffer is not None and self.same(known, inputs):
            return Prepared(self, buffer, None)
        sources = tuple((ref(inputs[n]), inputs[n].version) for n in self.leaves)
        return Prepared(self, allocator.allocate(self.nbytes), sources)

    def same(self, known: Sources, inputs: list[Any]) -> bool:
        """Tell whether something was made from these inputs as they are now."""
        pairs = zip(known, self.leaves, strict=False)
        return bool(known) and all(
            held() is inputs[n] and inputs[n].version == version for (held, version), n in pairs
        )


@dataclass(frozen=True)
class Prepared:
    """Prepared operands as one run uses them.

    Attributes:
        owner: What keeps them.
        buffer: Where they are.
        sources: What this run makes them from; None: they are there.
    """

    owner: Kept
    buffer: Buffer
    sources: Sources | None

    def keep(self, inputs: list[Any]) -> None:
        """Keep what a run has prepared, if the last one was on the same inputs."""
        if self.sources is not None:
            again = self.owner.same(self.owner.state[0], inputs)
            self.owner.state = (self.sources, self.buffer if again else None)
