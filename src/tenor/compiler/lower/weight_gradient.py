"""The weight gradient of a convolution: a matrix product for each channel, over all places.

w[o, c, t] = sum over images and places p of g[n, o, p] x[n, c, p stride + t dilation - low]. The
rows of a tile are taps of one or a few channels, each at a fixed offset from the place in a padded
copy; its columns are channels of g, which is packed with its channels side by side. Where each
group has one channel of x, groups lie side by side instead.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Final

import numpy as np

from tenor.compiler.lower.blocking import DEPTH, lanes_of, parted, tiles_for, usual
from tenor.compiler.lower.matmul import Product, multiply
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, multiply_add, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.pointwise_weight import PointwiseWeight, suits_pointwise
from tenor.compiler.lower.storage import (
    Scratch,
    compute_type,
    entry,
    memory_type,
    plus,
    store_element,
)
from tenor.compiler.lower.window import Padded, flat, nested, padded_copy, unflat
from tenor.compiler.lower.winograd_weight import WinogradWeight, suits_weight
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["conv_weight"]

ROWS: Final = 12
"""Rows of a tile at the most."""
MANY: Final = 4
"""Channels of g a group has at the most where groups lie side by side."""
HEIGHT: Final = 36
"""Rows of the gradient a tile has at the least, so that packing g for it pays."""
BREADTH: Final = 128
"""Channels of g times taps a tile has at the least, so that copying x for it pays."""
COPY: Final = 128 * 1024
"""Bytes of the padded copy a tile should stay below."""


def conv_weight(kernel: Kernel, target: Target) -> Lowered:
    """Lower the gradient of a convolution's weight.

    Buffers: x, g, w. A block of k is about `DEPTH` places: rows of an image, or whole images.
    """
    p = kernel.params
    if p["groups"] == 1 and p["kernel"] == p["spatial_in"] and prod(p["spatial_out"]) == 1 and (
        not any(v for pair in p["padding"] for v in pair)
    ):  # fmt: skip
        k, co = p["channels_in"] * prod(p["kernel"]), p["channels_out"]
        product = Product((), co, k, p["n"], (1, co), (k, 1), (k, 1), (0, 0, 0))
        return multiply(kernel, product, target, (1, 0, 2))
    pointwise = prod(p["kernel"]) == prod(p["stride"]) == 1
    if pointwise and not any(v for pair in p["padding"] for v in pair):
        if suits_pointwise(kernel, prod(p["spatial_in"])):
            return PointwiseWeight(kernel, target, prod(p["spatial_in"])).write()
        line = {"spatial_in": (prod(p["spatial_in"]),), "spatial_out": (prod(p["spatial_out"]),)}
        one = dict.fromkeys(("kernel", "stride", "dilation"), (1,)) | {"padding": ((0, 0),)}
        kernel = replace(kernel, params=p | line | one)
    width = lanes_of(kernel.buffers[0].dtype, target)
    if p["channels_in"] == p["groups"] >= width > 1 and p["channels_out"] <= MANY * p["groups"]:
        return _Depthwise(kernel, target).write()
    if suits_weight(kernel):
        return WinogradWeight(kernel, target).write()
    return _Writer(kernel, target).write()


class _Writer:
    """A weight gradient being written."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        p = kernel.params
        self.kernel, self.dtype = kernel, kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        self.n, self.groups = p["n"], p["groups"]
        self.ci, self.co = p["channels_in"] // self.groups, p["channels_out"] // self.groups
        self.out, self.taps = p["spatial_out"], p["kernel"]
        reach = [(k - 1) * d for k, d in zip(self.taps, p["dilation"], strict=True)]
        extents = tuple(n + r // s for n, r, s in zip(self.out, reach, p["stride"], strict=True))
        low = tuple(before for before, _ in p["padding"])
        planes = tuple(min(s, r + 1) for s, r in zip(p["stride"], reach, strict=True))
        self.shape = Padded(p["spatial_in"], p["stride"], planes, extents, low)
        self.strides, self.dilation = p["stride"], p["dilation"]
        if 0 not in (self.groups, self.ci, self.co, prod(self.out), prod(self.taps)):
            self._cut(target)

    def _rows(self) -> None:
        """Choose the rows of a tile: taps of the last dims, of several channels if few."""
        shape, rank = self.shape, len(self.taps)
        inner = 0
        while inner < rank and prod(self.taps[rank - inner - 1 :]) <= ROWS:
            inner += 1
        self.outer = self.taps[: rank - inner]
        self.near = self.taps[rank - inner :]
        self.run = self._run() if not inner else 1
        if self.run > 1:
            self.outer = (*self.outer[:-1], self.outer[-1] // self.run)
            self.near = (self.run,)
        ahead = (0,) * (rank - len(self.near))
        offsets = [self._offset(ahead + tap) for tap in np.ndindex(*self.near)]
        together = 1 if self.outer else max(1, min(self.ci, ROWS // max(1, len(offsets))))
        self.together = together
        self.rows = [c * shape.channel + o for c in range(together) for o in offsets]

    def _run(self) -> int:
        """Return how many taps of a long last dim are rows of a tile: so many at equal distance."""
        taps, step = self.taps[-1], self.strides[-1]
        runs = [r for r in range(1, ROWS + 1) if taps % r == 0 == r * self.dilation[-1] % step]
        return max(runs, default=1)

    def _offset(self, tap: tuple[int, ...]) -> int:
        """Return the place of a tap in a channel of the padded copy."""
        shape, plane, at = self.shape, 0, 0
        rows = zip(tap, self.dilation, self.strides, shape.phases, shape.pitches, strict=True)
        for t, d, s, planes, pitch in rows:
            plane = plane * planes + t * d % s
            at += t * d // s * pitch
        return plane * shape.plane + at

    def _cut(self, target: Target) -> None:
        """Cut the channels into tiles, and the images into blocks of k: rows, or a few images."""
        size = self.compute.itemsize
        self.lanes = min(self.width, 1 << max(0, self.co - 1).bit_length())
        self._blocks()
        self._rows()
        height = len(self.rows)
        room = max(1, (target.registers - 2) // (height + 1))
        all_vectors = ceil(self.co / self.lanes)
        work = prod(self.out) * self.groups * self.ci * self.co * prod(self.taps)
        self.work = self.n * work
        wanted = tiles_for(usual(self.n) * work)
        if wanted > 1 and self.groups == self.ci == 1 < self.run:
            room = min(room, ceil(all_vectors / 2))  # there is nothing else to share out
        self.vectors = ceil(all_vectors / ceil(all_vectors / min(room, 6)))
        self.columns = self.vectors * self.lanes
        each = self.images * self.shape.channel * size
        least = ceil(self.ci / max(self.together, COPY // each))
        # Packing g costs more than copying x: other threads get other channels of g first.
        across = min(ceil(wanted / (self.groups * least)), ceil(self.co / self.columns),
                     max(1, self.co * prod(self.taps) // BREADTH))  # fmt: skip
        self.oc = parted(self.co, self.columns, self.co, across)
        self.across = ceil(self.co / self.oc)
        parts = min(ceil(wanted / (self.groups * self.across)), self.ci * prod(self.taps) // HEIGHT)
        self.cc = parted(self.ci, self.together, self.ci, max(least, parts))
        self.parts = ceil(self.ci / self.cc)
        self.tiles = self.groups * self.across * self.parts
        self.c_row = self.oc

    def _blocks(self) -> None:
        """Choose a block of k: some rows of places, or some whole images."""
        line = max(1, prod(self.out[1:]))
        self.chunk = min(self.out[0], max(1, DEPTH // line))
        self.chunk = ceil(self.out[0] / max(1, ceil(self.out[0] / self.chunk)))
        self.line, self.places = line, self.chunk * line
        halo = self.shape.extents[0] - self.out[0]
        self.shape = replace(self.shape, extents=(self.chunk + halo, *self.shape.extents[1:]))
        whole = self.chunk == self.out[0]
        self.images = max(1, min(self.n, DEPTH // self.places)) if whole else 1
        self.more = self.n > self.images or not whole

    def write(self) -> Lowered:
        """Write the function."""
        kernel = self.kernel
        if 0 in (self.groups, self.ci, self.co, prod(self.taps)):
            return Lowered(entry(kernel)[0], 0)
        if 0 in (self.n, *self.out):
            return self._zeros()
        f, (x, g, w), begin, end, scratch = entry(kernel)
        self.f, self.x, self.g, self.w = f, x, g, w
        space = Scratch(f, scratch)
        self.at = {"offsets": space.take(4 * self.images * self.places)}
        for name, count in self._sizes().items():
            self.at[name] = space.take(count * self.compute.itemsize)
        tables = self._tables()
        f.if_(f.compare("slt", begin, end), lambda: f.call(tables, [self.at["offsets"]]))
        self.micros: dict[tuple[int, int], Function] = {}
        f.loop(begin, end, 1, self._tile)
        return Lowered(f, self.tiles, space.used, self.work * 8 // (self.width * 20) + 1)

    def _sizes(self) -> dict[str, int]:
        """Return the elements of each part of the workspace."""
        return {
            "copy": self.images * self.cc * self.shape.channel + 2 * self.width,
            "packed": self.images * self.places * self.c_row,
            "sums": self.cc * prod(self.taps) * self.c_row,
        }

    def _zeros(self) -> Lowered:
        """Write the gradient of no image at all."""
        f, (_, _, w), begin, end, _ = entry(self.kernel)
        zero, count = f.const(0, compute_type(self.dtype)), self.kernel.buffers[2].size
        f.loop(begin, end, count, lambda _t, _: f.loop(
            0, count, 1, lambda i, _: store_element(f, self.dtype, zero, w, i)))  # fmt: skip
        return Lowered(f, 1)

    def _tables(self) -> Function:
        """Return the function that writes where each image and place of a block lies."""
        f = Function("tables", [("offsets", "ptr")])
        extents = (self.images, self.chunk, *self.out[1:])
        steps = (self.cc * self.shape.channel, *self.shape.pitches)

        def place(index: list[Value]) -> None:
            at: Value = f.const(0, "i64")
            for i, step in zip(index, steps, strict=True):
                at = f.add(at, f.mul(i, step))
            f.store(f.convert("trunc_int", at, "i32"), f.params[0], flat(f, index, extents))

        nested(f, extents, place)
        return f

    def _tile(self, t: Value, _: list[Value]) -> None:
        f = self.f
        group, across, part = unflat(f, t, (self.groups, self.across, self.parts))
        first = f.mul(part, self.cc)
        self.o = f.mul(across, self.oc)
        count_o: Value = f.const(self.oc, "i64")
        if self.co % self.oc:
            count_o = f.op("smin", count_o, f.sub(f.const(self.co, "i64"), self.o))
        self.wide = Extent(count_o, self.columns, self.co % self.columns)
        left: Value = f.const(self.cc, "i64")
        if self.ci % self.cc:
            left = f.op("smin", left, f.sub(f.const(self.ci, "i64"), first))
        channels = Extent(left, self.together, self.ci % self.together)

        def block(q: Value, count: Value, r: Value, places: Value) -> None:
            self._fill((q, count), (r, places), group, first, left)
            self._block(f.add(q, r), f.mul(count, places), channels)

        self._every_block(block)
        self._deliver(group, first, left)

    def _every_block(self, body: Callable[[Value, Value, Value, Value], None]) -> None:
        """Run `body(image, images, row, places of an image)` for each block of k, in order."""
        f = self.f

        def block(q: Value, _: list[Value]) -> None:
            count: Value = f.const(self.images, "i64")
            if free(self.n) or self.n % self.images:
                count = f.op("smin", count, f.sub(f.const(self.n, "i64"), q))

            def lines(r: Value, _: list[Value]) -> None:
                height: Value = f.const(self.chunk, "i64")
                if self.out[0] % self.chunk:
                    height = f.op("smin", height, f.sub(f.const(self.out[0], "i64"), r))
                body(q, count, r, f.mul(height, self.line))

            f.loop(0, self.out[0], self.chunk, lines)

        f.loop(0, self.n, self.images, block)

    def _fill(
        self, images: tuple[Value, Value], places: tuple[Value, Value], group: Value,
        first: Value, left: Value,
    ) -> None:  # fmt: skip
        """Copy what a block needs: x padded, g with its channels side by side."""
        f = self.f
        (q, count), (r, run) = images, places
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        copier = padded_copy("copy", self.shape, self.dtype, self.width)
        depth = self.images * self.places

        def image(i: Value, _: list[Value]) -> None:
            which = f.add(f.mul(f.add(q, i), self.groups), group)
            at = f.mul(f.add(f.mul(which, self.ci), first), prod(self.shape.image))
            to = f.mul(i, self.cc * self.shape.channel)
            f.call(copier, [f.gep(self.x, at, kind), f.gep(self.at["copy"], to, packed),
                            r, left])  # fmt: skip

            def panel(j: Value, size: int) -> None:
                move = mover(f"pack{size}", Layout(self.dtype, 1, prod(self.out)),
                             Layout(self.compute, self.columns, 1), size, self.lanes,
                             padded=ceil(size / self.lanes) * self.lanes)  # fmt: skip
                at = f.mul(f.add(f.mul(which, self.co), f.add(self.o, j)), prod(self.out))
                at = f.add(at, f.mul(r, self.line))
                to = f.add(f.mul(j, depth), f.mul(i, self.places * self.columns))
                f.call(move, [f.gep(self.g, at, kind), f.gep(self.at["packed"], to, packed),
                              run])  # fmt: skip

            sweep(f, self.wide, panel)

        f.loop(0, count, 1, image)

    def _block(self, q: Value, depth: Value, channels: Extent) -> None:
        """Write the sums of one block."""
        f = self.f
        packed = compute_type(self.dtype)
        whole = self.images * self.places

        def several(c: Value, together: int) -> None:
            def taps(index: list[Value]) -> None:
                at = f.add(f.mul(c, self.shape.channel), self._far(index))
                a = f.gep(self.at["copy"], at, packed)
                row = f.mul(f.add(f.mul(c, prod(self.outer)), flat(f, index, self.outer)),
                            prod(self.near))  # fmt: skip

                def right(j: Value, size: int) -> None:
                    b = f.gep(self.at["packed"], f.mul(j, whole), packed)
                    to = f.gep(self.at["sums"], f.add(f.mul(row, self.c_row), j), packed)
                    more = [q] if self.more else []
                    height = together * prod(self.near)
                    f.call(self._micro(height, size), [depth, a, b, to, self.at["offsets"], *more])

                sweep(f, self.wide, right)

            nested(f, self.outer, taps)

        sweep(f, channels, several)

    def _far(self, index: list[Value]) -> Value:
        """Return the offset of the outer part of a tap."""
        f, shape = self.f, self.shape
        planes: Value = f.const(0, "i64")
        at: Value = f.const(0, "i64")
        rows = zip(index, self.dilation, self.strides, shape.pitches, strict=False)
        for d, (t, dilation, s, pitch) in enumerate(rows):
            last = d == len(self.taps) - 1
            far = f.mul(t, dilation * (self.run if last else 1))
            planes = f.add(planes, f.mul(f.op("urem", far, s) if s > 1 else f.const(0, "i64"),
                                         prod(shape.phases[d + 1 :])))  # fmt: skip
            at = f.add(at, f.mul(f.op("udiv", far, s) if s > 1 else far, pitch))
        return f.add(at, f.mul(planes, shape.plane))

    def _micro(self, height: int, size: int) -> Function:
        if (height, size) not in self.micros:
            vectors = ceil(size / self.lanes)
            spec = Micro(
                a=self.compute, b=self.compute, c=self.compute, rows=tuple(self.rows[:height]),
                a_step=None, b_step=self.columns, vectors=vectors, width=self.lanes,
                last=self.lanes, c_row=self.c_row, more=self.more,
                padded_b=True, padded_c=True,
            )  # fmt: skip
            self.micros[height, size] = micro_kernel(f"multiply{height}x{vectors}", spec)
        return self.micros[height, size]

    def _deliver(self, group: Value, first: Value, left: Value) -> None:
        """Write the sums of a tile to the weight."""
        f, taps = self.f, prod(self.taps)

        def right(j: Value, size: int) -> None:
            move = mover(f"deliver{size}", Layout(self.compute, self.c_row, 1),
                         Layout(self.dtype, 1, self.ci * taps), size, self.lanes)  # fmt: skip
            o = f.add(f.mul(group, self.co), f.add(self.o, j))
            channel = f.add(f.mul(o, self.ci), first)
            to = f.gep(self.w, f.mul(channel, taps), memory_type(self.dtype))
            from_ = f.gep(self.at["sums"], j, compute_type(self.dtype))
            f.call(move, [from_, to, f.mul(left, taps)])

        sweep(f, self.wide, right)


class _Depthwise(_Writer):
    """The gradient where a group has one channel of x: groups lie side by side in vectors."""

    def _cut(self, target: Target) -> None:
        """Cut the groups into vectors, and the images into blocks of k."""
        self.cc = 1
        self._blocks()
        self.tiles = ceil(self.groups / self.width)
        self.work = self.n * prod(self.out) * self.groups * self.co * prod(self.taps)
        self.room = target.registers - 3

    def _sizes(self) -> dict[str, int]:
        return {
            "copy": self.width * self.shape.channel + 2 * self.width,
            "turned": self.images * self.shape.channel * self.width,
            "packed": self.images * self.places * self.width,
            "sums": self.co * prod(self.taps) * self.width,
        }

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, rest = self.f, self.groups % self.width
        first = f.mul(t, self.width)
        left: Value = f.const(self.width, "i64")
        if rest:
            left = f.op("smin", left, f.sub(f.const(self.groups, "i64"), first))
        sweep(f, Extent(left, self.width, rest), lambda _, count: self._groups(first, count))

    def _groups(self, first: Value, count: int) -> None:
        """Write the gradients of some groups, one in a lane."""
        f, taps, packed = self.f, prod(self.taps), compute_type(self.dtype)

        def block(q: Value, images: Value, r: Value, places: Value) -> None:
            f.loop(0, images, 1, lambda i, _: self._turn_image(f.add(q, i), i, r, first, count))

            def channel(m: Value, _: list[Value]) -> None:
                number = f.add(f.mul(first, self.co), m)

                def turn(i: Value, _: list[Value]) -> None:
                    self._turn_cotangent(f.add(q, i), i, (r, places), number, count)

                f.loop(0, images, 1, turn)
                for start in range(0, taps, self.room):
                    at = f.add(f.mul(m, taps), start)
                    to = f.gep(self.at["sums"], f.mul(at, self.width), packed)
                    more = [f.add(q, r)] if self.more else []
                    f.call(self._taps(start), [f.mul(images, places), self.at["turned"],
                                               self.at["packed"], to, self.at["offsets"],
                                               *more])  # fmt: skip

            f.loop(0, self.co, 1, channel)

        self._every_block(block)
        move = mover(f"deliver{count}", Layout(self.compute, self.width, 1),
                     Layout(self.dtype, 1, self.co * taps), count, self.width)  # fmt: skip

        def deliver(m: Value, _: list[Value]) -> None:
            at = f.mul(f.add(f.mul(first, self.co), m), taps)
            sums = f.gep(self.at["sums"], f.mul(m, taps * self.width), packed)
            to = f.gep(self.w, at, memory_type(self.dtype))
            f.call(move, [sums, to, f.const(taps, "i64")])

        f.loop(0, self.co, 1, deliver)

    def _turn_image(self, image: Value, i: Value, r: Value, first: Value, count: int) -> None:
        """Copy an image's channels, padded, and turn them: channels side by side."""
        f, channel = self.f, self.shape.channel
        at = f.mul(f.add(f.mul(image, self.groups), first), prod(self.shape.image))
        copier = padded_copy("copy", self.shape, self.dtype, self.width)
        f.call(copier, [f.gep(self.x, at, memory_type(self.dtype)), self.at["copy"], r,
                        f.const(count, "i64")])  # fmt: skip
        turn = mover(f"turn{count}", Layout(self.compute, 1, channel),
                     Layout(self.compute, self.width, 1), count, self.width,
                     padded=self.width)  # fmt: skip
        to = f.gep(self.at["turned"], f.mul(i, channel * self.width), compute_type(self.dtype))
        f.call(turn, [self.at["copy"], to, f.const(channel, "i64")])

    def _turn_cotangent(
        self, image: Value, i: Value, places: tuple[Value, Value], channel: Value, count: int
    ) -> None:
        """Turn one of each group's channels of g: they lie side by side, too."""
        f, (r, run), size = self.f, places, prod(self.out)
        at = f.mul(f.add(f.mul(image, self.groups * self.co), channel), size)
        at = f.add(at, f.mul(r, self.line))
        turn = mover(f"pack{count}", Layout(self.dtype, 1, self.co * size),
                     Layout(self.compute, self.width, 1), count, self.width,
                     padded=self.width)  # fmt: skip
        to = f.gep(self.at["packed"], f.mul(i, f.mul(run, self.width)), compute_type(self.dtype))
        f.call(turn, [f.gep(self.g, at, memory_type(self.dtype)), to, run])

    def _taps(self, start: int) -> Function:
        """Return the function (depth, x, g, sums, offsets[, block]) of some taps."""
        taps = list(np.ndindex(*self.taps))[start : start + self.room]
        names = [("depth", "i64"), *((n, "ptr") for n in ("x", "g", "to", "offsets"))]
        f = Function(f"taps{start}", [*names, *([("block", "i64")] if self.more else [])])
        depth, x, g, to, offsets, *block = f.params
        kind = vector(compute_type(self.dtype), self.width)

        def step(k: Value, held: list[Value]) -> list[Value]:
            at = f.convert("sext", f.load("i32", offsets, k), "i64")
            here = f.gep(x, f.mul(at, self.width), compute_type(self.dtype))
            y = f.load(kind, g, f.mul(k, self.width))
            return [
                multiply_add(f, self.compute, f.load(kind, here, self._offset(tap) * self.width),
                             y, old)
                for tap, old in zip(taps, held, strict=True)
            ]  # fmt: skip

        totals = f.loop(0, depth, 1, step, [f.const(0, kind)] * len(taps))

        def write(add: bool) -> None:
            for t, total in enumerate(totals):
                at = t * self.width
                f.store(plus(f, self.dtype, f.load(kind, to, at), total) if add else total, to, at)

        if block:
            f.if_(f.compare("eq", block[0], 0), lambda: write(False), lambda: write(True))
        else:
            write(False)
        return f
