"""Map kernels: one invocation an element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.emit.wgsl.body import THREADS, grid
from tenor.compiler.emit.wgsl.expression import Evaluator, axes_of, unravelled
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.compiler.emit.wgsl.body import Body

__all__ = ["write_map"]


def write_map(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write a map kernel; return the threads of a workgroup, and how many workgroups."""
    kernel = body.kernel
    count = size(kernel.domain)
    index = unravelled(body, body.index(count), axes_of(kernel))
    e = Evaluator(body, index)
    values = [e.value(store.expr) for store in kernel.stores]
    # All is read before anything is written: a kernel may read what it writes over.
    for store, value in zip(kernel.stores, values, strict=True):
        body.store(store.buffer, e.affine(store.affine), value)
    return THREADS, grid(-(-count // THREADS))
