"""Convolution and its two gradients, over any number of spatial dims."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from tenor.compiler.lower.microkernel import multiply_add
from tenor.compiler.lower.storage import compute_type, entry, load_element, store_element
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["conv", "conv_input", "conv_weight"]


def total_over(
    f: Function,
    extents: Sequence[int],
    start: Value,
    body: Callable[[list[Value], Value], Value],
) -> Value:
    """Return body folded over an index space, row-major: total = body(index, total)."""

    def level(index: list[Value], total: Value) -> Value:
        if len(index) == len(extents):
            return body(index, total)
        return f.loop(
            0, extents[len(index)], 1, lambda i, c: [level([*index, i], c[0])], [total]
        )[0]

    return level([], start)


def flat(f: Function, index: Sequence[Value], extents: Sequence[int]) -> Value:
    """Return the row-major position of an index."""
    at = f.const(0, "i64")
    for i, n in zip(index, extents, strict=True):
        at = f.add(f.mul(at, n), i)
    return at


def unflat(f: Function, at: Value, extents: Sequence[int]) -> list[Value]:
    """Return the index of a row-major position."""
    index = []
    for n in reversed(extents):
        index.append(f.op("srem", at, n))
        at = f.op("sdiv", at, n)
    return index[::-1]


def inside(f: Function, index: Sequence[Value], extents: Sequence[int]) -> Value:
    """Return whether an index lies in a space."""
    good = f.const(1, "i1")
    for i, n in zip(index, extents, strict=True):
        good = f.op("and", good, f.compare("ult", i, n))
    return good


def _met(f: Function, p: dict[str, Any], place: Sequence[Value], tap: Sequence[Value]) -> list[Value]:
    """Return the input place a tap of the window at an output place falls on."""
    return [
        f.sub(f.add(f.mul(o, s), f.mul(t, d)), low)
        for o, t, s, d, (low, _) in zip(
            place, tap, p["stride"], p["dilation"], p["padding"], strict=True
        )
    ]


def conv(kernel: Kernel, _target: Target) -> Lowered:
    """Lower y[n, o, p] = sum over c, t of w[o, c, t] x[n, c, p stride + t dilation - low]."""
    p = kernel.params
    f, (x, w, y), begin, end, _ = entry(kernel)
    dtype = kernel.buffers[0].dtype
    co, ci = p["channels_out"], p["channels_in"] // p["groups"]
    size_out, size_in, taps = prod(p["spatial_out"]), prod(p["spatial_in"]), p["kernel"]

    def tile(t: Value, _: list[Value]) -> None:
        image, o = f.op("sdiv", t, co), f.op("srem", t, co)
        first = f.mul(f.op("sdiv", o, co // p["groups"]), ci)

        def pixel(i: Value, _: list[Value]) -> None:
            place = unflat(f, i, p["spatial_out"])

            def step(index: list[Value], total: Value) -> Value:
                c, *tap = index
                at = _met(f, p, place, tap)

                def take() -> list[Value]:
                    channel = f.add(f.mul(image, p["channels_in"]), f.add(first, c))
                    where = f.add(f.mul(channel, size_in), flat(f, at, p["spatial_in"]))
                    weight = f.add(f.mul(o, ci * prod(taps)), flat(f, index, (ci, *taps)))
                    a, b = load_element(f, dtype, w, weight), load_element(f, dtype, x, where)
                    return [multiply_add(f, dtype, a, b, total)]

                return f.if_(inside(f, at, p["spatial_in"]), take, lambda: [total])[0]

            total = total_over(f, (ci, *taps), f.const(0, compute_type(dtype)), step)
            store_element(f, dtype, total, y, f.add(f.mul(t, size_out), i))

        f.loop(0, size_out, 1, pixel)

    f.loop(begin, end, 1, tile)
    return Lowered(f, p["n"] * co, 0, p["n"] * co * size_out * ci * prod(taps))


def conv_input(kernel: Kernel, _target: Target) -> Lowered:
    """Lower the input gradient: x[n, c, q] = sum over o, t of w[o, c, t] g[n, o, p] that meet q."""
    p = kernel.params
    f, (g, w, x), begin, end, _ = entry(kernel)
    dtype = kernel.buffers[0].dtype
    c_in, groups = p["channels_in"], p["groups"]
    ci, co, taps = c_in // groups, p["channels_out"] // groups, p["kernel"]
    size_out, size_in = prod(p["spatial_out"]), prod(p["spatial_in"])

    def tile(t: Value, _: list[Value]) -> None:
        image, c = f.op("sdiv", t, c_in), f.op("srem", t, c_in)
        first = f.mul(f.op("sdiv", c, ci), co)
        inner = f.op("srem", c, ci)

        def pixel(i: Value, _: list[Value]) -> None:
            place = unflat(f, i, p["spatial_in"])

            def step(index: list[Value], total: Value) -> Value:
                o, *tap = index
                good, at = _window(f, p, place, tap)

                def take() -> list[Value]:
                    channel = f.add(first, o)
                    row = f.add(f.mul(image, p["channels_out"]), channel)
                    where = f.add(f.mul(row, size_out), flat(f, at, p["spatial_out"]))
                    kept = flat(f, [inner, *tap], (ci, *taps))
                    weight = f.add(f.mul(channel, ci * prod(taps)), kept)
                    a, b = load_element(f, dtype, w, weight), load_element(f, dtype, g, where)
                    return [multiply_add(f, dtype, a, b, total)]

                return f.if_(good, take, lambda: [total])[0]

            total = total_over(f, (co, *taps), f.const(0, compute_type(dtype)), step)
            store_element(f, dtype, total, x, f.add(f.mul(t, size_in), i))

        f.loop(0, size_in, 1, pixel)

    f.loop(begin, end, 1, tile)
    return Lowered(f, p["n"] * c_in, 0, p["n"] * c_in * size_in * co * prod(taps))


def _window(
    f: Function, p: dict[str, Any], place: Sequence[Value], tap: Sequence[Value]
) -> tuple[Value, list[Value]]:
    """Return whether a window's tap falls on an input place, and that window's output place."""
    good, at = f.const(1, "i1"), []
    dims = zip(place, tap, p["stride"], p["dilation"], p["padding"], p["spatial_out"], strict=True)
    for q, t, s, d, (low, _), extent in dims:
        far = f.sub(f.add(q, low), f.mul(t, d))
        window = f.op("sdiv", far, s)
        fits = f.op("and", f.compare("sge", far, 0), f.compare("slt", window, extent))
        exact = f.compare("eq", f.mul(window, s), far)
        good = f.op("and", good, f.op("and", fits, exact))
        at.append(window)
    return good, at


def conv_weight(kernel: Kernel, _target: Target) -> Lowered:
    """Lower the weight gradient: w[o, c, t] = sum over n, p of g[n, o, p] times the x they meet."""
    p = kernel.params
    f, (x, g, w), begin, end, _ = entry(kernel)
    dtype = kernel.buffers[0].dtype
    ci, co = p["channels_in"] // p["groups"], p["channels_out"] // p["groups"]
    size_out, size_in, taps = prod(p["spatial_out"]), prod(p["spatial_in"]), p["kernel"]

    def tile(t: Value, _: list[Value]) -> None:
        o, c = f.op("sdiv", t, ci), f.op("srem", t, ci)
        channel = f.add(f.mul(f.op("sdiv", o, co), ci), c)

        def element(i: Value, _: list[Value]) -> None:
            tap = unflat(f, i, taps)

            def step(index: list[Value], total: Value) -> Value:
                image, *place = index
                at = _met(f, p, place, tap)

                def take() -> list[Value]:
                    row = f.add(f.mul(image, p["channels_in"]), channel)
                    where = f.add(f.mul(row, size_in), flat(f, at, p["spatial_in"]))
                    out = f.add(f.mul(image, p["channels_out"]), o)
                    other = f.add(f.mul(out, size_out), flat(f, place, p["spatial_out"]))
                    a, b = load_element(f, dtype, g, other), load_element(f, dtype, x, where)
                    return [multiply_add(f, dtype, a, b, total)]

                return f.if_(inside(f, at, p["spatial_in"]), take, lambda: [total])[0]

            extents = (p["n"], *p["spatial_out"])
            total = total_over(f, extents, f.const(0, compute_type(dtype)), step)
            store_element(f, dtype, total, w, f.add(f.mul(t, prod(taps)), i))

        f.loop(0, prod(taps), 1, element)

    f.loop(begin, end, 1, tile)
    cost = p["channels_out"] * ci * prod(taps) * p["n"] * size_out
    return Lowered(f, p["channels_out"] * ci, 0, cost)
