"""A map done to pieces of a result: some places of some channels of an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tenor.compiler.lower.evaluate import Axis, Evaluator, expr_cost
from tenor.compiler.lower.frame import over_vectors
from tenor.compiler.lower.index import Merge, mapped
from tenor.ir.kernel import Store
from tenor.ir.loops import Function
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.kernel import Expr, Kernel, Part
    from tenor.ir.loops import Value
    from tenor.ir.target import Target

__all__ = ["After", "after_of", "in_line"]


def after_of(kernel: Kernel, target: Target) -> After | None:
    """Return what is done to a kernel's result; None: it stays as it is."""
    return After(kernel.parts[0], target) if kernel.parts else None


class After:
    """A map as a function of a piece.

    Args:
        part: The map, over images, channels and places, and its pointers.
        target: What for.
    """

    def __init__(self, part: Part, target: Target) -> None:
        self.wires, self.target = part.wires, target
        self.kernel = in_line(part.kernel)
        self.functions: dict[tuple[int, bool], Function] = {}

    def call(
        self, f: Function, buffers: Sequence[Value], where: tuple[Value, Value, Value],
        run: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """Write the call.

        Args:
            f: The function being written: the kernel's own.
            buffers: The kernel's buffers.
            where: The image, the first channel, and how many channels.
            run: The first place, and the one after the last.
        """
        count, width = f.sub(run[1], run[0]).const, self.target.lanes(32)
        # Vectors without a mask: how many at a time, and whether one more ends with the run.
        form = (0, False)
        if isinstance(count, int) and count >= width > 1:
            form = (1 if count % (2 * width) else 2, count % width > 0)
        if form not in self.functions:
            self.functions[form] = self._write(*form)
        given = [buffers[wire] for wire in self.wires]
        status = f.params[4]
        f.call(self.functions[form], [*given, *where, *run, status])

    def _write(self, vectors: int, ragged: bool) -> Function:
        kernel = self.kernel
        names = [(f"b{i}", "ptr") for i in range(len(kernel.buffers))]
        extents = [(n, "i64") for n in ("image", "first", "channels", "low", "high")]
        f = Function(f"after{vectors}{'r' * ragged}", [*names, *extents, ("status", "ptr")])
        *buffers, image, first, channels, low, high, status = f.params
        e = Evaluator(f, kernel, buffers, status, status)
        e.width = self.target.lanes(32)
        seen: set[Expr] = set()
        weight = sum(expr_cost(s.expr, seen) + 1 for s in kernel.stores)
        most = 2 if weight <= 16 else 1

        def channel(i: Value, _: object) -> None:
            e.enter(1)
            e.axes[0], e.axes[1] = Axis(image, 0), Axis(f.add(first, i), 1)
            if vectors:
                self._vectors(e, low, high, min(vectors, most), ragged)
            else:
                over_vectors(e, 2, low, high, most, 2, lambda: self._store(e))

        f.loop(0, channels, 1, channel)
        return f

    def _store(self, e: Evaluator) -> None:
        """Write a vector of results."""
        # The result stands where one of them is written: all have read it before.
        for s in self.kernel.stores:
            e.value(s.expr)
        for s in self.kernel.stores:
            e.store(s.buffer, s.affine, s.expr)

    def _vectors(self, e: Evaluator, low: Value, high: Value, unroll: int, ragged: bool) -> None:
        """Write the results of a run of a vector or more.

        What is left over goes with the run's last vector: that is worked out first, for it reads
        what others write over, and written last.
        """
        f, stores = e.f, self.kernel.stores
        e.vector_dim = 2
        last = f.sub(high, e.width)

        def begin() -> None:
            e.axes[2] = Axis(last, 2)
            e.enter(2)

        held: list[Value] = []
        if ragged:
            begin()
            held = [e.value(s.expr) for s in stores]
            high = f.sub(high, f.op("urem", f.sub(high, low), e.width))
        over_vectors(e, 2, low, high, unroll, 2, lambda: self._store(e), whole=True)
        if ragged:
            begin()
            for s, value in zip(stores, held, strict=True):
                e.put(s.buffer, s.affine, s.expr.dtype, value)


def in_line(kernel: Kernel) -> Kernel:
    """Return a map with the places of an image in one dim."""
    domain = kernel.domain
    real = tuple(d for d in range(2, len(domain)) if domain[d] > 1) or (2,)
    merge = Merge(((0,), (1,), real))
    memo: dict[Expr, Expr] = {}
    stores = [
        Store(s.buffer, merge.affine(s.affine), mapped(s.expr, merge.affine, memo))
        for s in kernel.stores
    ]
    return replace(kernel, domain=(*domain[:2], size(domain[2:])), stores=stores)
