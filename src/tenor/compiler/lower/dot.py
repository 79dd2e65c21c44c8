"""Dot products of long vectors: the blocks of k side by side, so that no sum waits for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import depth_of
from tenor.compiler.lower.microkernel import multiply_add
from tenor.compiler.lower.storage import compute_type, load_element, plus

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.ir.loops import Function, Value

__all__ = ["ABREAST", "dot"]

ABREAST: Final = 8
"""Blocks summed at a time."""


def dot(f: Function, dtype: DType, a: Value, b: Value, k: int, step_a: int, step_b: int) -> Value:
    """Return the sum of a[i step_a] b[i step_b] over i < k, with the bits of a matrix product.

    Each block of k is one chain of fused steps from zero; the blocks are added in order.
    """
    depth = depth_of(k)
    kind = compute_type(dtype)

    def blocks(first: Value, count: int, length: int, total: Value) -> Value:
        """Return the total with `count` blocks added, all of one length."""

        def step(i: Value, held: list[Value]) -> list[Value]:
            sums = []
            for j, part in enumerate(held):
                at = f.add(f.add(first, i), j * depth)
                x = load_element(f, dtype, a, f.mul(at, step_a))
                y = load_element(f, dtype, b, f.mul(at, step_b))
                sums.append(multiply_add(f, dtype.compute, x, y, part))
            return sums

        for part in f.loop(0, length, 1, step, [f.const(0, kind)] * count):
            total = plus(f, dtype, total, part)
        return total

    # Adding to minus zero leaves every first sum as it is, zeros of both signs too.
    total = f.const(-0.0 if dtype.kind == "float" else 0, kind)
    whole = k // depth
    together = whole - whole % ABREAST
    if together:

        def several(i: Value, held: list[Value]) -> list[Value]:
            return [blocks(i, ABREAST, depth, held[0])]

        total = f.loop(0, together * depth, ABREAST * depth, several, [total])[0]
    if whole > together:
        at = f.const(together * depth, "i64")
        total = blocks(at, whole - together, depth, total)
    if k % depth:
        total = blocks(f.const(whole * depth, "i64"), 1, k % depth, total)
    return total
