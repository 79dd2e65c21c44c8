"""Matrix multiply: c[..., i, j] = sum over k of a[..., i, k] b[..., k, j]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.lower.microkernel import multiply_add
from tenor.compiler.lower.storage import compute_type, entry, load_element, repeat, store_element
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["matmul"]


def matmul(kernel: Kernel, _target: Target) -> Lowered:
    """Lower a batch of matrix products.

    Params: batch, a tuple of (extent, stride of a, of b, of c); m, n, k; a, b, c: (row stride,
    column stride) of each operand; offsets of each.
    Buffers: a, b, c; one dtype.
    """
    p = kernel.params
    m, n, k = p["m"], p["n"], p["k"]
    dtype = kernel.buffers[0].dtype
    f, (a, b, c), begin, end, _ = entry(kernel)
    batch = 1
    for extent, *_rest in p["batch"]:
        batch *= extent

    def tile(t: Value, _: list[Value]) -> None:
        which, i = f.op("sdiv", t, m), f.op("srem", t, m)
        base = list(_bases(f, kernel, which))
        row = f.add(base[0], f.mul(i, p["a"][0]))

        def column(j: Value) -> None:
            def step(q: Value, total: list[Value]) -> list[Value]:
                x = load_element(f, dtype, a, f.add(row, f.mul(q, p["a"][1])))
                at = f.add(f.mul(q, p["b"][0]), f.mul(j, p["b"][1]))
                y = load_element(f, dtype, b, f.add(base[1], at))
                return [multiply_add(f, dtype, x, y, total[0])]

            total = f.loop(0, k, 1, step, [f.const(0, compute_type(dtype))])[0]
            at = f.add(f.mul(i, p["c"][0]), f.mul(j, p["c"][1]))
            store_element(f, dtype, total, c, f.add(base[2], at))

        repeat(f, f.const(0, "i64"), f.const(n, "i64"), 1, column)

    f.loop(begin, end, 1, tile)
    return Lowered(f, batch * m if n else 0, 0, batch * m * n * k)


def _bases(f: Function, kernel: Kernel, which: Value) -> list[Value]:
    """Return where each operand's matrix number `which` of the batch begins."""
    base = [f.const(o, "i64") for o in kernel.params["offsets"]]
    for extent, *strides in reversed(kernel.params["batch"]):
        index = f.op("srem", which, extent)
        which = f.op("sdiv", which, extent)
        base = [f.add(b, f.mul(index, s)) for b, s in zip(base, strides, strict=True)]
    return base
