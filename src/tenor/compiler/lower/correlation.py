"""Correlations: matrix products one side of which is windows of an image, never written down.

Window p meets, for channel c and tap t, a place of a padded copy of the image that is found by
adding an offset of p and an offset of (c, t).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

from tenor.compiler.lower.window import Padded, flat, folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.loops import Function, Value

__all__ = ["Correlation", "taps_met"]


@dataclass(frozen=True)
class Correlation:
    """A product that reads windows of an image.

    Attributes:
        shape: The padded copy of the image.
        source: Channels of the image that are summed over, of a group.
        rows: Channels of the result, of a group.
        taps: Extents of the window.
        out: Extents of the result.
        steps: The result's places of one residue are so far apart; each residue is written apart.
        strides: Places of the copy from one window to the next.
        row: Elements of the weight from one channel of the result to the next.
        column: Elements of the weight from one channel of the image to the next.
        taps_of: Whether a tap meets the places of a residue, and its offset in a channel; of the
            function, the padded copy, the residue and the tap.
    """

    shape: Padded
    source: int
    rows: int
    taps: tuple[int, ...]
    out: tuple[int, ...]
    steps: tuple[int, ...]
    strides: tuple[int, ...]
    row: int
    column: int
    taps_of: Callable[[Function, Padded, list[Value], list[Value]], tuple[Value, Value]]

    @property
    def k(self) -> int:
        """Channels and taps, of all residues together."""
        return self.source * prod(self.taps)

    @property
    def windows(self) -> tuple[int, ...]:
        """Windows of one residue, for each dim."""
        return tuple(ceil(n / s) for n, s in zip(self.out, self.steps, strict=True))

    def places(self, f: Function, first: Value, count: int) -> tuple[Value, Value]:
        """Return the first place of some windows of the first dim, and the one after the last."""
        high, inner = self.out[0], prod(self.out[1:])
        low = f.mul(first, self.steps[0])
        end = f.op("smin", f.add(low, count * self.steps[0]), high)
        return f.mul(low, inner), f.mul(end, inner)


def taps_met(
    f: Function, g: Correlation, shape: Padded, starts: Value,
    write: Callable[[Value, Value, Value], None],
) -> None:  # fmt: skip
    """Walk over each residue's channels and taps, in the order their products are added.

    Args:
        f: The function being written.
        g: What is computed.
        shape: The padded copy, as it is cut for a tile.
        starts: Filled with the number of the first (channel, tap) of each residue, and their count.
        write: Of such a number, of its offset in the copy, and of the weight's number.
    """

    def phase(index: list[Value], at: Value) -> Value:
        f.store(at, starts, flat(f, index, g.steps), index=True)

        def tap(place: list[Value], at: Value) -> Value:
            channel, *inner = place
            good, offset = g.taps_of(f, shape, index, inner)

            def take() -> list[Value]:
                far = f.add(f.mul(channel, shape.channel), offset)
                write(at, far, f.add(f.mul(channel, prod(g.taps)), flat(f, inner, g.taps)))
                return [f.add(at, 1)]

            return f.if_(good, take, lambda: [at])[0]

        return folded(f, (g.source, *g.taps), at, tap)

    total = folded(f, g.steps, f.const(0, "i64"), phase)
    f.store(total, starts, prod(g.steps), index=True)
