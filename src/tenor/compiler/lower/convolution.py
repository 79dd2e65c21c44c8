"""Convolution and its input gradient, over any number of spatial dims, as matrix products."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.lower.after import after_of
from tenor.compiler.lower.channel_vectors import ChannelVectors
from tenor.compiler.lower.correlation import Correlation
from tenor.compiler.lower.depthwise import Depthwise, lines_of
from tenor.compiler.lower.depthwise_lanes import DepthwiseLanes, lanes_beside
from tenor.compiler.lower.following import Following
from tenor.compiler.lower.matmul import Product, multiply
from tenor.compiler.lower.storage import entry
from tenor.compiler.lower.window import Padded, flat
from tenor.compiler.lower.window_vectors import WindowVectors
from tenor.compiler.lower.winograd import Winograd, suits
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

    _Writer = Winograd | ChannelVectors | WindowVectors | Depthwise | DepthwiseLanes

__all__ = ["conv", "conv_input", "depthwise_lanes", "is_plain", "may_lie_beside",
           "packed_elements", "prepare",
           "takes_epilogue"]  # fmt: skip

PLACES: Final = 64
"""Places of an image up to which channels lie side by side, where the window is a place."""
MANY: Final = 256
"""The same where no more channels come out than go in, or of one image."""
ALONE: Final = 1024
"""The same where at most half as many come out, of one image."""
FEW: Final = 64
"""Channels from which on."""
PREPARING: Final = (Winograd, ChannelVectors, DepthwiseLanes)
"""What reads a weight in a form of its own."""


def conv(kernel: Kernel, target: Target) -> Lowered:
    """Lower y[n, o, p] = sum over c, t of w[o, c, t] x[n, c, p stride + t dilation - low]."""
    return _lowered(kernel, target)


def conv_input(kernel: Kernel, target: Target) -> Lowered:
    """Lower the input gradient: x[n, c, q] = sum over o, t of w[o, c, t] g[n, o, p] that meet q."""
    return _lowered(kernel, target)


def packed_elements(kernel: Kernel, target: Target) -> int:
    """Return the elements of a convolution's prepared weight; 0 where it is read as it is."""
    writer = _writer(_prepared(kernel), target)
    return writer.packed if isinstance(writer, PREPARING) else 0


def prepare(kernel: Kernel, target: Target) -> Lowered:
    """Lower the kernel that brings a weight into the form a convolution reads.

    Params: the convolution's, and `of`, its kind. Buffers: the weight, and what is made of it.
    """
    params = kernel.params
    writer = _writer(_prepared(replace(kernel, kind=params["of"])), target)
    assert isinstance(writer, PREPARING), "this weight is read as it is"
    return writer.prepare(kernel)


def _prepared(kernel: Kernel) -> Kernel:
    return replace(kernel, params=kernel.params | {"prepared": True})


def _lowered(kernel: Kernel, target: Target) -> Lowered:
    writer = _writer(kernel, target)
    if writer is None:
        return Lowered(entry(kernel)[0], 0)
    if isinstance(writer, tuple):
        return multiply(kernel, writer[0], target, writer[1], cut=kernel.params.get("cut", 0),
                        following=_following(kernel, target))  # fmt: skip
    return writer.write()


def is_plain(kernel: Kernel, target: Target) -> bool:
    """Tell whether a convolution is a product of all channels at each place."""
    p = kernel.params
    plain = kernel.kind == "conv" and p["groups"] == 1 and not _single(p) and _pointwise(p)
    return plain and isinstance(_writer(kernel, target), tuple)


def may_lie_beside(first: Kernel, second: Kernel, target: Target) -> bool:
    """Tell whether what a convolution makes for the next may keep its channels side by side.

    One of them is depthwise and has places of some channels side by side, the other has channels
    in vectors and, where it reads such a value, meets each place alone.
    """
    makes, reads = (_writer(kernel, target) for kernel in (first, second))
    if isinstance(makes, DepthwiseLanes) and isinstance(reads, ChannelVectors):
        good = _pointwise(second.params) and second.params["groups"] == 1
    elif isinstance(makes, ChannelVectors) and isinstance(reads, DepthwiseLanes):
        good = makes.whole and first.params["groups"] == 1
    else:
        return False
    done = not first.parts or (makes.epilogue is not None and not makes.epilogue.streams)
    dtype = first.buffers[0].dtype
    return good and done and dtype is dtype.compute


def depthwise_lanes(kernel: Kernel, target: Target) -> int | None:
    """Return how many channels of a depthwise convolution go together; None: it is none."""
    writer = _writer(kernel, target)
    if isinstance(writer, DepthwiseLanes):
        return writer.lanes
    return 1 if isinstance(writer, Depthwise) else None


def takes_epilogue(kernel: Kernel) -> bool:
    """Tell whether a map may follow the kernel piece by piece."""
    return kernel.kind in ("conv", "conv_input") and not _single(kernel.params)


def _following(kernel: Kernel, target: Target) -> Following | None:
    """Return the map that follows a product: images and groups are its batch."""
    after, p = after_of(kernel, target), kernel.params
    if after is None:
        return None
    channels = p["channels_out" if kernel.kind == "conv" else "channels_in"] // p["groups"]
    return Following(kernel, target, channels, after)


def _writer(
    kernel: Kernel, target: Target
) -> _Writer | tuple[Product, tuple[int, int, int]] | None:
    """Return what writes a convolution: a plain product and its operands' roles, or a correlation.

    Channels of the result or windows lie side by side in vectors, whichever takes less time; each
    element is the same sum in the same order. None: there is nothing to compute.
    """
    p = kernel.params
    forward = kernel.kind == "conv"
    if _single(p):
        return _whole(p, forward)
    if _pointwise(p):
        if "prepared" not in p or not _few_places(p, forward):
            return _plain(p, forward)
        line = (prod(p["spatial_in"]),)
        p = p | dict.fromkeys(("kernel", "stride", "dilation"), (1,))
        p |= {"padding": ((0, 0),), "spatial_in": line, "spatial_out": line}
        kernel = replace(kernel, params=p)
    g = _forward(p, planes=True) if forward else _backward(p)
    if 0 in (p["n"], g.rows, prod(g.out)):
        return None
    lines = lines_of(p, forward=forward)
    if lines is not None:
        lanes = lanes_beside(kernel, target, lines)
        if lanes:
            return DepthwiseLanes(kernel, target, lines, lanes)
        return Depthwise(kernel, target, lines)
    if suits(g, kernel.buffers[0].dtype) and p["dilation"] == (1, 1):
        return Winograd(kernel, target, g, flipped=not forward)
    windows = WindowVectors(kernel, target, g)
    channels = ChannelVectors(kernel, target, _forward(p, planes=False) if forward else g)
    return channels if channels.cycles < windows.cycles else windows


def _whole(p: dict[str, Any], forward: bool) -> tuple[Product, tuple[int, int, int]]:
    """Return the product of a window that covers the whole image."""
    n, k, co = p["n"], p["channels_in"] * prod(p["kernel"]), p["channels_out"]
    if forward:
        product = Product((), n, co, k, (k, 1), (1, k), (co, 1), (0, 0, 0))
    else:
        product = Product((), n, k, co, (co, 1), (k, 1), (k, 1), (0, 0, 0))
    return product, (0, 1, 2)


def _plain(p: dict[str, Any], forward: bool) -> tuple[Product, tuple[int, int, int]]:
    """Return the product of windows of one place."""
    groups, inner = p["groups"], prod(p["spatial_in"])
    ci, co = p["channels_in"] // groups, p["channels_out"] // groups
    m, k, a = (co, ci, (ci, 1)) if forward else (ci, co, (1, ci))
    batch = ((p["n"], 0, groups * k * inner, groups * m * inner),
             (groups, co * ci, k * inner, m * inner))  # fmt: skip
    return Product(batch, m, inner, k, a, (inner, 1), (inner, 1), (0, 0, 0)), (1, 0, 2)


def _forward(p: dict[str, Any], *, planes: bool) -> Correlation:
    """Return a convolution as a correlation.

    With `planes`, the same tap of neighbouring windows is a neighbour in the copy; without, it is
    the stride away, and the copy is the image with its edges.
    """
    taps, groups = prod(p["kernel"]), p["groups"]
    ci, co = p["channels_in"] // groups, p["channels_out"] // groups
    reach = [(k - 1) * d for k, d in zip(p["kernel"], p["dilation"], strict=True)]
    one = (1,) * len(reach)
    steps, strides = (p["stride"], one) if planes else (one, p["stride"])
    rows = zip(p["spatial_out"], reach, steps, strides, strict=True)
    extents = tuple((n - 1) * stride + 1 + r // step for n, r, step, stride in rows)
    low = tuple(before for before, _ in p["padding"])
    phases = tuple(min(s, r + 1) for s, r in zip(steps, reach, strict=True))
    shape = Padded(p["spatial_in"], steps, phases, extents, low)

    def taps_of(
        f: Function, shape: Padded, _phase: list[Value], tap: list[Value]
    ) -> tuple[Value, Value]:
        rows = zip(tap, p["dilation"], shape.steps, shape.pitches, strict=True)
        far = [(f.mul(t, d), s, pitch) for t, d, s, pitch in rows]
        plane = flat(f, [f.op("urem", x, s) for x, s, _ in far], shape.phases)
        at = f.mul(plane, shape.plane)
        for x, s, pitch in far:
            at = f.add(at, f.mul(f.op("udiv", x, s), pitch))
        return f.const(1, "i1"), at

    return Correlation(
        shape=shape, source=ci, rows=co, taps=p["kernel"], out=p["spatial_out"],
        steps=one, strides=strides, row=ci * taps, column=taps, taps_of=taps_of,
    )  # fmt: skip


def _backward(p: dict[str, Any]) -> Correlation:
    """Return the input gradient as a correlation.

    Positions q of one residue modulo the stride meet the same taps: each residue is a convolution
    with stride 1 of its own.
    """
    taps, groups = prod(p["kernel"]), p["groups"]
    ci, co = p["channels_in"] // groups, p["channels_out"] // groups
    lows = tuple(before for before, _ in p["padding"])
    dims = list(zip(p["kernel"], p["dilation"], p["stride"], lows, strict=True))
    first = [(low - (k - 1) * d) // s for k, d, s, low in dims]
    last = [(s - 1 + low) // s for _, _, s, low in dims]
    windows = [ceil(n / s) for n, s in zip(p["spatial_in"], p["stride"], strict=True)]
    extents = tuple(n + b - a for n, a, b in zip(windows, first, last, strict=True))
    one = (1,) * len(dims)
    shape = Padded(p["spatial_out"], one, one, extents, tuple(-a for a in first))

    def taps_of(
        f: Function, shape: Padded, phase: list[Value], tap: list[Value]
    ) -> tuple[Value, Value]:
        good, at = f.const(1, "i1"), f.const(0, "i64")
        rows = zip(phase, tap, dims, first, shape.pitches, strict=True)
        for r, t, (_, d, s, low), a, pitch in rows:
            far = f.sub(f.add(r, low - a * s), f.mul(t, d))
            good = f.op("and", good, f.compare("eq", f.op("urem", far, s), 0))
            at = f.add(at, f.mul(f.op("udiv", far, s), pitch))
        return good, at

    return Correlation(
        shape=shape, source=co, rows=ci, taps=p["kernel"], out=p["spatial_in"],
        steps=p["stride"], strides=one, row=taps, column=ci * taps, taps_of=taps_of,
    )  # fmt: skip


def _few_places(p: dict[str, Any], forward: bool) -> bool:
    """Tell whether an image has so few places that vectors of them would lie half empty.

    Where there are more, turning the result pays as long as few channels come out of many.
    """
    source, rows = p["channels_in"] // p["groups"], p["channels_out"] // p["groups"]
    if not forward:
        source, rows = rows, source
    places: int = prod(p["spatial_in"])
    if p["n"] > 1:
        most = PLACES if source < rows else MANY
    else:
        most = ALONE if source >= 2 * rows else MANY
    return min(source, rows) >= FEW and places <= most


def _pointwise(p: dict[str, Any]) -> bool:
    """Tell whether each output place meets the one input place under it."""
    rank = len(p["kernel"])
    flat_padding = [v for pair in p["padding"] for v in pair]
    return prod(p["kernel"]) == 1 and p["stride"] == (1,) * rank and not any(flat_padding)


def _single(p: dict[str, Any]) -> bool:
    """Tell whether the window covers the whole image: one place, a plain matrix product."""
    flat_padding = [v for pair in p["padding"] for v in pair]
    return p["groups"] == 1 and p["kernel"] == p["spatial_in"] and not any(flat_padding) and (
        prod(p["spatial_out"]) == 1)  # fmt: skip
