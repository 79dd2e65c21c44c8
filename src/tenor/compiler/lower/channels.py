"""A pointwise convolution and the depthwise one behind it, for a few channels at a time.

Channel c of a depthwise result needs channel c of what it reads and nothing else. So a few
channels are made by the first convolution and read by the second while they are near: between the
two lies the largest value of a network of separable convolutions, and it never reaches memory.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.convolution import conv, depthwise_lanes, is_plain
from tenor.compiler.lower.storage import Scratch, entry
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Value
    from tenor.ir.target import Target

__all__ = ["channel_tiles", "lower_channels"]

HELD: Final = 448 * 1024
"""Bytes of the channels between the two: a small second-level cache holds them beside the rest."""
LARGE: Final = 512 * 1024
"""Bytes of all of it, below which it stays near by itself."""
CHANNELS: Final = (64, 32, 16, 8)
"""Channels of a tile."""
LEAST: Final = 4
"""Tiles that are worth having: an even number, so that two threads have as much to do."""


def channel_tiles(first: Kernel, second: Kernel, target: Target) -> int:
    """Return into how many tiles of an image two convolutions are cut together; 0: they are not.

    Args:
        first: What makes all channels of a place from those of the same place.
        second: What reads them.
        target: The target.
    """
    p = first.params
    if "n" not in p or free(p["n"]) or not is_plain(first, target):
        return 0
    lanes = depthwise_lanes(second, target)
    if lanes is None or first.buffers[0].dtype is not first.buffers[0].dtype.compute:
        return 0
    channels: int = p["channels_out"]
    size = first.buffers[0].dtype.itemsize
    if p["n"] * channels * prod(p["spatial_out"]) * size < LARGE:
        return 0
    for some in CHANNELS:
        tiles = channels // some
        fits = some * prod(p["spatial_out"]) * size <= HELD and not (
            channels % some or some % lanes
        )
        if fits and tiles >= LEAST and tiles % 2 == 0:
            return tiles
    return 0


def lower_channels(kernel: Kernel, target: Target) -> Lowered:
    """Lower two convolutions.

    Params: tiles, of all images; private, the buffer between the two, of which a tile's channels
    lie in scratch, at the pointer from which the tile's index finds them there.
    """
    tiles, private = kernel.params["tiles"], kernel.params["private"]
    lowered = [conv(part.kernel, target) for part in kernel.parts]
    assert all(low.tiles % tiles == 0 for low in lowered), "parts are cut into other channels"
    f, buffers, begin, end, scratch = entry(kernel)
    f.calls_kernels = True
    space = Scratch(f, scratch)
    tables = [space.take(8 * len(part.wires)) for part in kernel.parts]
    each = private.size // tiles * private.dtype.itemsize
    between = space.take(each)
    rest = space.take(max(low.scratch for low in lowered))

    def tile(t: Value, _: list[Value]) -> None:
        own = f.gep(between, f.mul(t, -each), "i8")
        rows = zip(kernel.parts, lowered, tables, strict=True)
        for number, (part, low, table) in enumerate(rows):
            for i, wire in enumerate(part.wires):
                f.store(buffers[wire] if wire >= 0 else own, table, i)
            count = low.tiles // tiles
            low.function.name = f"part{number}"
            first = f.mul(t, count)
            f.call(low.function, [table, first, f.add(first, count), rest, f.params[4]])

    f.loop(begin, end, 1, tile)
    return Lowered(f, tiles, space.used, sum(low.cost for low in lowered))
