"""Kernels that write at indices, turned round: each element gathers what is written to it.

So there are no two writers of one element, and the order is that of the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.emit.wgsl.body import THREADS, every, grid
from tenor.compiler.emit.wgsl.element import ELEMENT, literal, register, rounded
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.compiler.emit.wgsl.body import Body
    from tenor.ir.node import Shape

__all__ = ["write_fold", "write_put", "write_put_along"]


def write_put(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write `put`: an element goes over the whole index."""
    p = body.kernel.params
    length, inner, entries = p["length"], p["inner"], p["count"]
    count = p["outer"] * length * inner
    i = body.index(count)
    line, rest = body.let(f"{i} / {length * inner}"), body.let(f"{i} % {length * inner}")
    place, column = body.let(f"{rest} / {inner}"), body.let(f"{rest} % {inner}")
    index, source, made = _begin(body, i)
    if entries:
        with body.block(body.loop("k", entries)):
            _take(body, body.load(index, "k"), place, source, made,
                  f"({line} * {entries} + k) * {inner} + {column}")  # fmt: skip
    body.store(len(body.kernel.buffers) - 1, i, rounded(made, body.kernel.buffers[-1].dtype))
    return THREADS, grid(-(-count // THREADS))


def write_put_along(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write `put_along`: an element goes over the one line of the index that may name it."""
    p = body.kernel.params
    shape, index_shape, dim = p["x_shape"], p["index_shape"], p["dim"]
    count = size(shape)
    i = body.index(count)
    index, source, made = _begin(body, i)
    strides = _strides(shape)
    places = [body.let(f"{i} / {s} % {n}") for s, n in zip(strides, shape, strict=True)]
    inside = [
        f"{place} < {n}"
        for d, (place, n) in enumerate(zip(places, index_shape, strict=True))
        if d != dim and n < shape[d]
    ]
    steps = _strides(index_shape)
    line = " + ".join(
        f"{p} * {s}" for d, (p, s) in enumerate(zip(places, steps, strict=True)) if d != dim
    )
    if size(index_shape):
        with (
            body.block(f"if ({every(inside)})"),
            body.block(body.loop("k", index_shape[dim])),
        ):
            at = body.let(f"{line or '0'} + k * {steps[dim]}")
            _take(body, body.load(index, at), places[dim], source, made, at)
    body.store(len(body.kernel.buffers) - 1, i, rounded(made, body.kernel.buffers[-1].dtype))
    return THREADS, grid(-(-count // THREADS))


def _strides(shape: Shape) -> list[int]:
    return [size(shape[d + 1 :]) for d in range(len(shape))]


def _begin(body: Body, i: str) -> tuple[int, int, str]:
    """Return the buffers of index and source, and the value before anything is written."""
    fill, dtype = body.kernel.params["fill"], body.kernel.buffers[-1].dtype
    start = body.load(0, i) if fill is None else literal(fill, dtype)
    made = body.var(register(dtype), start)
    first = 1 if fill is None else 0
    return first, first + 1, made


def _take(body: Body, index: str, place: str, source: int, made: str, at: str) -> None:
    dtype = body.kernel.buffers[-1].dtype
    with body.block(f"if ({index} == {place})"):
        more = body.let(body.load(source, at))
        if body.kernel.params["mode"] == "add":
            more = body.use(ELEMENT["add"]([made, more], dtype))
        body.line(f"{made} = {more};")


def write_fold(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write `fold`: an element adds up the entries of the windows it is in."""
    p = body.kernel.params
    length, inner, windows, entries = p["length"], p["inner"], p["windows"], p["size"]
    count, dtype = p["outer"] * length * inner, body.buffer(0).dtype
    i = body.index(count)
    line, rest = body.let(f"{i} / {length * inner}"), body.let(f"{i} % {length * inner}")
    place, column = body.let(f"{rest} / {inner}"), body.let(f"{rest} % {inner}")
    made = body.var(register(dtype), literal(0, dtype))
    if windows and entries:
        # From the last entry on, so that windows are met from the first on.
        with body.block(f"for (var k = {entries - 1}; k >= 0; k -= 1)"):
            away = body.let(f"{place} - k * {p['dilation']}")
            window = body.let(f"{away} / {p['step']}")
            test = every([f"{away} % {p['step']} == 0", f"u32({window}) < {windows}u"])
            with body.block(f"if ({test})"):
                at = f"(({line} * {windows} + {window}) * {inner} + {column}) * {entries} + k"
                more = body.let(body.load(0, at))
                body.line(f"{made} = {body.use(ELEMENT['add']([made, more], dtype))};")
    body.store(1, i, rounded(made, dtype))
    return THREADS, grid(-(-count // THREADS))
