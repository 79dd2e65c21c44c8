"""Kernels that go along one dim: running sums, sorting, and the first few of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.emit.wgsl.body import THREADS, grid
from tenor.compiler.emit.wgsl.element import ELEMENT, literal, register, rounded

if TYPE_CHECKING:
    from tenor.compiler.emit.wgsl.body import Body
    from tenor.ir.dtype import DType

__all__ = ["write_cumsum", "write_sort"]


def write_cumsum(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write running sums: one invocation a line, its elements in order."""
    p = body.kernel.params
    length, inner, dtype = p["length"], p["inner"], body.buffer(0).dtype
    count = p["outer"] * inner
    i = body.index(count)
    first = body.let(f"{i} / {inner} * {length * inner} + {i} % {inner}")
    total = body.var(register(dtype), literal(0, dtype))
    with body.block(body.loop("k", length)):
        place = f"{length - 1} - k" if p["reverse"] else "k"
        at = body.let(f"{first} + ({place}) * {inner}")
        more = body.let(body.load(0, at))
        body.line(f"{total} = {body.use(ELEMENT['add']([total, more], dtype))};")
        body.store(1, at, rounded(total, dtype))
    return THREADS, grid(-(-count // THREADS))


def write_sort(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write argsort or topk: an element's place is how many of its line come before it.

    That is n^2 comparisons a line, all of them at once and without a barrier. Equal elements come
    in the order they stand in; NaN is the largest.
    """
    p = body.kernel.params
    length, inner, dtype = p["length"], p["inner"], body.buffer(0).dtype
    count, kept = p["outer"] * length * inner, p.get("k", length)
    i = body.index(count)
    line, rest = body.let(f"{i} / {length * inner}"), body.let(f"{i} % {length * inner}")
    place, column = body.let(f"{rest} / {inner}"), body.let(f"{rest} % {inner}")
    mine = body.let(body.load(0, i))
    rank = body.var("i32", "0")
    with body.block(body.loop("k", length)):
        at = body.let(f"{line} * {length * inner} + k * {inner} + {column}")
        other = body.let(body.load(0, at))
        before = _before(body, other, mine, dtype, descending=p["descending"])
        after = _before(body, mine, other, dtype, descending=p["descending"])
        body.line(f"{rank} += select(0, 1, {before} | (!{after} & (k < {place})));")
    with body.block(f"if ({rank} < {kept})"):
        body.store(1, f"({line} * {kept} + {rank}) * {inner} + {column}", place)
    return THREADS, grid(-(-count // THREADS))


def _before(body: Body, a: str, b: str, dtype: DType, *, descending: bool) -> str:
    """Return whether a comes before b by its value."""
    if descending:
        a, b = b, a
    if dtype.kind == "bool":
        return f"(!{a} & {b})"
    if dtype.kind != "float":
        return f"({a} < {b})"
    body.calls.add("is_nan")
    return f"(!is_nan({a}) & (is_nan({b}) | ({a} < {b})))"
