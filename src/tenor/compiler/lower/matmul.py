"""Matrix multiply: c[..., i, j] = sum over k of a[..., i, k] b[..., k, j].

A tile of c is done for a few blocks of k at a time: columns of b are packed into panels the
second-level cache holds, then panels of rows of a meet every one of them in a micro-kernel, one
block after the other while their part of c is near. What is packed, transposed or read where it
lies follows from shapes and strides, and never shows in the bits: each element is, for each block
of k, one chain of fused steps from zero, and the blocks are added in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.lower.blocking import (
    DEPTH,
    FETCHED,
    MANY,
    TILES,
    WAYS,
    Shape,
    depth_of,
    lanes_of,
    parted,
    register_tile,
    tiles_for,
    turned_tile,
)
from tenor.compiler.lower.dot import dot
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, stretch, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.row import Row, strip_of
from tenor.compiler.lower.storage import compute_type, entry, memory_type, store_element
from tenor.compiler.lower.turned import turned_kernel
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free, known

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.lower.finish import Finish
    from tenor.compiler.lower.following import Following
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target


__all__ = ["Product", "matmul", "multiply", "product_of"]

PANELS: Final = 256 * 1024
"""Bytes of B packed at a time: half of a small second-level cache."""
GROUP: Final = 512 * 1024
"""Bytes of B that rows of A meet at a time: further blocks of k are added while C is near."""
UNROLLED: Final = 4
"""Steps of k in a round of a large product's inner loop: counting takes turns from multiplying."""
LONG: Final = 2048
"""Columns of a large matrix that are worth reading at a time."""
SHORT: Final = 256
"""Columns that two threads read each, though the machine foresees half a page less well."""
SEEN: Final = 4
"""How often rows of b are read where they lie: oftener, and packing them pays."""
NEAR: Final = 16 * 1024
"""Bytes that are read where they lie, because the first-level cache holds them."""
CLOSE: Final = 16 * NEAR
"""Bytes from the first row of b to the last for which packing them does not pay either."""
LINES: Final = 16
"""Steps of k packed at a time where A is contiguous along its rows."""
EVEN: Final = 1 / 64
"""Price of a part that is shorter than the others: a thread of two waits for the other."""
FEWER: Final = 0.75
"""Share of the wanted tiles that will do."""


@dataclass(frozen=True)
class Product:
    """A batch of matrix products in memory.

    Attributes:
        batch: For each dim of the batch: extent, stride of a, of b, of c.
        m, n, k: Extents.
        a, b, c: (row stride, column stride) of each operand.
        offsets: Where each operand begins.
        panel: Columns of b that lie in line, one panel of all rows after the other; 0: all do.
    """

    batch: tuple[tuple[int, int, int, int], ...]
    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    offsets: tuple[int, int, int]
    panel: int = 0

    def turned(self) -> Product:
        """Return the product of the transposes, which is the transpose of the product."""
        batch = tuple((extent, b, a, c) for extent, a, b, c in self.batch)
        at_a, at_b, at_c = self.offsets
        return Product(batch, self.n, self.m, self.k, self.b[::-1], self.a[::-1], self.c[::-1],
                       (at_b, at_a, at_c))  # fmt: skip

    def flattened(self) -> Product:
        """Return the product with the batch dims that share b taken as further rows of a."""
        *outer, last = self.batch or ((1, 0, 0, 0),)
        extent, a, b, c = last
        if extent > 1 and b == 0 and a == self.m * self.a[0] and c == self.m * self.c[0]:
            return replace(self, batch=tuple(outer), m=self.m * extent).flattened()
        return self


def matmul(kernel: Kernel, target: Target, finish: Finish | None = None) -> Lowered:
    """Lower a batch of matrix products; see `multiply` for what may follow it.

    Params: batch, a tuple of (extent, stride of a, of b, of c); m, n, k; a, b, c: (row stride,
    column stride) of each operand; offsets of each; panel.
    Buffers: a, b, c; one dtype. A private c is none of them.
    """
    return multiply(kernel, product_of(kernel.params), target, (0, 1, 2), finish)


def product_of(params: dict[str, Any]) -> Product:
    """Return the product a kernel's params describe."""
    given = {name: value for name, value in params.items() if name not in ("prepared", "of")}
    return Product(**given)


def multiply(
    kernel: Kernel, product: Product, target: Target, roles: tuple[int, int, int],
    finish: Finish | None = None, following: Following | None = None, cut: int = 0,
) -> Lowered:  # fmt: skip
    """Lower a product whose a, b and c are the kernel's buffers of these numbers.

    Args:
        kernel: The product's kernel.
        product: What it computes.
        target: The target.
        roles: Numbers of a, b and c among the kernel's buffers.
        finish: What takes its tiles.
        following: What else is done to pieces of the result.
        cut: Tiles that rows are cut into, whole columns each; 0: as is best.
    """
    if 0 in (product.m, product.n, *(extent for extent, *_ in product.batch)):
        return Lowered(entry(kernel)[0], 0)
    width = lanes_of(kernel.buffers[0].dtype, target)
    if following is None:
        product = product.flattened()
    if following is None and _better_turned(product, width):
        product, roles = product.turned(), (roles[1], roles[0], roles[2])
    f, buffers, begin, end, scratch = entry(kernel)
    a, b, c = (buffers[r] for r in roles)  # where c is private, it is none of them
    plan = _Plan(f, product, kernel.buffers[0].dtype, target, finish, following, cut)
    plan.buffers = buffers
    if following is None and product.m == product.n == 1 and plan.blocks > 1:
        plan.write_dots(begin, end, a, b, c)
    else:
        plan.write(begin, end, a, b, c, scratch)
    return Lowered(f, plan.tiles, plan.scratch_bytes, plan.work * 8 // (width * 25) + 1)


def _over(count: int, parts: int) -> float:
    """Return by what share the whole pieces of equal parts exceed a count of pieces."""
    return ceil(count / parts) * parts / count - 1


def _better_turned(p: Product, width: int) -> bool:
    """Tell whether to compute the transpose: b's columns are contiguous and a is the smaller."""
    if p.panel:
        return False
    if free(p.m) and p.n != 1:
        return False  # the tile would have to fit an extent that is not known
    if p.n == 1:
        return p.m > 1
    along_k = p.b[0] == 1 and p.b[1] != 1
    return along_k and p.m % width == 0 and 2 * width <= p.m <= 4 * width and p.n > p.m


@dataclass(frozen=True)
class _Group:
    """Blocks of k whose packed panels of B lie side by side, for one tile of C.

    Attributes:
        rows, columns: Of the tile.
        a, b, c: Where the tile's rows of A, columns of B, and C begin.
        start: The first k.
        alone: Whether there is one row of register tiles: a panel is used once.
    """

    rows: Extent
    columns: Extent
    a: Value
    b: Value
    c: Value
    start: Value
    alone: bool


class _Plan:
    """A product being written: what is packed, the tiles, and the loops."""

    buffers: list[Value]
    beside: list[Value]

    def __init__(
        self, f: Function, product: Product, dtype: DType, target: Target, finish: Finish | None,
        following: Following | None, cut: int,
    ) -> None:  # fmt: skip
        self.f, self.p, self.dtype, self.compute = f, product, dtype, dtype.compute
        self.finish, self.following, self.cut = finish, following, cut
        m, n, k = product.m // max(1, cut), product.n, product.k
        width = lanes_of(dtype, target)
        few = turned_tile(m, n, width) if product.b[0] == 1 != product.b[1] else None
        self.turned, self.stacked = few is not None, target.stacked
        self.shape = few or register_tile(m, n, width, target, product.panel)
        in_line = product.b[1] == product.c[1] == 1
        self.row = m == 1 and in_line and n > self.shape.columns and not product.panel
        if self.row:
            self.shape = Shape(1, strip_of(target), width)
        self.depth = k if self.turned else depth_of(k)
        self.blocks = ceil(k / self.depth) if k else 1
        self._cut(prod(extent for extent, *_ in product.batch))
        self._choose()
        self._group_blocks()
        # Sums of several blocks of k, and those that are staged, are met when all are there.
        late = following is None or self.blocks > 1 or self.stage_c or self.row or self.turned
        self.epilogue = None if late or following is None else following.epilogue(self.mc)
        # Whether tiles are told how far apart rows are: then layers share their code.
        packed = self.pack_a or self.pack_b
        self.told = bool(target.choices) and self.epilogue is not None and not packed
        self._reserve()
        self.kernels: dict[tuple[int, int], Function] = {}

    def _cut(self, batch: int) -> None:
        """Cut C into tiles, by the shape alone."""
        m, n = self.p.m, self.p.n
        self.work = batch * m * n * max(1, self.p.k)
        if m <= 2 and (self.turned or self.row):
            self.work *= FETCHED
        most = PANELS // (max(1, self.depth) * self.compute.itemsize)
        each = ceil(tiles_for(self.work) / max(1, batch))
        if self.turned or self.row:
            down, across, most = 1, each, n
            if self.row:
                across = min(each, max(ceil(n / LONG), min(2, n // SHORT)))
        else:
            down, across, most = self._parts(each, most)
        self.nc = parted(n, self.shape.columns, most, min(across, ceil(n / self.shape.columns)))
        self.mc = parted(m, self.shape.rows, m, down)
        if self.cut:
            self.nc, self.mc = n, m // self.cut
        across = ceil(n / self.nc)
        self.grid = (ceil(m / self.mc), across)
        self.tiles = batch * self.grid[0] * self.grid[1]

    def _parts(self, each: int, most: int) -> tuple[int, int, int]:
        """Return how rows and columns are cut so that packing costs least, and the columns' limit.

        A tile packs its own rows of A and columns of B: the more parts columns are cut into, the
        more often A is packed, and the other way round.
        """
        p, shape = self.p, self.shape
        if p.panel:
            columns, rows = p.n // p.panel, ceil(p.m / shape.rows)
            across = min(columns, each)
            return min(rows, ceil(each / across)), across, p.n
        far = p.a[1] != 1
        if far:
            most *= 2
        price_a, price_b = 0.35 if far else 0.03, 0.12 if p.b[1] == 1 else 0.3
        # Extents known at run time only are taken for long ones.
        m, n = (MANY if free(x) else x for x in (p.m, p.n))
        each = TILES if free(each) else each
        room = PANELS // (DEPTH * self.compute.itemsize) if free(most) else most
        columns, rows = ceil(n / shape.columns), ceil(m / shape.rows)
        lowest = ceil(m / room) if far else 1
        first = min(columns, ceil(n / max(room, shape.columns)))
        found: list[tuple[bool, float, int, int]] = []
        for wanted in range(first, min(columns, max(first, each)) + 1):
            across = ceil(columns / ceil(columns / wanted))
            down = min(rows, max(lowest, ceil(FEWER * each / across)))
            down += across * down % 2 and across * down < each
            price = across * price_a * m + down * price_b * n
            price += EVEN * m * n * (_over(columns, across) + _over(rows, down))
            found.append((across * down < FEWER * each, price, down, across))
        return *min(found)[2:], most

    def _choose(self) -> None:
        """Choose what is read where it lies."""
        p, shape, size = self.p, self.shape, self.dtype.itemsize
        across = ceil(self.nc / shape.columns)
        down = ceil(self.mc / shape.rows)
        span = self.depth * p.b[0] * size
        near_b = self.depth * self.nc * size <= NEAR or (not free(span) and span <= CLOSE)
        in_place = self.turned or p.panel
        self.pack_b = not in_place and (p.b[1] != 1 or (down > SEEN and not near_b))
        crowded = p.a[0] * size % 2048 == 0 and shape.rows > WAYS and across > 2
        near_a = across <= 2 or self.mc * self.depth * size <= 2 * NEAR
        far = p.a[1] != 1 and not (p.a[0] == 1 and near_a)
        convert = self.dtype is not self.compute and across > 1
        self.pack_a = crowded or far or convert
        self.whole_a = far and self.pack_a
        if self.row:
            self.pack_a = self.pack_b = self.stage_c = self.whole_a = False
            return
        self.stage_c = p.c[1] != 1 or (self.dtype is not self.compute and self.blocks > 1)

    def _group_blocks(self) -> None:
        """Choose how many blocks of k are taken together, and how many steps in a round."""
        p, size = self.p, self.compute.itemsize
        self.c_row = ceil(self.nc / self.shape.columns) * self.shape.columns
        self.group = 1
        sizes = (p.k, self.c_row, self.mc)
        if self.pack_b and not self.whole_a and not any(map(free, sizes)):
            far = self.mc * self.c_row * size > PANELS  # C is gone before its next block
            most = GROUP // (max(1, self.depth) * self.c_row * size) if far else 1
            self.group = ceil(self.blocks / ceil(self.blocks / max(1, most)))
        whole = not free(p.k) and p.k % UNROLLED == 0
        long = whole and not self.stacked and tiles_for(self.work) > 1
        self.unroll = UNROLLED if long else 1

    def _reserve(self) -> None:
        """Lay the workspace out."""
        size, shape = self.compute.itemsize, self.shape
        sizes = [
            self.pack_b * self.group * self.depth * self.c_row,
            self.pack_a * self.depth * (self.mc if self.whole_a else shape.rows),
            (2 if self.row else self.stage_c * ceil(self.mc / shape.rows) * shape.rows)
            * self.c_row,
        ]
        sizes = [count * size for count in sizes]
        sizes.append(self.epilogue.bytes if self.epilogue is not None else 0)
        self._finishing()
        if self.finish is not None:
            tile = self.pitch * (self.near_rows if self.finish.private else 0)
            sizes += [self.finish.bytes, tile * self.dtype.itemsize]
        self.places, at = [], 0
        for count in sizes:
            self.places.append(at)
            at += -(-count // 64) * 64
        self.scratch_bytes = at + 64 if at else 0

    def _finishing(self) -> None:
        """Choose when tiles are handed on, and how C lies in memory meanwhile.

        Attributes: early: a few rows at a time, else a whole tile. c: row and column strides of
        where C is written. pitch, near_rows: of a private tile.
        """
        p, finish = self.p, self.finish
        self.c, plain = p.c, p.c[1] == 1
        self.early = (
            finish is not None and self.group >= self.blocks and not (self.stage_c or self.row)
        )
        rows, columns = ceil(self.mc / self.shape.rows) * self.shape.rows, self.c_row
        self.pitch, self.near_rows = (columns, rows) if plain else (rows, columns)
        if self.early:
            self.near_rows = self.shape.rows
        if finish is not None and finish.private:
            self.c = (self.pitch, 1) if plain else (1, self.pitch)

    # -- writing ------------------------------------------------------------------------------
    def write_dots(self, begin: Value, end: Value, a: Value, b: Value, c: Value) -> None:
        """Write the loop over products of one row and one column."""
        f, p = self.f, self.p
        kind = memory_type(self.dtype)

        def tile(t: Value, _: list[Value]) -> None:
            at_a, at_b, at_c = self._bases(t)
            a_t, b_t = f.gep(a, at_a, kind), f.gep(b, at_b, kind)
            total = dot(f, self.dtype, a_t, b_t, p.k, p.a[1], p.b[0])
            store_element(f, self.dtype, total, c, at_c)

        f.loop(begin, end, 1, tile)

    def write(self, begin: Value, end: Value, a: Value, b: Value, c: Value, scratch: Value) -> None:
        """Write the loop over tiles."""
        f, p = self.f, self.p
        spaces = [f.gep(scratch, at, "i8") for at in self.places]
        self.space_b, self.space_a, self.space_c, table = spaces[:4]
        if self.finish is not None:
            self.finish.prepare(f, self.buffers, spaces[4])
            c = spaces[5] if self.finish.private else c
        kind = memory_type(self.dtype)
        down, across = self.grid

        def tile(t: Value, _: list[Value]) -> None:
            i, t = self._split(t, down, self.mc)
            j, which = self._split(t, across, self.nc)
            base = self._bases(which)
            at_a = f.add(base[0], f.mul(i, p.a[0]))
            at_b = f.add(base[1], f.mul(j, p.k if p.panel else p.b[1]))
            at_c = f.add(base[2], f.add(f.mul(i, p.c[0]), f.mul(j, p.c[1])))
            rows = stretch(f, i, p.m, self.mc, self.shape.rows)
            if self.cut:
                rows = Extent(f.const(self.mc, "i64"), rows.piece, self.mc % rows.piece)
            rows = replace(rows, halving=free(rows.rest))
            columns = stretch(f, j, p.n, self.nc, self.shape.columns)
            self.first = at_c
            following, epilogue = self.following, self.epilogue
            if epilogue is not None and following is not None:
                where = following.where(f, which, i, rows.count)
                self.beside = epilogue.pointers(f, self.buffers, where, j, table)
            private = self.finish is not None and self.finish.private
            self._tile(rows, columns, f.gep(a, at_a, kind), f.gep(b, at_b, kind),
                       c if private else f.gep(c, at_c, kind))  # fmt: skip
            if self.finish is not None and not self.early:
                self._hand_on(rows.count, columns.count, at_c, c)
            if following is not None and epilogue is None:
                where = following.where(f, which, i, rows.count)
                following.after.call(f, self.buffers, where, (j, f.add(j, columns.count)))

        f.loop(begin, end, 1, tile)

    def _hand_on(self, rows: Value, columns: Value, first: Value, near: Value) -> None:
        """Let the elementwise kernel take a tile."""
        assert self.finish is not None
        down, across = self.p.c
        if across != 1:
            rows, columns, down = columns, rows, across
        self.finish.rows(rows, columns, first, down, near, self.pitch)

    def _split(self, t: Value, parts: int, size: int) -> tuple[Value, Value]:
        f = self.f
        if parts == 1:
            return f.const(0, "i64"), t
        return f.mul(f.op("urem", t, parts), size), f.op("udiv", t, parts)

    def _bases(self, which: Value) -> list[Value]:
        """Return where each operand's matrix number `which` of the batch begins."""
        f = self.f
        base = [f.const(o, "i64") for o in self.p.offsets]
        for d, (extent, *strides) in reversed(list(enumerate(self.p.batch))):
            index = f.op("urem", which, extent) if d else which
            which = f.op("udiv", which, extent) if d else which
            base = [f.add(x, f.mul(index, s)) for x, s in zip(base, strides, strict=True)]
        return base

    def _tile(self, rows: Extent, columns: Extent, a: Value, b: Value, c: Value) -> None:
        """Write one tile: its blocks of k in order, then what was staged."""
        f, p = self.f, self.p
        if self.row:
            Row(f, self.dtype, self.shape.width, columns, p.k, p.a[1], p.b[0], self.space_c,
                self.c_row, stacked=self.stacked).write(a, b, c)  # fmt: skip
            return
        out = self.space_c if self.stage_c else c
        alone = isinstance(rows.count.const, int) and rows.count.const <= self.shape.rows
        if self.group >= self.blocks:
            self._group(_Group(rows, columns, a, b, out, f.const(0, "i64"), alone))
        else:
            span = self.group * self.depth

            def group(q: Value, _: list[Value]) -> None:
                self._group(_Group(rows, columns, a, b, out, q, alone))

            f.loop(0, p.k, span, group)
        if self.stage_c:
            self._deliver(rows, columns, c)

    def _each_block(self, start: Value, body: Callable[[Value, Value], None]) -> None:
        """Run `body(first k, how many)` for each block of k of the group that begins at `start`."""
        f, k = self.f, self.p.k
        if self.blocks == 1:
            body(start, f.const(k, "i64"))
            return

        def block(q: Value, _: list[Value]) -> None:
            depth = f.const(self.depth, "i64")
            body(q, f.op("smin", depth, f.sub(k, q)) if k % self.depth else depth)

        if self.group == 1:
            block(start, [])
        elif self.group >= self.blocks:
            f.loop(start, k, self.depth, block)
        else:
            stop = f.add(start, self.group * self.depth)
            f.loop(start, f.op("smin", stop, f.const(k, "i64")), self.depth, block)

    def _group(self, g: _Group) -> None:
        """Write some blocks of k: B is packed for all of them, and rows of A meet one by one."""
        if self.whole_a or (self.pack_b and not g.alone):
            self._each_block(g.start, lambda q, depth: self._prepare(g, q, depth))
        if self.cut and not (self.pack_a or self.pack_b):
            # Few rows: what they meet of B is read once from afar.
            sweep(self.f, g.columns, lambda j, size: self._across(g, j, size))
        else:
            sweep(self.f, g.rows, lambda i, height: self._down(g, i, height))

    def _prepare(self, g: _Group, q: Value, depth: Value) -> None:
        """Pack what is packed as a whole of the block of k that begins at q."""
        if self.pack_b and not g.alone:
            sweep(self.f, g.columns, lambda j, size: self._fill_b(g, q, depth, j, size))
        if self.whole_a:
            self._fill_a(g.rows, self._from_a(g, q), depth)

    def _from_a(self, g: _Group, q: Value, i: Value | None = None) -> Value:
        """Return where row i of A, the first by default, has its step q."""
        f, p, kind = self.f, self.p, memory_type(self.dtype)
        at = f.gep(g.a, f.mul(q, p.a[1]), kind)
        return at if i is None else f.gep(at, f.mul(i, p.a[0]), kind)

    def _panel(self, g: _Group, q: Value, j: Value) -> Value:
        """Return where the packed panel of column j lies; a lone row of tiles reuses one."""
        f = self.f
        at = f.add(f.mul(f.sub(q, g.start), self.c_row), f.mul(j, self.depth))
        return self.space_b if g.alone else f.gep(self.space_b, at, compute_type(self.dtype))

    def _fill_b(self, g: _Group, q: Value, depth: Value, j: Value, size: int) -> None:
        """Pack a panel of columns of B."""
        f, p, shape, kind = self.f, self.p, self.shape, memory_type(self.dtype)
        pack = mover(f"pack_b{size}", Layout(self.dtype, *p.b),
                     Layout(self.compute, shape.columns, 1), size, shape.width,
                     padded=self._padded(size))  # fmt: skip
        from_ = f.gep(f.gep(g.b, f.mul(q, p.b[0]), kind), f.mul(j, p.b[1]), kind)
        f.call(pack, [from_, self._panel(g, q, j), depth])

    def _down(self, g: _Group, i: Value, height: int) -> None:
        """Write some rows: every column of each block of k, while the rows are near."""
        f, p = self.f, self.p

        def multiply(q: Value, depth: Value) -> None:
            a = self._from_a(g, q, i)
            if self.whole_a:
                a = f.gep(self.space_a, f.mul(i, self.depth), compute_type(self.dtype))
            elif self.pack_a:
                f.call(self._packer(height), [a, self.space_a, depth])
                a = self.space_a
            sweep(f, g.columns,
                  lambda j, size: self._meet(g, (q, depth), a, (i, height), (j, size)))  # fmt: skip

        self._each_block(g.start, multiply)
        if self.early:
            first = f.add(self.first, f.mul(i, p.c[0]))
            self._hand_on(f.const(height, "i64"), g.columns.count, first, g.c)

    def _across(self, g: _Group, j: Value, size: int) -> None:
        """Write some columns: every row of each block of k, while the columns are near."""

        def multiply(q: Value, depth: Value) -> None:
            def meet(i: Value, height: int) -> None:
                self._meet(g, (q, depth), self._from_a(g, q, i), (i, height), (j, size))

            sweep(self.f, g.rows, meet)

        self._each_block(g.start, multiply)

    def _meet(
        self, g: _Group, block: tuple[Value, Value], a: Value, rows: tuple[Value, int],
        columns: tuple[Value, int],
    ) -> None:  # fmt: skip
        """Write one register tile of a block of k."""
        f, (q, depth), (i, height), (j, size) = self.f, block, rows, columns
        kind = memory_type(self.dtype)
        if self.pack_b and g.alone:
            self._fill_b(g, q, depth, j, size)
        if self.pack_b:
            b = self._panel(g, q, j)
        else:
            b = f.gep(f.gep(g.b, f.mul(q, self.p.b[0]), kind), self._along(j), kind)
        c_kind, c_row = (
            (compute_type(self.dtype), self.c_row) if self.stage_c else (kind, self.c[0])
        )
        private = self.early and self.finish is not None and self.finish.private
        at = j if private else f.add(f.mul(i, c_row), j)
        more = [q] if self.blocks > 1 else []
        if self.told:
            more += [f.const(n, "i64") for n in (self.p.a[0], self.p.b[0], c_row)]
        if self.epilogue is not None:
            more += self.epilogue.moved(f, self.beside, i, at)
        extent = [] if self.turned else [depth]
        f.call(self._micro(height, size), [*extent, a, b, f.gep(g.c, at, c_kind), *more])

    def _packer(self, height: int) -> Function:
        """Return the function that packs a panel of rows of A."""
        return mover(f"pack_a{height}", Layout(self.dtype, self.p.a[1], self.p.a[0]),
                     Layout(self.compute, height, 1), height, self.shape.width)  # fmt: skip

    def _fill_a(self, rows: Extent, a: Value, depth: Value) -> None:
        """Pack every panel of rows of the block, some steps of k at a time."""
        f, p = self.f, self.p
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)

        def lines(k: Value, _: list[Value]) -> None:
            count = f.op("smin", f.sub(depth, k), f.const(LINES, "i64"))

            def panel(i: Value, height: int) -> None:
                from_ = f.gep(a, f.add(f.mul(i, p.a[0]), f.mul(k, p.a[1])), kind)
                at = f.add(f.mul(i, self.depth), f.mul(k, height))
                f.call(self._packer(height), [from_, f.gep(self.space_a, at, packed), count])

            sweep(f, rows, panel)

        f.loop(0, depth, LINES, lines)

    def _along(self, j: Value) -> Value:
        """Return how far column j of B is from the first."""
        f, p = self.f, self.p
        if not p.panel:
            return f.mul(j, p.b[1])
        whole = f.mul(f.op("udiv", j, p.panel), p.panel * p.k)
        return f.add(whole, f.op("urem", j, p.panel))

    def _padded(self, size: int) -> int:
        width = self.shape.width
        return known(ceil(size / width)) * width

    def _micro(self, height: int, size: int) -> Function:
        if (height, size) not in self.kernels:
            p, shape, compute = self.p, self.shape, self.compute
            vectors = known(ceil(size / shape.width))
            step = height if self.pack_a else 1
            spec = Micro(
                a=compute if self.pack_a else self.dtype,
                b=compute if self.pack_b else self.dtype,
                c=compute if self.stage_c else self.dtype,
                rows=tuple(range(height)) if self.pack_a or self.told else tuple(
                    i * p.a[0] for i in range(height)),
                a_step=step if self.pack_a else p.a[1],
                b_step=shape.columns if self.pack_b else p.b[0],
                vectors=vectors, width=shape.width,
                last=size - (vectors - 1) * shape.width,
                c_row=None if self.told else self.c_row if self.stage_c else self.c[0],
                told=self.told, b_told=self.told,
                more=self.blocks > 1, padded_b=self.pack_b, padded_c=self.stage_c,
                align=shape.width * compute.itemsize if self.pack_b else 0, unroll=self.unroll,
            )  # fmt: skip
            name = f"multiply{height}x{size}"
            self.kernels[height, size] = (
                turned_kernel(name, spec, p.b[1], p.k) if self.turned
                else micro_kernel(name, spec, self.epilogue)
            )  # fmt: skip
        return self.kernels[height, size]

    def _deliver(self, rows: Extent, columns: Extent, c: Value) -> None:
        """Write staged sums out."""
        f = self.f

        def right(j: Value, size: int) -> None:
            move = mover(f"deliver{size}", Layout(self.compute, self.c_row, 1),
                         Layout(self.dtype, *self.c), size, self.shape.width)  # fmt: skip
            at = f.gep(c, f.mul(j, self.c[1]), memory_type(self.dtype))
            f.call(move, [f.gep(self.space_c, j, compute_type(self.dtype)), at, rows.count])

        sweep(f, columns, right)
