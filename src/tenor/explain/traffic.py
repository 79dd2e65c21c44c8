"""What a kernel reads, writes and computes, counted from its description."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from tenor.explain.formula import expressions
from tenor.ir.node import size
from tenor.ir.op import OPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel

__all__ = ["Traffic", "traffic_of"]

FREE: Final = frozenset(("cast", "where", "reshape", "barrier"))
"""Elementwise operations that are not counted as arithmetic."""


@dataclass(frozen=True)
class Traffic:
    """One launch: bytes it has to read and write at least, and arithmetic operations.

    An elementwise operation and a step of a reduction count as one, a multiply-add as two.
    """

    read: int
    written: int
    flops: int


def _matmul(params: dict[str, Any], _domain: int) -> int:
    batch = prod(row[0] for row in params["batch"])
    return int(2 * batch * params["m"] * params["n"] * params["k"])


def _matmul_int8(params: dict[str, Any], _domain: int) -> int:
    return int(2 * params["m"] * params["n"] * params["k"])


def _conv(params: dict[str, Any], _domain: int) -> int:
    outputs = params["n"] * params["channels_out"] * prod(params["spatial_out"])
    window = params["channels_in"] // params["groups"] * prod(params["kernel"])
    return int(2 * outputs * window)


def _attention(products: int) -> Callable[[dict[str, Any], int], int]:
    def count(params: dict[str, Any], _domain: int) -> int:
        looks = params["s"] if not params["causal"] else min(params["s"], (params["t"] + 1) / 2)
        each = (params["d"] + params["e"]) / 2
        heads = params["batch"] * params["heads"]
        return int(2 * products * heads * params["t"] * looks * each)

    return count


def _once(_params: dict[str, Any], domain: int) -> int:
    return domain


def _none(_params: dict[str, Any], _domain: int) -> int:
    return 0


TEMPLATES: Final[dict[str, Callable[[dict[str, Any], int], int]]] = {
    "matmul_int8": _matmul_int8,
    "matmul": _matmul, "conv": _conv, "conv_int8": _conv, "conv_input": _conv, "conv_weight": _conv,
    "attention": _attention(2), "attention_gradient": _attention(5),
    "fold": _once, "cumsum": _once, "put": _none, "put_along": _none, "argsort": _none,
    "topk": _none,
}  # fmt: skip


def traffic_of(kernel: Kernel) -> Traffic:
    """Return what one launch of a kernel reads, writes and computes."""
    if kernel.parts:
        read, written = _touched(kernel)
        own = TEMPLATES.get(kernel.kind, _none)(kernel.params, size(kernel.domain))
        joined = sum(traffic_of(part.kernel).flops for part in kernel.parts)
        return Traffic(read, written, own + joined)
    domain = size(kernel.domain)
    every = expressions(kernel)
    if not kernel.stores:
        read, written = _touched(kernel)
        return Traffic(read, written, TEMPLATES.get(kernel.kind, _none)(kernel.params, domain))
    kept = prod(n for d, n in enumerate(kernel.domain) if d not in kernel.reduce_dims)
    read = 0
    for number in {e.attrs[0] for e in every if e.op in ("load", "scalar")}:
        buffer = kernel.buffers[number]
        loads = sum(e.op == "load" and e.attrs[0] == number for e in every)
        read += min(buffer.size, max(1, loads) * domain) * buffer.dtype.itemsize
    written = sum(
        min(kernel.buffers[s.buffer].size, kept) * kernel.buffers[s.buffer].dtype.itemsize
        for s in kernel.stores
    )
    inner, after = _arithmetic(kernel)
    return Traffic(read, written, inner * domain + after * kept + len(kernel.reductions) * domain)


def _touched(kernel: Kernel) -> tuple[int, int]:
    """Return the bytes of the buffers that are read, and of those that are written."""
    every = [(b.written, b.size * b.dtype.itemsize) for b in kernel.buffers]
    return sum(n for w, n in every if not w), sum(n for w, n in every if w)


def _arithmetic(kernel: Kernel) -> tuple[int, int]:
    """Return the operations at each index of the domain, and those after a reduction."""
    reduced: set[int] = set()
    counted = {"inner": 0, "after": 0}
    for expr in expressions(kernel):
        late = expr.op == "reduced" or any(id(arg) in reduced for arg in expr.args)
        if late:
            reduced.add(id(expr))
        op = OPS.get(expr.op)
        if op is not None and op.family == "elementwise" and expr.op not in FREE:
            counted["after" if late else "inner"] += 1
    return counted["inner"], counted["after"]
