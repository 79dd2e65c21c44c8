"""A map done to sums while they are in registers.

Most of what follows a convolution reads, besides its result, numbers that belong to a channel (a
bias, what a batch norm has learned), and at most arrays that lie as the result does. Then each
vector of sums goes through the map on its way to memory, which saves a pass over the result. What
has to be worked out of a channel's numbers is, once a tile, and stands in a table.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.after import in_line
from tenor.compiler.lower.evaluate import Axis, Evaluator
from tenor.compiler.lower.frame import over_vectors
from tenor.compiler.lower.storage import memory_type
from tenor.ir.kernel import Affine, Buffer, Expr, Kernel, Store, ordered
from tenor.ir.loops import Function, Value, lanes
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.kernel import Part
    from tenor.ir.target import Target

__all__ = ["Epilogue", "Leaving", "epilogue_of"]

RESULT: Final = 2
"""The number of the buffer a convolution writes."""
CHANNEL: Final = Affine((0, 1, 0))
"""A number of each channel."""


def epilogue_of(kernel: Kernel, target: Target, channels: int) -> Epilogue | None:
    """Return what is done to a convolution's sums in registers; None: they are written first.

    Args:
        kernel: The convolution.
        target: The target.
        channels: Channels of a tile, at the most.
    """
    if not kernel.parts:
        return None
    dtype = kernel.buffers[RESULT].dtype
    if dtype is not dtype.compute or dtype is not kernel.buffers[0].dtype:
        return None
    made = Epilogue(kernel.parts[0], target, channels)
    return made if made.fits else None


class Epilogue:
    """A map taken apart: what is done to vectors of sums, and what belongs to a channel alone.

    Args:
        part: The map, and its pointers.
        target: The target.
        channels: Channels of a tile, at the most.

    Attributes:
        fits: Whether sums can meet all it reads in registers.
        bytes: Of scratch for the table of a tile.
        streams: Whether arrays that lie as the result does are read.
        params: What a function in which sums meet the map takes for it.
    """

    def __init__(self, part: Part, target: Target, channels: int) -> None:
        self.wires, self.then = part.wires, in_line(part.kernel)
        self.width = target.lanes(32)
        self.pitch = ceil(channels / self.width) * self.width
        self.terms: list[Expr] = []
        self.channel: list[Expr] = []
        self.beside: list[int] = []
        self.varying: set[Expr] = set()
        store = self.then.stores[0]
        self.dtype, self.expr = self.then.buffers[store.buffer].dtype, store.expr
        self.fits = len(self.then.stores) == 1 and self._sort()
        if self.fits:
            self._rewrite()
        self.bytes = len(self.terms) * self.pitch * self.dtype.itemsize
        self.streams = bool(self.beside)
        self.filler: Function | None = None

    # -- taking apart -----------------------------------------------------------------------
    def _sort(self) -> bool:
        """Sort what is read into what changes from place to place and what does not."""
        for e in self.then.expressions():
            if e.op == "load" and e.attrs[1].strides[2] and not self._lies_so(e):
                return False
            read = e.op == "load" and (e.attrs[1].strides[2] or self._is_result(e))
            if read or any(a in self.varying for a in e.args):
                self.varying.add(e)
        for e in ordered([self.expr]):
            if e not in self.varying:
                continue
            if e.op == "load" and not self._is_result(e) and e.attrs[0] not in self.beside:
                self.beside.append(e.attrs[0])
            for a in self._numbers(e):
                kept = self.channel if self._is_plain(a) else self.terms
                if a.dtype is not self.dtype:
                    return False
                if a not in kept:
                    kept.append(a)
        return self.expr in self.varying and self.expr.dtype is self.dtype

    def _is_result(self, load: Expr) -> bool:
        number: int = load.attrs[0]
        return self.wires[number] == RESULT

    def _lies_so(self, load: Expr) -> bool:
        """Tell whether a load reads, of an array that lies as the result does, the same place."""
        affine: Affine = load.attrs[1]
        n, channels, places = self.then.domain
        images = affine.strides[0] == channels * places or (not free(n) and n == 1)
        same = self.then.buffers[load.attrs[0]].dtype is self.dtype
        return same and images and affine.strides[1:] == (places, 1) and not affine.offset

    def _numbers(self, expr: Expr) -> list[Expr]:
        """Return the operands that belong to a channel."""
        return [a for a in expr.args if a not in self.varying and a.op != "const"]

    def _is_plain(self, expr: Expr) -> bool:
        """Tell whether a number of a channel is read where it lies."""
        return expr.op == "load" and bool(expr.attrs[1].strides[1] == 1)

    def _rewrite(self) -> None:
        """Write down what is done to the sums, over a table, plain numbers, and what lies beside.

        The pointers are those of the plain numbers, of what lies beside, and of the table.
        """
        first = len(self.channel)
        table = first + len(self.beside)
        made: dict[Expr, Expr] = {}

        def load(number: int, affine: Affine) -> Expr:
            return Expr("load", (), (number, affine, (), ()), self.dtype)

        for k, e in enumerate(self.channel):
            made[e] = load(k, CHANNEL)
        for k, e in enumerate(self.terms):
            made[e] = load(table, replace(CHANNEL, offset=k * self.pitch))
        for e in ordered([self.expr]):
            if e not in self.varying:
                continue
            if e.op != "load":
                args = tuple(made.get(a, a) for a in e.args)
                made[e] = Expr(e.op, args, e.attrs, e.dtype)
            elif self._is_result(e):
                made[e] = Expr("reduced", (), (0,), e.dtype)
            else:
                place = Affine((0, self.then.domain[2], 1))
                made[e] = load(first + self.beside.index(e.attrs[0]), place)
        self.expr = made[self.expr]
        count = table + bool(self.terms)
        self.params = [(f"e{k}", "ptr") for k in range(count)]
        buffers = [Buffer(self.dtype, 1)] * count
        self.kernel = Kernel("map", self.then.domain, buffers, [Store(0, CHANNEL, self.expr)])

    # -- calling ----------------------------------------------------------------------------
    def pointers(
        self, f: Function, buffers: Sequence[Value], where: tuple[Value, Value, Value],
        place: Value, table: Value,
    ) -> list[Value]:  # fmt: skip
        """Fill the table of a tile, and return the pointers of its first channel and place.

        Args:
            f: The kernel's function.
            buffers: The kernel's buffers.
            where: The image, the first channel, and how many channels.
            place: The first place.
            table: Scratch.
        """
        image, first, _ = where
        kind = memory_type(self.dtype)
        _, channels, places = self.then.domain
        found = []
        for e in self.channel:
            number, affine, *_ = e.attrs
            at = f.add(f.add(f.mul(image, affine.strides[0]), first), affine.offset)
            found.append(f.gep(buffers[self.wires[number]], at, kind))
        for number in self.beside:
            at = f.mul(f.add(f.mul(image, channels), first), places)
            found.append(f.gep(buffers[self.wires[number]], f.add(at, place), kind))
        if self.terms:
            self.filler = self.filler or self._fill()
            given = [buffers[wire] for wire in self.wires]
            f.call(self.filler, [*given, *where, table])
            found.append(table)
        return found

    def moved(
        self, f: Function, pointers: Sequence[Value], channel: Value, at: Value
    ) -> list[Value]:
        """Return the pointers of a later channel, whose first place is `at` elements further."""
        first = len(self.channel)
        beside = range(first, first + len(self.beside))
        kind = memory_type(self.dtype)
        return [f.gep(p, at if k in beside else channel, kind) for k, p in enumerate(pointers)]

    def _fill(self) -> Function:
        """Return the function (buffers, image, first channel, channels, table) that fills it."""
        then, kind = self.then, memory_type(self.dtype)
        names = [(f"b{i}", "ptr") for i in range(len(then.buffers))]
        extents = [(n, "i64") for n in ("image", "first", "channels")]
        f = Function("terms", [*names, *extents, ("table", "ptr")])
        *buffers, image, first, channels, table = f.params
        moved = f.gep(table, f.sub(f.const(0, "i64"), first), kind)
        stores = [Store(len(buffers), replace(CHANNEL, offset=k * self.pitch), e)
                  for k, e in enumerate(self.terms)]  # fmt: skip
        room = Buffer(self.dtype, self.pitch * len(stores), written=True)
        kernel = replace(then, buffers=[*then.buffers, room], stores=stores)
        e = Evaluator(f, kernel, [*buffers, moved], table, table)
        e.width = self.width
        e.axes[0] = Axis(image, 0)

        def write() -> None:
            for s in stores:
                e.store(s.buffer, s.affine, s.expr)

        over_vectors(e, 1, first, f.add(first, channels), 1, 1, write)
        return f


class Leaving:
    """An epilogue in a function that holds sums in registers.

    Args:
        epilogue: The epilogue.
        f: The function.
        pointers: As `Epilogue.moved` returns them: where channel 0 and place 0 are.
        across: Whether lanes are channels, not places; nothing may lie beside the result then.
    """

    def __init__(
        self, epilogue: Epilogue, f: Function, pointers: list[Value], *, across: bool = False
    ) -> None:
        self.f, self.expr = f, epilogue.expr
        self.e = Evaluator(f, epilogue.kernel, pointers, f.params[0], f.params[0])
        self.e.axes[0] = Axis(f.const(0, "i64"), 0)
        self.e.vector_dim = 1 if across else 2

    def channel(self, channel: Value | int) -> None:
        """Go on to a channel."""
        self.e.enter(1)
        self.e.axes[1] = Axis(self._index(channel), 1)

    def value(self, sums: Value, place: Value | int, mask: Value | None = None) -> Value:
        """Return what becomes of the sums of some places from `place` on; lanes masked off: any."""
        e = self.e
        e.enter(2)
        e.axes[2] = Axis(self._index(place), 2)
        e.width, e.mask, e.reduced = lanes(sums.type), mask, [sums]
        return e.value(self.expr)

    def _index(self, at: Value | int) -> Value:
        return at if isinstance(at, Value) else self.f.const(at, "i64")
