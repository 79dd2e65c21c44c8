"""Map kernels: one invocation an element, or what follows a product, one call an element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.emit.wgsl.body import THREADS, grid
from tenor.compiler.emit.wgsl.element import register
from tenor.compiler.emit.wgsl.expression import Evaluator, axes_of, unravelled
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.compiler.emit.wgsl.body import Body
    from tenor.ir.kernel import Part

__all__ = ["write_map", "write_tail"]


def write_tail(body: Body, part: Part) -> None:
    """Declare `tail`: a map that takes an element from a register.

    It is given the element's row-major index in the map's domain, and the element.
    """
    wires = [None if wire < 0 else body.wires[wire] for wire in part.wires]
    taken = part.kernel.buffers[wires.index(None)].dtype
    inner = body.within(part.kernel, wires)
    _write(inner, "i")
    body.define(f"tail(i: i32, x: {register(taken)})", inner)


def write_map(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write a map kernel; return the threads of a workgroup, and how many workgroups."""
    count = size(body.kernel.domain)
    _write(body, body.index(count))
    return THREADS, grid(-(-count // THREADS))


def _write(body: Body, at: str) -> None:
    """Write what a map does at an index of its domain."""
    kernel = body.kernel
    index = unravelled(body, at, axes_of(kernel))
    e = Evaluator(body, index)
    values = [e.value(store.expr) for store in kernel.stores]
    # All is read before anything is written: a kernel may read what it writes over.
    for store, value in zip(kernel.stores, values, strict=True):
        body.store(store.buffer, e.affine(store.affine), value)
