"""Blocks of matrices moved from one layout to another: panels packed, results written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenor.compiler.lower.epilogue import Leaving
from tenor.compiler.lower.lane import first_lanes, transposed
from tenor.compiler.lower.storage import compute_type, load_element, store_element
from tenor.ir.loops import Function, Value, vector
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.compiler.lower.epilogue import Epilogue
    from tenor.ir.dtype import DType

__all__ = ["Layout", "lanes_beside", "lanes_out", "mover"]


@dataclass(frozen=True)
class Layout:
    """Where element (i, j) of a block lies: i * row + j * column elements on."""

    dtype: DType
    row: int
    column: int


def mover(
    name: str, source: Layout, target: Layout, columns: int, width: int, *, padded: int = 0
) -> Function:
    """Return the function (from, to, rows) that copies `rows` rows of `columns` elements.

    Args:
        name: Of the function.
        source, target: The layouts; elements are converted to the target's dtype.
        columns: Elements of a row.
        width: Lanes of a vector.
        padded: Elements of a row of the target, zeros beyond `columns`; 0: as many as columns.
    """
    f = Function(name, [("from", "ptr"), ("to", "ptr"), ("rows", "i64")])
    move = _Move(f, source, target, columns, max(padded, columns), width)
    if target.column == 1 and source.column == 1:
        move.along_rows()
    elif target.column == 1 and source.row == 1:
        move.across(loads_down=True)
    elif target.row == 1 and source.column == 1:
        move.across(loads_down=False)
    else:
        move.one_by_one(f.const(0, "i64"))
    return f


def lanes_out(dtype: DType, lanes: int, epilogue: Epilogue | None = None) -> Function:
    """Return the function (from, to, places, row, pitch) that transposes [place, channel].

    Rows of some lanes are `row` elements apart, channels of the result `pitch`. There are as many
    places as lanes at the least: the last block ends where they end. Extents are given, not
    written in, so that kernels of one program share the function. The pointers of an epilogue come
    last.
    """
    names = [("from", "ptr"), ("to", "ptr"), ("places", "i64"), ("row", "i64"), ("pitch", "i64")]
    f = Function("out", names + (epilogue.params if epilogue is not None else []))
    from_, to, places, row, pitch, *given = f.params
    kind = vector(compute_type(dtype), lanes)
    last = f.sub(places, lanes)
    leaving = Leaving(epilogue, f, given) if epilogue is not None else None
    # What lies beside the result may be what it is written over: no place is done twice.
    once = epilogue is not None and epilogue.streams

    def block(i: Value, _: list[Value]) -> None:
        first = i if once else f.op("smin", i, last)
        at = [f.add(first, d) for d in range(lanes)]
        mask = None
        if once:
            at = [f.op("smin", a, f.sub(places, 1)) for a in at]
            left = f.convert("trunc_int", f.sub(places, first), "i32")
            mask = f.compare("slt", f.iota(vector("i32", lanes)), f.splat(left, lanes))
        rows = [f.load(kind, from_, f.mul(a, row)) for a in at]
        for c, v in enumerate(transposed(f, rows)):
            if leaving is not None:
                leaving.channel(c)
                v = leaving.value(v, first, mask)
            store_element(f, dtype, v, to, f.add(first, f.mul(pitch, c)), mask=mask)

    f.loop(0, places, lanes, block)
    return f


def lanes_beside(dtype: DType, lanes: int, epilogue: Epilogue | None) -> Function:
    """Return the function (from, to, places, row, pitch) that keeps [place, channel] as it is.

    Rows of some lanes are `row` elements apart, and go to where they are `pitch` apart. The
    pointers of an epilogue come last.
    """
    names = [("from", "ptr"), ("to", "ptr"), ("places", "i64"), ("row", "i64"), ("pitch", "i64")]
    f = Function("beside", names + (epilogue.params if epilogue is not None else []))
    from_, to, places, row, pitch, *given = f.params
    kind = vector(compute_type(dtype), lanes)
    leaving = None
    if epilogue is not None:
        leaving = Leaving(epilogue, f, given, across=True)
        leaving.channel(0)

    def place(i: Value, _: list[Value]) -> None:
        x = f.load(kind, from_, f.mul(i, row))
        made = x if leaving is None else leaving.value(x, 0)
        store_element(f, dtype, made, to, f.mul(i, pitch))

    f.loop(0, places, 1, place)
    return f


class _Move:
    """One copy being written."""

    def __init__(
        self, f: Function, source: Layout, target: Layout, columns: int, padded: int, width: int
    ) -> None:
        self.f = f
        self.source, self.target = source, target
        self.columns, self.padded, self.width = columns, padded, width
        self.from_, self.to, self.rows = f.params

    def _load(self, i: Value, j: Value, count: int, mask: Value | None = None) -> Value:
        f, s = self.f, self.source
        at = f.add(f.mul(i, s.row), f.mul(j, s.column))
        return load_element(f, s.dtype, self.from_, at, count, mask=mask)

    def _store(self, x: Value, i: Value, j: Value) -> None:
        f, t = self.f, self.target
        store_element(f, t.dtype, x, self.to, f.add(f.mul(i, t.row), f.mul(j, t.column)))

    def _chunks(self) -> list[tuple[int, int, int]]:
        """Return (first column, columns there are, lanes stored) for each vector of a row."""
        chunks, at = [], 0
        while at < self.padded:
            left = self.padded - at
            lanes = self.width if left >= self.width else 1 << (left.bit_length() - 1)
            chunks.append((at, max(0, min(lanes, self.columns - at)), lanes))
            at += lanes
        return chunks

    def along_rows(self) -> None:
        """Copy vectors; both sides have their columns side by side."""
        f = self.f

        def row(i: Value, _: list[Value]) -> None:
            for start, there, lanes in self._chunks():
                j = f.const(start, "i64")
                if there == 0:
                    x = f.const(0, vector(compute_type(self.source.dtype), lanes))
                else:
                    x = self._load(i, j, lanes, first_lanes(f, there, lanes))
                self._store(x, i, j)

        f.loop(0, self.rows, 1, row)

    def across(self, *, loads_down: bool) -> None:
        """Copy square blocks, transposed in registers; the rows left over one by one."""
        f = self.f
        zero = f.const(0, "i64")
        chunks = self._chunks()
        equal = [c for c in chunks if c[1] == c[2] == self.width]

        def blocks(j: Value, there: int, lanes: int) -> None:
            whole = f.sub(self.rows, f.op("urem", self.rows, lanes))
            f.loop(zero, whole, lanes, lambda i, _: self._block(i, j, there, lanes, loads_down))

        if len(equal) > 1:
            f.loop(0, self.width * len(equal), self.width, lambda j, _: blocks(j, *equal[0][1:]))
            chunks = chunks[len(equal) :]
        for chunk in chunks:
            blocks(f.const(chunk[0], "i64"), *chunk[1:])
        widest = max(lanes for _, _, lanes in self._chunks())
        self.one_by_one(f.sub(self.rows, f.op("urem", self.rows, widest)))

    def _block(self, i: Value, j: Value, there: int, lanes: int, loads_down: bool) -> None:
        f = self.f
        if loads_down:
            zero = f.const(0, vector(compute_type(self.source.dtype), lanes))
            if free(there):  # beyond the last column is the last again: nobody reads it
                last = f.add(j, f.const(there - 1, "i64"))
                places = [f.op("smin", f.add(j, d), last) for d in range(lanes)]
                rows = [self._load(i, place, lanes) for place in places]
            else:
                rows = [
                    self._load(i, f.add(j, d), lanes) if d < there else zero for d in range(lanes)
                ]
            for d, x in enumerate(transposed(f, rows)):
                self._store(x, f.add(i, d), j)
        else:
            mask = first_lanes(f, there, lanes)
            rows = [self._load(f.add(i, d), j, lanes, mask) for d in range(lanes)]
            for d, x in enumerate(transposed(f, rows)[:there]):
                self._store(x, i, f.add(j, d))

    def one_by_one(self, first: Value) -> None:
        """Copy element by element from row `first` on."""
        f, s, t = self.f, self.source, self.target

        def row(i: Value, _: list[Value]) -> None:
            def element(j: Value, _: list[Value]) -> None:
                x = load_element(f, s.dtype, self.from_, f.add(f.mul(i, s.row), f.mul(j, s.column)))
                where = f.add(f.mul(i, t.row), f.mul(j, t.column))
                store_element(f, t.dtype, x, self.to, where)

            f.loop(0, self.columns, 1, element)
            if self.padded > self.columns:
                zero = f.const(0, compute_type(s.dtype))

                def pad(j: Value, _: list[Value]) -> None:
                    store_element(f, t.dtype, zero, self.to, f.add(f.mul(i, t.row), j))

                f.loop(self.columns, self.padded, 1, pad)

        f.loop(first, self.rows, 1, row)
