"""Convolution and its input gradient, over any number of spatial dims, as matrix products."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING, Any

from tenor.compiler.lower.channel_vectors import ChannelVectors
from tenor.compiler.lower.correlation import Correlation
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

__all__ = ["conv", "conv_input"]


def conv(kernel: Kernel, target: Target) -> Lowered:
    """Lower y[n, o, p] = sum over c, t of w[o, c, t] x[n, c, p stride + t dilation - low]."""
    p = kernel.params
    taps, groups = prod(p["kernel"]), p["groups"]
    ci, co = p["channels_in"] // groups, p["channels_out"] // groups
    inner = prod(p["spatial_in"])
    if _pointwise(p):
        batch = ((p["n"], 0, groups * ci * inner, groups * co * inner),
                 (groups, co * ci, ci * inner, co * inner))  # fmt: skip
        product = Product(batch, co, inner, ci, (ci, 1), (inner, 1), (inner, 1), (0, 0, 0))
        return multiply(kernel, product, target, (1, 0, 2))
    if _single(p):
        k = ci * taps
        product = Product((), p["n"], co, k, (k, 1), (1, k), (co, 1), (0, 0, 0))
        return multiply(kernel, product, target, (0, 1, 2))
    reach = [(k - 1) * d for k, d in zip(p["kernel"], p["dilation"], strict=True)]
    extents = tuple(
        n + r // s for n, r, s in zip(p["spatial_out"], reach, p["stride"], strict=True)
    )
    low = tuple(before for before, _ in p["padding"])
    planes = tuple(min(s, r + 1) for s, r in zip(p["stride"], reach, strict=True))
    shape = Padded(p["spatial_in"], p["stride"], planes, extents, low)

    def taps_of(
        f: Function, shape: Padded, _phase: list[Value], tap: list[Value]
    ) -> tuple[Value, Value]:
        rows = zip(tap, p["dilation"], p["stride"], shape.pitches, strict=True)
        far = [(f.mul(t, d), s, pitch) for t, d, s, pitch in rows]
        plane = flat(f, [f.op("urem", x, s) for x, s, _ in far], shape.phases)
        at = f.mul(plane, shape.plane)
        for x, s, pitch in far:
            at = f.add(at, f.mul(f.op("udiv", x, s), pitch))
        return f.const(1, "i1"), at

    description = Correlation(
        shape=shape, source=ci, rows=co, taps=p["kernel"], out=p["spatial_out"],
        steps=(1,) * len(reach), row=ci * taps, column=taps, taps_of=taps_of,
    )  # fmt: skip
    return _correlate(kernel, target, description, flipped=False)


def conv_input(kernel: Kernel, target: Target) -> Lowered:
    """Lower the input gradient: x[n, c, q] = sum over o, t of w[o, c, t] g[n, o, p] that meet q.

    Positions q of one residue modulo the stride meet the same taps: each residue is a convolution
    with stride 1 of its own.
    """
    p = kernel.params
    taps, groups = prod(p["kernel"]), p["groups"]
    ci, co = p["channels_in"] // groups, p["channels_out"] // groups
    inner = prod(p["spatial_in"])
    if _pointwise(p):
        batch = ((p["n"], 0, groups * co * inner, groups * ci * inner),
                 (groups, co * ci, co * inner, ci * inner))  # fmt: skip
        product = Product(batch, ci, inner, co, (1, ci), (inner, 1), (inner, 1), (0, 0, 0))
        return multiply(kernel, product, target, (1, 0, 2))
    if _single(p):
        k = ci * taps
        product = Product((), p["n"], k, co, (co, 1), (k, 1), (k, 1), (0, 0, 0))
        return multiply(kernel, product, target, (0, 1, 2))
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

    description = Correlation(
        shape=shape, source=co, rows=ci, taps=p["kernel"], out=p["spatial_in"],
        steps=p["stride"], row=taps, column=ci * taps, taps_of=taps_of,
    )  # fmt: skip
    return _correlate(kernel, target, description, flipped=True)


def _correlate(kernel: Kernel, target: Target, g: Correlation, *, flipped: bool) -> Lowered:
    """Lower a product whose buffers are the image, the weight and the result.

    Channels of the result or windows lie side by side in vectors, whichever takes less time; each
    element is the same sum in the same order.
    """
    if 0 in (kernel.params["n"], g.rows, prod(g.out)):
        return Lowered(entry(kernel)[0], 0)
    if suits(g, kernel.buffers[0].dtype) and kernel.params["dilation"] == (1, 1):
        return Winograd(kernel, target, g, flipped=flipped).write()
    channels, windows = ChannelVectors(kernel, target, g), WindowVectors(kernel, target, g)
    return channels.write() if channels.cycles < windows.cycles else windows.write()


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
