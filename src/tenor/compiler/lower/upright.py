"""The matrix of a product of few rows, its columns side by side.

A linear layer's weight has k contiguous. For a few rows that is transposed in registers as it is
read, which takes longer than reading it; a weight that stays the same is transposed once.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from tenor.compiler.lower.blocking import PIECE, lanes_of, turned_tile, upright_panel
from tenor.compiler.lower.matmul import product_of
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.panel import each_panel
from tenor.compiler.lower.storage import entry, memory_type
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Value
    from tenor.ir.target import Target

__all__ = ["upright", "upright_elements"]


def upright_elements(kernel: Kernel, target: Target) -> int:
    """Return the elements of a product's b as it is prepared; 0 where it is read as it lies."""
    p, dtype = product_of(kernel.params).flattened(), kernel.buffers[1].dtype
    if any(map(free, (p.m, p.n, p.k))) or dtype is not dtype.compute:
        return 0
    whole = p.b == (1, p.k) and not (p.panel or p.offsets[1] or any(b for _, _, b, _ in p.batch))
    few = turned_tile(p.m, p.n, lanes_of(dtype, target))
    return p.k * p.n if whole and few is not None and p.k > 1 else 0


def upright(kernel: Kernel, target: Target) -> Lowered:
    """Lower the kernel that transposes a product's b: a tile moves a piece of a panel.

    Params: the product's, and `of`, its kind. Buffers: b, and what is made of it.
    """
    p, dtype = product_of(kernel.params).flattened(), kernel.buffers[0].dtype
    panel = upright_panel(p.m, p.n, p.k)
    f, (from_, to), begin, end, _ = entry(kernel)
    kind, width = memory_type(dtype), lanes_of(dtype, target)

    def tile(t: Value, _: list[Value]) -> None:
        j = f.mul(t, PIECE)
        at = f.add(f.mul(f.op("udiv", j, panel), p.k * panel), f.op("urem", j, panel))
        near, far = f.gep(from_, f.mul(j, p.k), kind), f.gep(to, at, kind)

        def move(size: int) -> None:
            copy = mover(f"upright{size}", Layout(dtype, 1, p.k), Layout(dtype, panel, 1), size,
                         width)  # fmt: skip
            f.call(copy, [near, far, f.const(p.k, "i64")])

        each_panel(f, p.n, PIECE, t, move)

    f.loop(begin, end, 1, tile)
    return Lowered(f, ceil(p.n / PIECE), 0, p.k * p.n // 4)
