"""What a convolution of bytes is cut into: words of k, rows of windows, tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.lower.blocking import Shape, register_tile, tiles_for
from tenor.compiler.lower.window import flat, unflat
from tenor.compiler.lower.words import words_of

if TYPE_CHECKING:
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["Cut", "Geometry"]

LIMITS: Final = {True: (1024, 192 * 1024, 32 * 1024), False: (128, 16 * 1024, 4 * 1024)}
"""Whether there are vectors -> windows of a block, bytes of its words, and bytes of the words and
sums of groups that go together, at the most where there is a choice. Without, memory is scarce."""
BATCH: Final = 16
"""Groups that are written together at the most."""
SHARED: Final = 4
"""Rows of a register tile where it is written for several machines, and all layers share it."""
LEAST: Final = 4
"""Rows of windows of a block at the least, where there is a choice."""


def _fixed(value: Any) -> Any:
    """Return sizes as plain integers: the code is for these alone."""
    if isinstance(value, tuple):
        return tuple(map(_fixed, value))
    return int(value)


class Geometry:
    """A convolution of one group, by words.

    A word holds neighbouring channels, or neighbouring taps of the last dim, whichever leaves
    fewer words. Steps of k count (source, taps of the outer dims, last), where a source is a word
    of channels or a channel, and `last` a tap or a word of taps.

    Attributes:
        direct: Whether a window is one place of the image: its words are made of the image as it
            lies.
        by_tap: Whether a word holds taps.
        k: Steps.
    """

    def __init__(self, params: dict[str, Any], target: Target) -> None:
        p = {name: _fixed(value) for name, value in params.items() if name in SIZES}
        self.n, self.groups, self.fill = p["n"], p["groups"], p["fill"]
        self.source, self.rows = p["channels_in"] // self.groups, p["channels_out"] // self.groups
        self.words, self.width = words_of(target), target.lanes(32)
        dims: list[tuple[int, ...]] = [p[name] for name in DIMS]
        dims[-1] = tuple(low for low, _ in p["padding"])
        flat_padding = [v for pair in p["padding"] for v in pair]
        self.direct = prod(p["kernel"]) == 1 == max(p["stride"]) and not any(flat_padding)
        if self.direct:
            dims = [(prod(dims[0]),), (prod(dims[1]),), (1,), (1,), (1,), (0,)]
        elif len(dims[0]) == 1:
            dims = [((0 if d is dims[-1] else 1), *d) for d in dims]
        self.image, self.out, self.kernel, self.stride, self.dilation, self.low = dims
        self._grouped()
        self.reach = [(t - 1) * d for t, d in zip(self.kernel, self.dilation, strict=True)]
        # Neighbouring windows of all dims lie without a gap: only taps of the first share words.
        first = min(self.stride[0], self.reach[0] + 1)
        self.phases = (first, *self.kernel[1:-1]) if len(self.out) > 1 else ()

    def _grouped(self) -> None:
        """Choose what a word holds."""
        group, taps, last = self.words.group, prod(self.kernel[:-1]), self.kernel[-1]
        ways = [(ceil(self.source / group), last), (self.source, ceil(last / group))]
        costs = [(sources * taps * n, sources * n) for sources, n in ways]
        self.by_tap = not self.direct and costs[1] < costs[0]
        self.sources: int = ways[self.by_tap][0]
        self.last: int = ways[self.by_tap][1]
        self.k = self.sources * taps * self.last

    @property
    def inner(self) -> int:
        """Windows of one place of the first dim."""
        return prod(self.out[1:])

    @property
    def taps(self) -> tuple[int, ...]:
        """Extents of a source's steps."""
        return (*self.kernel[:-1], self.last)

    def lines(self, chunk: int) -> tuple[int, ...]:
        """Return the extents, but for the last, of a plane of words for some windows."""
        first = chunk + self.reach[0] // self.stride[0]
        return (first, *self.out[1:-1]) if len(self.out) > 1 else ()

    def plane(self, chunk: int) -> int:
        """Return the words of a plane: one source, one residue, one `last`."""
        return prod(self.lines(chunk)) * self.out[-1] if not self.direct else chunk

    def copied(self, chunk: int) -> int:
        """Return the words of all planes."""
        return self.sources * self.last * prod(self.phases) * self.plane(chunk)

    def extents(self, chunk: int) -> tuple[int, ...]:
        """Return the extents of a channel's padded copy."""
        outer = [self.lines(chunk)[0] * self.stride[0]]
        every = zip(self.out, self.stride, self.reach, strict=True)
        outer += [(n - 1) * s + r + 1 for n, s, r in list(every)[1:-1]]
        taps = self.last * self.words.group if self.by_tap else self.last
        span = (taps - 1) * self.dilation[-1]
        return (*outer, (self.out[-1] - 1) * self.stride[-1] + span + 1)

    def offset(self, f: Function, chunk: int, step: Value) -> Value:
        """Return where a step's words begin, in words."""
        source, *taps = unflat(f, step, (self.sources, *self.taps))
        lines, phase = self.lines(chunk), taps[:-1]
        place = [f.const(0, "i64") for _ in lines]
        if phase:
            far = f.mul(taps[0], self.dilation[0])
            phase[0] = f.op("urem", far, self.stride[0])
            place[0] = f.op("udiv", far, self.stride[0])
        at = flat(f, [source, taps[-1], *phase], (self.sources, self.last, *self.phases))
        return f.add(f.mul(at, self.plane(chunk)), f.mul(flat(f, place, lines), self.out[-1]))


DIMS: Final = ("spatial_in", "spatial_out", "kernel", "stride", "dilation", "padding")
SIZES: Final = frozenset((*DIMS, "n", "groups", "channels_in", "channels_out", "fill"))


@dataclass(frozen=True)
class Cut:
    """How a convolution is cut into tiles: images, groups, channels of the result, windows.

    Attributes:
        rows: Channels of a register tile.
        vectors: Vectors of windows of one.
        panels: Register tiles of a group's channels.
        chunk, chunks: Places of the first dim in a block, and how many blocks.
        share, shares: Groups of a tile, and how many such.
        part, parts: Panels of a tile, and how many such.
        batch: Groups that are brought into words together, and multiplied together: what one
            stores the next does not wait for.
    """

    rows: int
    vectors: int
    panels: int
    chunk: int
    chunks: int
    share: int
    shares: int
    part: int
    parts: int
    batch: int

    @classmethod
    def of(cls, g: Geometry, target: Target) -> Cut:
        """Return the cut of a convolution for a target."""
        tile = Shape(min(SHARED, g.rows), 2, g.width)
        if not target.choices:
            tile = register_tile(g.rows, max(g.width, prod(g.out)), g.width, target)
        panels = ceil(g.rows / tile.rows)
        wanted = tiles_for(g.n * g.groups * g.rows * prod(g.out) * g.k)
        places, copy, together = LIMITS[g.width > 1]
        most = max(1, places // g.inner)
        while most > 1 and g.copied(most) * g.words.size > copy:
            most = most * 3 // 4
        shares = min(g.groups, ceil(wanted / g.n))
        chunks = max(ceil(g.out[0] / most),
                     min(ceil(wanted / (g.n * shares)), ceil(g.out[0] * g.inner // places),
                         ceil(g.out[0] / LEAST)))  # fmt: skip
        chunk = ceil(g.out[0] / max(1, chunks))
        chunks = ceil(g.out[0] / chunk)
        parts = min(panels, ceil(wanted / (g.n * shares * chunks)))
        share, part = ceil(g.groups / shares), ceil(panels / parts)
        each = g.copied(chunk) * g.words.size + 4 * g.rows * chunk * g.inner
        batch = max(1, min(BATCH, together // max(1, each), share)) if panels == 1 else 1
        return cls(tile.rows, tile.vectors, panels, chunk, chunks, share,
                   ceil(g.groups / share), part, ceil(panels / part), batch)  # fmt: skip

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tiles of an image: shares, parts, chunks."""
        return self.shares, self.parts, self.chunks
